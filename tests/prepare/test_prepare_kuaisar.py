"""KuaiSAR rows: sessions, duplicates that disagree, both behaviors, days in Shanghai."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prepare_inputs import DAY, START, config, counts, kuaisar_raw, named_samples, prepared, rows

from gensr_model.errors import DataError
from tasks.validate.audit import audit_by_itself

REC, SRC = "recommendation", "search"
HOUR = 3_600_000
# Midnight in Shanghai (UTC+8) is 16:00 UTC of the day before.
MIDNIGHT = START + DAY - 8 * HOUR


def hit(user: str, item: str, ts: int, **more: Any) -> dict[str, Any]:
    return {"user": user, "item": item, "ts": ts, **more}


def items(names: str) -> list[dict[str, Any]]:
    return [{"item": n, "title": f"w{k}", "category_names": ["Food", f"Kind{n}"]} for k, n in enumerate(names)]


def test_the_day_turns_at_midnight_in_shanghai(tmp_path: Path) -> None:
    old = hit("v", "F", MIDNIGHT - 9 * DAY)
    rec = [hit("u", "A", MIDNIGHT - DAY - 1), hit("u", "E", MIDNIGHT - 1), hit("u", "D", MIDNIGHT), old]
    src = [hit("u", "B", MIDNIGHT - DAY - 1), hit("u", "B", MIDNIGHT - DAY), hit("u", "C", MIDNIGHT + 5), old]
    folder = prepared(kuaisar_raw(tmp_path / "raw", rec, src, items("ABCDEF")), config("kuaisar"))
    assert [s[:3] for s in named_samples(folder, "test")] == [(REC, "u", "D"), (SRC, "u", "C")]
    assert [s[:3] for s in named_samples(folder, "valid")] == [(REC, "u", "E"), (SRC, "u", "B")]
    assert [s[:3] for s in named_samples(folder, "train")] == [
        (REC, "u", "A"),
        (REC, "v", "F"),
        (SRC, "u", "B"),
        (SRC, "v", "F"),
    ]


def world(tmp_path: Path, rec: list[dict[str, Any]], src: list[dict[str, Any]], **prepare: Any) -> Path:
    """The given rows beside users x and y, who make every split valid and leave negatives to draw."""
    base = [
        hit(user, item, MIDNIGHT - back * DAY + HOUR) for user, item in (("x", "X"), ("y", "Y")) for back in (0, 1, 2)
    ]
    raw = kuaisar_raw(tmp_path / "raw", [*base, *rec], [*base, *src], items("ABCXY"))
    return prepared(raw, config("kuaisar", **prepare))


def of_user(folder: Path, user: str = "u") -> list[tuple[str, str, str | None]]:
    result = [s for split in ("train", "valid", "test") for s in named_samples(folder, split)]
    return [(task, item, query) for task, who, item, query, _ in result if who == user]


def test_only_engaged_rows_and_clicks_of_duplicates_are_ored(tmp_path: Path) -> None:
    ts = MIDNIGHT - 3 * DAY
    rec = [hit("u", "A", ts, click=0), hit("u", "A", ts, click=1), hit("u", "B", ts, click=0)]
    src = [hit("u", "A", ts, click_cnt=0), hit("u", "A", ts, click_cnt=3), hit("u", "C", ts, click_cnt=0)]
    folder = world(tmp_path, rec, src)
    assert of_user(folder) == [(REC, "A", None), (SRC, "A", "w1")]
    assert counts(folder)["read"] == {
        "rec_rows": 9,
        "rec_duplicates_dropped": 1,
        "rec_engaged": 7,
        "src_rows": 9,
        "src_duplicates_dropped": 1,
        "src_engaged": 7,
        "src_without_query": 0,
    }


def test_a_session_id_that_recurs_is_another_session(tmp_path: Path) -> None:
    """The same id at another time, with another query or from another source is another search."""
    ts = MIDNIGHT - 3 * DAY
    src = [
        hit("u", "A", ts, session="7"),
        hit("u", "A", ts + 1, session="7"),
        hit("u", "A", ts, session="7", query="w1 w2"),
        hit("u", "B", ts, session="7", source="p", click_cnt=0),
        hit("u", "B", ts, session="7", source="q", click_cnt=1),
    ]
    folder = world(tmp_path, [hit("u", "C", ts)], src)
    assert sorted(of_user(folder), key=str) == [
        (REC, "C", None),
        (SRC, "A", "w1 w2"),
        (SRC, "A", "w1"),
        (SRC, "A", "w1"),
        (SRC, "B", "w1"),
    ]
    assert counts(folder)["read"]["src_duplicates_dropped"] == 0


def test_one_engagement_in_two_sessions_is_one_event(tmp_path: Path) -> None:
    ts = MIDNIGHT - 3 * DAY
    folder = world(tmp_path, [hit("u", "C", ts)], [hit("u", "A", ts, session="1"), hit("u", "A", ts, session="2")])
    assert of_user(folder) == [(REC, "C", None), (SRC, "A", "w1")]


def test_every_item_type_is_kept_and_a_search_without_words_left_out(tmp_path: Path) -> None:
    ts = MIDNIGHT - 3 * DAY
    src = [hit("u", "A", ts, item_type="LIVE"), hit("u", "B", ts, query=" ")]
    folder = world(tmp_path, [hit("u", "C", ts)], src)
    assert of_user(folder) == [(REC, "C", None), (SRC, "A", "w1")]
    assert counts(folder)["read"]["src_without_query"] == 1


def test_users_of_one_behavior_go_and_are_counted(tmp_path: Path) -> None:
    ts = MIDNIGHT - 3 * DAY
    folder = world(tmp_path, [hit("u", "A", ts), hit("only", "A", ts)], [hit("u", "A", ts), hit("searcher", "B", ts)])
    assert [row["raw_id"] for row in rows(folder, "users")] == ["u", "x", "y"]
    assert counts(folder)["filter"]["users_without_both_behaviors"] == 2


def test_the_fixed_point_holds_for_both_filters_together(tmp_path: Path) -> None:
    """u's only search is of a rare item: the 2-core takes the item, and then u, who only clicks, goes as well."""
    ts = MIDNIGHT - 3 * DAY
    rec = [hit("u", "X", ts), hit("u", "X", ts + 1), hit("u", "Y", ts)]
    folder = world(tmp_path, rec, [hit("u", "A", ts)], min_interactions=2)
    assert [row["raw_id"] for row in rows(folder, "users")] == ["x", "y"]
    assert [row["raw_id"] for row in rows(folder, "items")] == ["X", "Y"]


def test_rec_and_src_of_one_time_see_neither_the_other(tmp_path: Path) -> None:
    ts = MIDNIGHT - 3 * DAY
    folder = world(tmp_path, [hit("u", "A", ts), hit("u", "B", ts + 1)], [hit("u", "C", ts)])
    ends = {(task, item): end for task, user, item, _, end in named_samples(folder, "train") if user == "u"}
    assert ends == {(REC, "A"): 0, (SRC, "C"): 0, (REC, "B"): 2}


def test_item_text_comes_from_caption_and_english_categories(tmp_path: Path) -> None:
    folder = world(tmp_path, [hit("u", "A", MIDNIGHT)], [hit("u", "A", MIDNIGHT)])
    first = rows(folder, "items")[0]
    assert (first["title"], first["category_text"], first["category_paths"]) == (
        "w0",
        "Food KindA",
        [["Food", "KindA"]],
    )


def test_a_day_without_events_before_the_last_is_an_error(tmp_path: Path) -> None:
    both = [hit("u", "A", MIDNIGHT - 5 * DAY), hit("u", "B", MIDNIGHT), hit("v", "C", MIDNIGHT - 5 * DAY)]
    raw = kuaisar_raw(tmp_path / "raw", both, both, items("ABC"))
    with pytest.raises(DataError, match=r"no samples for valid/recommendation, valid/search .*Shanghai"):
        prepared(raw, config("kuaisar"))


def test_what_a_search_or_a_delivery_showed_beside_the_click_may_be_negatives(tmp_path: Path) -> None:
    def beside(user: str, ts: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        rec = [hit(user, "A", ts), hit(user, "B", ts, click=0), hit(user, "X", ts + 1, click=0)]
        src = [hit(user, item, ts, query=query, click_cnt=0) for item, query in (("X", "w2"), ("C", "w2"), ("B", "w3"))]
        return rec, [hit(user, "Y", ts, query="w2"), *src]

    pairs = [beside(user, MIDNIGHT - back * DAY + HOUR) for user, back in (("u", 0), ("v", 1))]
    rec, src = ([row for pair in pairs for row in pair[side]] for side in (0, 1))
    engaged = [hit("z", item, MIDNIGHT - 9 * DAY) for item in "ABCXY"]  # who makes items of all, in both behaviors
    folder = world(tmp_path, [*rec, *engaged], [*src, *engaged], protocols=("uniform", "shown"), negatives=2)
    names = [row["raw_id"] for row in rows(folder, "items")]
    samples = {s["sample_id"]: s for s in rows(folder, "samples_test")}
    lists = {
        (samples[c["sample_id"]]["task"], names[samples[c["sample_id"]]["item_idx"]]): [names[i] for i in c["item_idx"]]
        for c in rows(folder, "candidates_test")
        if c["protocol"] == "shown"
    }
    assert lists == {(REC, "A"): ["B"], (SRC, "Y"): ["X", "C"]}
    assert counts(folder)["shown"]["test"][SRC]["without_impressions"] == 2  # x and y saw nothing else
    assert [result for result in audit_by_itself(folder)[0] if result.violations] == []
    plain = prepared(tmp_path / "raw", config("kuaisar"), "plain")
    assert not (plain / "impressions.parquet").exists()
