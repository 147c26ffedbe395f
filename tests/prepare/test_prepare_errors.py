"""Input that cannot be prepared: one clear DataError each, and nothing that looks complete is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prepare_inputs import DAY, amazon_raw, config, counts, kuaisar_raw, prepared

from gensr_model.errors import DataError

PATHS = {item: [["Top", f"Kind {item}{item}"]] for item in "ABCDE"}
THREE = [("u", item, day) for day, item in enumerate("ABC")] + [("v", "D", 0)]


def test_a_dataset_that_the_filters_empty_tells_every_step(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", THREE, PATHS)
    with pytest.raises(DataError) as error:
        prepared(raw, config(min_interactions=5))
    text = str(error.value)
    assert "the filters leave no interaction. read: 2 users, 4 items" in text
    assert "k-core of 5, round 1: 0 users, 0 items" in text
    assert "Lower prepare.min_interactions (now 5)" in text
    assert not (tmp_path / "prepared" / "manifest.json").exists()


def test_no_interaction_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no engaged row .*'reviews': 0"):
        prepared(amazon_raw(tmp_path / "raw", [], PATHS), config())


def test_no_click_at_all(tmp_path: Path) -> None:
    row = {"user": "u", "item": "A", "ts": 1_600_000_000_000}
    raw = kuaisar_raw(tmp_path / "raw", [{**row, "click": 0}], [{**row, "click_cnt": 0}], [])
    with pytest.raises(DataError, match=r"no engaged row .*'rec_rows': 1, 'src_rows': 1"):
        prepared(raw, config("kuaisar"))


def test_kuaisar_without_a_user_of_both_behaviors(tmp_path: Path) -> None:
    ts = 1_600_000_000_000
    rec = [{"user": "u", "item": "A", "ts": ts}]
    raw = kuaisar_raw(tmp_path / "raw", rec, [{"user": "v", "item": "A", "ts": ts}], [])
    with pytest.raises(DataError, match=r"users with both behaviors: 0 users.*both searched and clicked"):
        prepared(raw, config("kuaisar"))


@pytest.mark.parametrize("paths", [[["Books"]], [["The", "And Of"]], []])
def test_no_item_has_a_query(tmp_path: Path, paths: list[list[str]]) -> None:
    with_path = 4 if paths == [["The", "And Of"]] else 0
    raw = amazon_raw(tmp_path / "raw", THREE, dict.fromkeys(PATHS, paths))
    with pytest.raises(DataError, match=rf"no item has a query: of 4 items, {with_path} have .*`categories`"):
        prepared(raw, config())


def test_nobody_has_three_purchases(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", [("u", "A", 0), ("u", "B", 1), ("v", "C", 0)], PATHS)
    with pytest.raises(DataError, match=r"no samples for valid/recommendation, valid/search, test/rec.*at least three"):
        prepared(raw, config())


def test_no_search_sample_to_test(tmp_path: Path) -> None:
    """The last purchase has no category: recommendation could be tested, search could not."""
    raw = amazon_raw(tmp_path / "raw", THREE, {item: PATHS[item] for item in "ABD"})
    with pytest.raises(DataError, match=r"no samples for test/search \("):
        prepared(raw, config())


def test_categories_of_another_script_are_told_to_be_left_out_by_the_published_procedure(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", THREE, {item: [["图书", "小说"]] for item in PATHS})
    with pytest.raises(DataError, match=r"no item has a query: .* 1 of 1 paths have letters of other scripts .*A to Z"):
        prepared(raw, config())


def kuaisar_days(folder: Path, *events: int) -> Path:
    """Rec and src events of two users on consecutive days in Shanghai, half of the number each, the odd one a rec."""
    midnight = 1_684_684_800_000  # 2023-05-22 in Shanghai
    rows: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for day, number in enumerate(events):
        for n in range(number):
            row = {
                "user": f"u{n // 2 % 2}",
                "item": f"i{n // 2 % 2}{n // 4 % 5}",
                "ts": midnight + day * DAY + n * 60_000,
            }
            rows[n % 2 == 0].append(row)
    return kuaisar_raw(folder, rows[True], rows[False], [])


def test_a_day_with_one_row_is_named_with_what_to_set(tmp_path: Path) -> None:
    raw = kuaisar_days(tmp_path / "raw", 40, 40, 40, 1)
    with pytest.raises(DataError) as error:
        prepared(raw, config("kuaisar"))
    assert "no samples for test/search" in error.value.full_message
    days = "2023-05-22: 40, 2023-05-23: 40, 2023-05-24: 40, 2023-05-25: 1"
    until = "2023-05-25T00:00+08:00"
    todo = f'From 2023-05-25 on there are 1: to leave them out, set prepare.until to "{until}"'
    expected = f"Events per day in Asia/Shanghai: {days}. {todo}"
    assert error.value.full_message.endswith(expected)
    (tmp_path / "prepared").rename(tmp_path / "failed")
    folder = prepared(raw, config("kuaisar", until=until))
    plain = prepared(kuaisar_days(tmp_path / "plain", 40, 40, 40), config("kuaisar"), "expected")
    assert (folder / "samples_test.parquet").read_bytes() == (plain / "samples_test.parquet").read_bytes()
    assert counts(folder)["left_out_by_until"] == 1
    assert "left_out_by_until" not in counts(plain)
    assert "until" not in json.loads((plain / "manifest.json").read_text(encoding="utf-8"))["config"]


def test_late_rows_after_a_gap_and_days_that_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'2023-06-02: 2\. From 2023-05-25 on there are 3: .*"2023-05-25T00:00\+08:00"'):
        prepared(kuaisar_days(tmp_path / "raw", 40, 40, 40, 1, *[0] * 7, 2), config("kuaisar"))
    with pytest.raises(DataError, match=r"Events per day in Asia/Shanghai: 2023-05-22: 40\. Bring data that covers it"):
        prepared(kuaisar_days(tmp_path / "raw1", 40), config("kuaisar"), "one")


def test_a_user_of_one_event_goes_and_is_counted(tmp_path: Path) -> None:
    three = [(user, item, day) for user in "uv" for day, item in enumerate("ABC")]
    raw = amazon_raw(tmp_path / "raw", [("single", "A", 0), *three, ("w", "D", 0), ("w", "D", 1)], PATHS)
    folder = prepared(raw, config(min_interactions=2))
    assert counts(folder)["filter"]["users_removed_by_k_core"] == 1
    assert counts(folder)["users"] == 3


def test_a_folder_that_ingest_did_not_complete(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=r"no manifest\.json"):
        prepared(tmp_path / "raw", config())


def test_a_folder_of_the_other_format(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", THREE, PATHS)
    with pytest.raises(DataError, match=r"format 'amazon', but the config says 'kuaisar'"):
        prepared(raw, config("kuaisar"))


def test_a_missing_table(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", THREE, PATHS)
    (raw / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet.* missing"):
        prepared(raw, config())


def test_the_manifest_counts(tmp_path: Path) -> None:
    folder = prepared(amazon_raw(tmp_path / "raw", THREE, PATHS), config(seed=5))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["schema_version"], manifest["format"], manifest["seed"]) == (1, "amazon", 5)
    expected = {"users": 2, "items": 4, "queries": 4, "events": 8, "graph": 2, "samples_train": 4, "candidates_test": 2}
    assert expected.items() <= manifest["counts"].items()
    # The test purchase is u's last, on day 2; the training purchases are of day 0: none is later.
    assert manifest["split"]["leave_one_out_later_share"] == 0.0
