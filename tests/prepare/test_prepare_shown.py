"""What was shown: impressions of a log, and the candidates of the protocol shown, against plain Python."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from prepare_inputs import Rows, rows
from served_logs import World, config, prepared, write_world
from test_prepare_logs import config as logs_config
from test_prepare_logs import event, others, raw
from test_prepare_logs import prepared as prepared_and_audited


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    folder = tmp_path_factory.mktemp("shown") / "served"
    world = write_world(folder)
    return world, prepared(folder, config())


def by_list(folder: Path) -> dict[int, Rows]:
    lists: dict[int, Rows] = defaultdict(list)
    for row in rows(folder, "impressions"):
        lists[row["list_idx"]].append(row)
    return lists


def test_every_shown_list_is_kept_with_its_user_query_places_and_clicks(served: tuple[World, Path]) -> None:
    world, folder = served
    users, items = ([row["raw_id"] for row in rows(folder, table)] for table in ("users", "items"))
    queries, events = [row["text"] for row in rows(folder, "queries")], rows(folder, "events")
    item_of = {event["source_row"]: event["item_idx"] for event in events}
    kept = sorted(
        (
            users[listed[0]["user_idx"]],
            "" if listed[0]["query_idx"] is None else queries[listed[0]["query_idx"]],
            tuple(items[row["item_idx"]] for row in listed),
            tuple(sorted(items[row["item_idx"]] for row in listed if row["source_row"] is not None)),
        )
        for listed in by_list(folder).values()
    )
    clicked: dict[str, set[str]] = defaultdict(set)
    for _, item, query_id, _ in world.clicks:
        if query_id:
            clicked[query_id].add(item)
    told = sorted(
        (shown.user, shown.query or "", tuple(shown.items), tuple(sorted(clicked[query_id])))
        for query_id, shown in world.lists.items()
    )
    assert kept == told
    for listed in by_list(folder).values():
        assert [row["position"] for row in listed] == list(range(len(listed)))
        assert {row["behavior"] for row in listed} == {"rec" if listed[0]["query_idx"] is None else "src"}
        assert all(item_of[row["source_row"]] == row["item_idx"] for row in listed if row["source_row"] is not None)


def test_events_say_what_was_seen_and_a_session_with_its_words_is_a_list(tmp_path: Path) -> None:
    seen = {"engagement": "shown"}
    events = [
        *others(),
        # The answer of q1 was longer than what was seen of it, and i3 is taken though nobody logged that it was shown.
        *(event("a", item, 10.0, query_id="q1", **seen) for item in ("i2", "i1", "i2")),
        event("a", "i3", 10.1, query_id="q1"),
        event("a", "i3", 10.2, query_id="q1"),  # click, then cart
        # A session: by its words a search, without words recommendations. Another user's session is another list.
        *(event("b", item, 11.0, "red", session="s", **seen) for item in ("i0", "i4")),
        *(event("b", item, 11.0, session="s", **seen) for item in ("i1", "i0")),
        *(event("b", item, 11.1, query, session="s") for item, query in (("i4", "red"), ("i0", None))),
        event("o1", "i1", 12.0, "red", session="s", **seen),
        # Nothing says to which list these belong, whose words those are, or what the item is.
        *(event("a", "i4", 13.0, **seen), event("a", "i4", 13.0, query_id="unknown", **seen)),
        event("a", "never taken", 10.0, query_id="q1", **seen),
    ]
    queries = [
        {"query_id": "q1", "query": "cup", "user": "a", "items": ["i0", "i1", "i2", "i3"]},
        {"query_id": "q2", "query": "cup", "user": "o2", "items": ["i4", "never taken", "i0", "i4"]},
        {"query_id": "q3", "query": None, "user": "o2", "items": ["i4"]},
        {"query_id": "q4", "query": "cup", "user": "stranger", "items": ["i4"]},
    ]

    def told(folder: Path) -> list[tuple[str, str, list[str], list[str]]]:
        names = {table: [row["raw_id"] for row in rows(folder, table)] for table in ("users", "items")}
        return sorted(
            (
                names["users"][listed[0]["user_idx"]],
                listed[0]["behavior"],
                [f"{names['items'][row['item_idx']]}@{row['position']}" for row in listed],
                [names["items"][row["item_idx"]] for row in listed if row["source_row"] is not None],
            )
            for listed in by_list(folder).values()
        )

    known = [
        ("a", "src", ["i2@0", "i1@1", "i3@None"], ["i3"]),
        ("b", "rec", ["i1@0", "i0@1"], ["i0"]),
        ("b", "src", ["i0@0", "i4@1"], ["i4"]),
        ("o1", "src", ["i1@0"], []),
        ("o2", "src", ["i4@0", "i0@2"], []),
    ]
    described = [{"item": f"i{n}", "title": "t"} for n in range(5)]
    folder = raw(tmp_path / "raw", events, queries, described)
    assert told(prepared_and_audited(folder, logs_config())) == known
    listed = prepared_and_audited(folder, logs_config(queries={"without_text": "recommendation"}))
    assert told(listed) == sorted([*known, ("o2", "rec", ["i4@0"], [])])


def test_logs_without_impressions_have_no_such_file(tmp_path: Path) -> None:
    folder = prepared_and_audited(raw(tmp_path / "raw", others()), logs_config())
    assert not (folder / "impressions.parquet").exists()
