"""Input that cannot be prepared: one clear DataError each, and nothing that looks complete is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prepare_inputs import amazon_raw, config, counts, kuaisar_raw, prepared

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
    with pytest.raises(DataError, match=r"format 'amazon' but the config says 'kuaisar'"):
        prepared(raw, config("kuaisar"))


def test_a_missing_table(tmp_path: Path) -> None:
    raw = amazon_raw(tmp_path / "raw", THREE, PATHS)
    (raw / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet: missing"):
        prepared(raw, config())


def test_the_manifest_counts(tmp_path: Path) -> None:
    folder = prepared(amazon_raw(tmp_path / "raw", THREE, PATHS), config(seed=5))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["schema_version"], manifest["format"], manifest["seed"]) == (1, "amazon", 5)
    expected = {"users": 2, "items": 4, "queries": 4, "events": 8, "graph": 2, "samples_train": 4, "candidates_test": 2}
    assert expected.items() <= manifest["counts"].items()
    # The test purchase is u's last, on day 2; the training purchases are of day 0: none is later.
    assert manifest["split"]["leave_one_out_later_share"] == 0.0
