"""Own logs prepared: engagements and their searches, the three splits with their audits, logs of one task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_inputs import DAY, START, Rows, counts, named_samples, rows

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.ingest.formats.logs import EVENTS, ITEMS, QUERIES
from tasks.prepare.prepare import build_prepared
from tasks.validate.audit import audit_by_itself
from tasks.validate.validate import validate_prepared

ORDINARY = {"engagement": "rec", "file": "events.csv"}


def raw(folder: Path, events: Rows, queries: Rows = (), items: Sequence[str] | Rows = ()) -> Path:  # type: ignore[assignment]
    """A raw folder. ``ts`` of an event is a day since the start, as a float; its items are described unless given."""
    made = [{**ORDINARY, "line": n, **row, "ts": START + round(row["ts"] * DAY)} for n, row in enumerate(events, 2)]
    texts = items or [{"item": item, "title": f"title {item}"} for item in sorted({row["item"] for row in events})]
    folder.mkdir(parents=True)
    for name, table, schema in (("events", made, EVENTS), ("queries", queries, QUERIES), ("items", texts, ITEMS)):
        pq.write_table(pa.Table.from_pylist(list(table), schema), folder / f"{name}.parquet")
    (folder / "manifest.json").write_text(json.dumps({"format": "logs", "files": []}), encoding="utf-8")
    return folder


def event(user: str, item: str, ts: float, query: str | None = None, **more: Any) -> dict[str, Any]:
    return {"user": user, "item": item, "ts": ts, "query": query, **more}


def config(split: str | dict[str, Any] = "leave_one_out", k: int = 1, **logs: Any) -> PipelineConfig:
    by = {"by": split} if isinstance(split, str) else split
    prepare = {"min_interactions": k, "negatives": 1, "threads": 1}
    return PipelineConfig.model_validate({"format": "logs", "prepare": prepare, "logs": {"split": by, **logs}})


def prepared(folder: Path, given: PipelineConfig) -> Path:
    out = folder.parent / f"{folder.name}-prepared-{len(list(folder.parent.iterdir()))}"
    out.mkdir()
    build_prepared(folder, given, out)
    assert [result for result in audit_by_itself(out)[0] if result.violations] == []
    return out


def manifest(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return result


def of(folder: Path, split: str, user: str) -> list[tuple[str, str | None]]:
    """(item, query) of a user's samples of a split, in the order of time."""
    when = {row["sample_id"]: row["ts"] for row in rows(folder, f"samples_{split}")}
    stored = zip(when.values(), named_samples(folder, split), strict=True)
    return [(item, query) for _, (_, name, item, query, _) in sorted(stored, key=lambda s: s[0]) if name == user]


def world(seed: int = 0, users: int = 30, each: int = 8, days: int = 20, searches: float = 0.5) -> Rows:
    """Random events at times of day, some of them with a query in one of three scripts."""
    draw = np.random.default_rng(seed)
    queries = ["bücher", "红色 连衣裙", "red shoe"]

    def one(user: int) -> dict[str, Any]:
        item = int(draw.integers(40))
        query = queries[item % 3] if draw.random() < searches else None
        return event(f"u{user}", f"i{item}", float(draw.integers(days)) + float(draw.random()), query)

    return [one(user) for user in range(users) for _ in range(each)]


def others() -> Rows:
    """Users who fill both tasks of all splits of leave one out."""
    return [
        event(f"o{n}", f"i{(n + k) % 5}", k + n / 100, "q" if (k + n) % 2 else None) for n in range(4) for k in range(4)
    ]


def test_leave_one_out_takes_the_last_event_of_either_behavior_with_its_query_and_its_instant(tmp_path: Path) -> None:
    events = [
        *(event("a", "i0", 0.0), event("a", "i1", 1.0, "q"), event("a", "i2", 2.0)),
        *(event("a", "i3", 3.0, "q"), event("a", "i4", 3.01, "q"), event("a", "i5", 4.0), event("a", "i6", 4.0, "w")),
        *(event("b", "i0", 0.0), event("b", "i1", 1.0)),
        *(event("e", "i7", 0.0), event("e", "i8", 1.0)),
        # One search by its id: what stands between its first and its last event goes with it.
        *(event("c", "i0", 0.0), event("c", "i1", 1.0), event("c", "i2", 2.0, "w", query_id="s")),
        *(event("c", "i3", 2.5), event("c", "i4", 3.0, "w", query_id="s")),
        # The query "q" once more, after something else or half an hour later: another search.
        *(event("f", "i0", 0.0, "q"), event("f", "i1", 0.1, "q"), event("f", "i2", 0.2, "q")),
        *(event("d", "i0", 0.0, "q"), event("d", "i1", 1.0), event("d", "i2", 2.0, "q")),
    ]
    out = prepared(raw(tmp_path / "raw", events + others()), config())
    assert of(out, "test", "a") == [("i5", None), ("i6", "w")]
    assert of(out, "valid", "a") == [("i3", "q"), ("i4", "q")]
    assert of(out, "train", "a") == [("i0", None), ("i1", "q"), ("i2", None)]
    assert of(out, "train", "b") == [("i0", None), ("i1", None)]
    assert of(out, "test", "c") == [("i2", "w"), ("i3", None), ("i4", "w")]
    assert of(out, "valid", "c") == [("i1", None)]
    assert [of(out, split, "d") for split in ("train", "valid", "test")] == [
        [("i0", "q")],
        [("i1", None)],
        [("i2", "q")],
    ]
    assert [of(out, split, "f") for split in ("train", "valid", "test")] == [
        [("i0", "q")],
        [("i1", "q")],
        [("i2", "q")],
    ]
    assert manifest(out)["split"]["by"] == "leave_one_out"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_days_of_a_zone_are_the_last_that_have_events(zone: str, tmp_path: Path) -> None:
    events = world(days=6)
    late = [
        event("u0", "i1", 9 + 1 / 24),
        event("u1", "i2", 9 + 3 / 24, "q"),
        event("u2", "i3", 8.5),
        event("u3", "i3", 8.6, "q"),
    ]
    out = prepared(raw(tmp_path / "raw", events + late), config({"by": "days", "zone": zone}))
    assert {t for t, *_ in named_samples(out, "test")} == {"recommendation", "search"}
    test = {row["ts"] for row in rows(out, "samples_test")}
    if zone == "UTC":
        assert test == {START + 9 * DAY + DAY // 24, START + 9 * DAY + DAY // 8}
    else:  # both of the first hours are still the evening before
        assert len(test) == 4
    assert manifest(out)["split"]["rule"].startswith(f"by day in {zone}: the last 1 with events test, 1 before valid")


def test_several_days(tmp_path: Path) -> None:
    out = prepared(raw(tmp_path / "raw", world()), config({"by": "days", "days": 3}))
    days = {
        split: {row["ts"] // DAY - START // DAY for row in rows(out, f"samples_{split}")} for split in ("valid", "test")
    }
    assert days == {"valid": {14, 15, 16}, "test": {17, 18, 19}}


def test_shares_of_time_are_cut_at_quantiles(tmp_path: Path) -> None:
    out = prepared(raw(tmp_path / "raw", world()), config({"by": "time_share", "time_share": [0.5, 0.25, 0.25]}))
    size = {split: len(rows(out, f"samples_{split}")) for split in ("train", "valid", "test")}
    total = sum(size.values())
    assert size == {"train": total / 2, "valid": total / 4, "test": total / 4}
    assert max(r["ts"] for r in rows(out, "samples_train")) < min(r["ts"] for r in rows(out, "samples_valid"))


@pytest.mark.parametrize(("days", "by"), [(13, "leave_one_out"), (14, "days")])
def test_the_default_split_says_which_it_is_and_why(days: int, by: str, tmp_path: Path) -> None:
    split = manifest(prepared(raw(tmp_path / "raw", world(days=days)), config("auto")))["split"]
    assert (split["by"], split["days_with_events"]) == (by, days)
    assert split["why"] == f"{days} days have events; from 14 days on the split is by days"


def test_a_search_has_its_text_from_the_queries_and_several_actions_are_one_engagement(tmp_path: Path) -> None:
    events = [
        event("a", "i0", 1.0, query_id="s1"),
        event("a", "i0", 1.1, query_id="s1"),  # click, then cart
        event("a", "i0", 1.2, query_id="s2"),
        event("a", "i1", 1.3, query_id="unknown"),
        event("a", "i1", 1.4, engagement="src"),
        event("a", "i2", 1.5, "own text", query_id="s1"),
        event("a", "i3", 1.6, "w", session="x"),
        event("a", "i3", 1.7, "w", session="x"),
        event("a", "i3", 1.8, "w", session="y"),
        event("a", "i4", 1.9),
        event("a", "i4", 1.9),
        event("a", "i4", 2.0),
        event("a", "i9", 2.1, engagement="ignored"),
    ]
    queries = [
        {"query_id": "s1", "query": "red"},
        {"query_id": "s2", "query": "blau"},
        {"query_id": "s1", "query": "late"},
    ]
    out = prepared(raw(tmp_path / "raw", events + others(), queries), config())
    happened = [pair for split in ("train", "valid", "test") for pair in of(out, split, "a")]
    assert happened == [
        *(("i0", "red"), ("i0", "blau"), ("i2", "own text"), ("i3", "w"), ("i3", "w"), ("i4", None), ("i4", None)),
    ]
    told = counts(out)["read"]
    assert {
        name: told[name] for name in ("event_rows", "ignored_by_type", "searches_without_text", "repeats_merged")
    } == {
        "event_rows": 13 + 16,
        "ignored_by_type": 1,
        "searches_without_text": 2,
        "repeats_merged": 3,
    }


def test_a_click_has_the_text_of_the_event_of_its_search(tmp_path: Path) -> None:
    events = [
        event("a", "i0", 1.0, query_id="s1"),
        event("", "", 0.9, "red", query_id="s1", engagement="ignored"),  # the search itself, in the same log
        event("", "", 0.95, "late", query_id="s1", engagement="ignored"),
        event("a", "i1", 1.1, query_id="s2"),
        event("b", "i1", 1.2, "blau", query_id="s2"),  # another engagement of this search
        event("a", "i2", 1.3, query_id="s3"),
        event("a", "i2", 1.2, "an event", query_id="s3", engagement="ignored"),
        event("a", "i3", 1.4, query_id="none"),
    ]
    items = [{"item": f"i{n}", "title": "t"} for n in range(5)]
    queries = [{"query_id": "s3", "query": "the table of searches comes first"}]
    out = prepared(raw(tmp_path / "raw", events + others(), queries, items), config())
    happened = [pair for split in ("train", "valid", "test") for pair in of(out, split, "a")]
    assert happened == [("i0", "red"), ("i1", "blau"), ("i2", "the table of searches comes first")]
    assert counts(out)["read"]["searches_without_text"] == 1


def test_users_of_one_behavior_are_kept_or_left_out_and_counted(tmp_path: Path) -> None:
    events = [*others(), *(event("r", f"i{n}", n) for n in range(4)), *(event("s", f"i{n}", n, "q") for n in range(3))]
    folder = raw(tmp_path / "raw", events)
    kept, both = prepared(folder, config()), prepared(folder, config(keep_users="both"))
    assert {row["raw_id"] for row in rows(kept, "users")} - {row["raw_id"] for row in rows(both, "users")} == {"r", "s"}
    assert counts(kept)["read"]["users_without_search"] == 1
    assert counts(kept)["read"]["users_without_recommendation"] == 1
    assert counts(both)["filter"]["users_without_both_behaviors"] == 2


@pytest.mark.parametrize(("searches", "task"), [(0.0, "recommendation"), (1.0, "search")])
def test_logs_of_one_task_are_prepared_and_say_so(searches: float, task: str, tmp_path: Path) -> None:
    given = config("auto")
    out = prepared(raw(tmp_path / "raw", world(searches=searches)), given)
    assert manifest(out)["tasks"] == [task]
    checks = tmp_path / "checks"
    checks.mkdir()
    assert validate_prepared(out, given, checks)["failed"] == 0


def test_a_split_without_samples_of_a_task_says_the_rule_and_the_days(tmp_path: Path) -> None:
    events = [*world(), event("u0", "i0", 25.0)]
    with pytest.raises(
        DataError, match=r"no samples for test/search \(by day in UTC: .*: 1\).*until to \"\S+T00:00\+00:00\""
    ):
        prepared(raw(tmp_path / "raw", events), config("days"))


def test_items_that_join_nothing_are_an_error_and_undescribed_ones_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no item of the events is in the items table.*'i0'.*'other'"):
        prepared(raw(tmp_path / "raw", others(), items=[{"item": "other"}]), config())
    titled = [row | {"item_title": f"told {row['item']}"} for row in others()]
    some = raw(tmp_path / "some", titled, items=[{"item": "i1", "title": "listed"}, {"item": "i2", "brand": "b"}])
    out = prepared(some, config())
    assert counts(out)["items_described"] == {
        "items": 5,
        "listed": 2,
        "described": 2,
        "of_events": "i0",
        "of_items": "i1",
    }
    assert [(row["title"], row["brand"]) for row in rows(out, "items")] == [
        ("told i0", ""),
        ("listed", ""),
        ("told i2", "b"),
        ("told i3", ""),
        ("told i4", ""),
    ]


def test_the_same_logs_give_the_same_bytes(tmp_path: Path) -> None:
    folder = raw(tmp_path / "raw", world())
    one, other = prepared(folder, config("auto")), prepared(folder, config("auto"))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def test_logs_without_searches_may_have_queries_made_of_categories(tmp_path: Path) -> None:
    events = [event(f"u{n}", f"i{(n + k) % 5}", k + n / 10) for n in range(4) for k in range(4)]
    items = [{"item": f"i{n}", "category_paths": [["Home", f"Cups & {'abcde'[n]}x"]]} for n in range(5)]
    folder = raw(tmp_path / "raw", events, items=items)
    plain, made = prepared(folder, config()), prepared(folder, config(category_queries=True))
    assert not (plain / "item_queries.parquet").exists()
    assert manifest(plain)["tasks"] == ["recommendation"]
    assert manifest(made)["tasks"] == ["recommendation", "search"]
    assert {query for _, query in of(made, "test", "u0")} == {None, "home cups dx"}
    assert len(rows(made, "item_queries")) == 5
    folder = raw(tmp_path / "mixed", [*events, event("u0", "i0", 9.0, "cup")], items=items)
    with pytest.raises(DataError, match="the events hold 1 real searches"):
        prepared(folder, config(category_queries=True))
