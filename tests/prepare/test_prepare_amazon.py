"""Queries, leave-one-out and its ties, on worlds small enough to work out by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_inputs import DAY, START, amazon_raw, config, counts, named_samples, prepared, rows

REC, SRC = "recommendation", "search"
PATHS = {item: [["Books", f"Shelf {item}{item}"]] for item in "ABCDEF"}


def test_leave_one_out_with_a_tie_by_hand(tmp_path: Path) -> None:
    """B and C of one day: C, later in the file, is valid; neither sees the other; both tasks move together."""
    purchases = [("u", "A", 0), ("u", "B", 1), ("u", "C", 1), ("u", "D", 2), ("v", "E", 0)]
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, {i: PATHS[i] for i in "ABCDE"}), config())

    assert [
        (e["user_idx"], e["item_idx"], e["behavior"], (e["ts"] - START) // DAY) for e in rows(folder, "events")
    ] == [
        (0, 0, "rec", 0),
        (0, 0, "src", 0),
        (0, 1, "rec", 1),
        (0, 1, "src", 1),
        (0, 2, "rec", 1),
        (0, 2, "src", 1),
        (0, 3, "rec", 2),
        (0, 3, "src", 2),
        (1, 4, "rec", 0),
        (1, 4, "src", 0),
    ]
    assert named_samples(folder, "test") == [(REC, "u", "D", None, 6), (SRC, "u", "D", "books shelf dd", 6)]
    assert named_samples(folder, "valid") == [(REC, "u", "C", None, 2), (SRC, "u", "C", "books shelf cc", 2)]
    assert named_samples(folder, "train") == [
        (REC, "u", "A", None, 0),
        (REC, "u", "B", None, 2),
        (REC, "v", "E", None, 8),
        (SRC, "u", "A", "books shelf aa", 0),
        (SRC, "u", "B", "books shelf bb", 2),
        (SRC, "v", "E", "books shelf ee", 8),
    ]
    assert counts(folder)["samples"]["train"][REC] == {"samples": 3, "empty_history": 2}


def test_fewer_than_three_purchases_only_train(tmp_path: Path) -> None:
    purchases = [("a", "A", 0), ("b", "A", 0), ("b", "B", 1), *(("c", item, day) for day, item in enumerate("ABC"))]
    raw = amazon_raw(tmp_path / "raw", [*purchases, ("a", "D", 5)], {i: PATHS[i] for i in "ABCD"})
    folder = prepared(raw, config())
    assert {user for _, user, *_ in named_samples(folder, "test")} == {"c"}
    assert {user for _, user, *_ in named_samples(folder, "valid")} == {"c"}
    assert [s[1:3] for s in named_samples(folder, "train") if s[0] == REC] == [
        ("a", "A"),
        ("a", "D"),
        ("b", "A"),
        ("b", "B"),
        ("c", "A"),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["Kindle Store", "Kindle eBooks"], "store kindle ebooks"),
        (["Health & Personal Care", "Women's Care"], "health personal womens care"),
        (["Industrial & Scientific", "Hi-Fi 3D", "of the Ünder"], "industrial scientific hifi d nder"),
        (["Kindle Store"], None),
        (["The", "And of"], None),
        (["!!!", "42"], None),
    ],
)
def test_query_of_a_path(tmp_path: Path, path: list[str], expected: str | None) -> None:
    """``expected`` None: the item's purchases make no search event."""
    purchases = [("u", item, day) for day, item in enumerate("ABCD")]
    others = {item: PATHS[item] for item in "BCDE"}
    raw = amazon_raw(tmp_path / "raw", [*purchases, ("v", "E", 0)], {"A": [path], **others})
    searched = {
        item: query for task, _, item, query, _ in named_samples(prepared(raw, config()), "train") if task == SRC
    }
    assert searched.get("A") == expected


def test_stems_merge_words_before_the_last_occurrence_is_kept(tmp_path: Path) -> None:
    purchases = [("u", item, day) for day, item in enumerate("ABCD")]
    raw = amazon_raw(
        tmp_path / "raw",
        [*purchases, ("v", "E", 0)],
        {"A": [["Fishing Rods", "Rod Cases"]], **{i: PATHS[i] for i in "BCDE"}},
    )
    plain, stemmed = (
        {
            q
            for task, _, item, q, _ in named_samples(prepared(raw, config(stem_queries=s), f"p{s}"), "train")
            if item == "A" and task == SRC
        }
        for s in (False, True)
    )
    assert plain == {"fishing rods rod cases"}
    assert stemmed == {"fish rod case"}


def test_query_is_drawn_by_digest_of_the_purchase(tmp_path: Path) -> None:
    paths = [["Top", name] for name in ("delta", "alpha", "gamma", "beta")]
    texts = sorted(f"top {path[1]}" for path in paths)
    purchases = [(f"u{n:02d}", item, n % 5) for n in range(30) for item in "ABC"]
    raw = amazon_raw(tmp_path / "raw", [*purchases, ("z", "D", 0)], dict.fromkeys("ABCD", paths))
    for seed in (0, 7):
        folder = prepared(raw, config(seed=seed), f"seed{seed}")
        drawn = {
            (u, i): q for s in ("train", "valid", "test") for t, u, i, q, _ in named_samples(folder, s) if t == SRC
        }
        for user, item, day in purchases:
            digest = hashlib.md5("\x1f".join([str(seed), user, item, str(START + day * DAY)]).encode()).hexdigest()
            assert drawn[user, item] == texts[int(digest[:15], 16) % 4]
    assert len(set(drawn.values())) == 4


def test_duplicates_are_dropped_and_counted_and_repeat_purchases_kept(tmp_path: Path) -> None:
    purchases = [("u", "A", 0), ("u", "A", 0), ("u", "A", 3), ("u", "B", 1), ("v", "C", 0)]
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, {i: PATHS[i] for i in "ABC"}), config())
    assert counts(folder)["read"] == {"reviews": 5, "duplicates_dropped": 1}
    bought = [(e["item_idx"], e["source_row"]) for e in rows(folder, "events") if e["behavior"] == "rec"]
    assert bought == [(0, 0), (1, 3), (0, 2), (2, 4)]


def test_graph_leaves_out_every_target_pair(tmp_path: Path) -> None:
    """u buys A early and again last: the early purchase trains, but the pair is a target and no edge."""
    purchases = [("u", "A", 0), ("u", "B", 1), ("u", "C", 2), ("u", "A", 3), ("v", "D", 0)]
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, {i: PATHS[i] for i in "ABCD"}), config())
    assert (REC, "u", "A", None, 0) in named_samples(folder, "train")
    assert rows(folder, "graph") == [{"user_idx": 0, "item_idx": 1}, {"user_idx": 1, "item_idx": 3}]


def test_item_without_metadata_has_empty_text_and_no_query(tmp_path: Path) -> None:
    purchases = [("u", item, day) for day, item in enumerate("ABCD")] + [("v", "E", 0)]
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, {i: PATHS[i] for i in "BCDE"}), config())
    first = rows(folder, "items")[0]
    assert first == {
        "item_idx": 0,
        "raw_id": "A",
        "title": "",
        "brand": "",
        "description": "",
        "category_text": "",
        "category_paths": [],
    }
    assert all(item != "A" for task, _, item, *_ in named_samples(folder, "train") if task == SRC)


def test_metadata_listed_twice_keeps_the_first(tmp_path: Path) -> None:
    raw = amazon_raw(
        tmp_path / "raw", [("u", i, d) for d, i in enumerate("ABC")] + [("v", "D", 0)], {i: PATHS[i] for i in "ABCD"}
    )
    items = pq.read_table(raw / "items.parquet")
    again = items.set_column(1, "title", pa.array(["later"] * 4))
    pq.write_table(pa.concat_tables([items, again]), raw / "items.parquet")
    assert [i["title"] for i in rows(prepared(raw, config()), "items")] == [f"title {i}" for i in "ABCD"]


def test_item_queries_list_the_catalogue_facts(tmp_path: Path) -> None:
    """Each item's own queries, of those that stand in the dataset."""
    purchases = [("u", i, d) for d, i in enumerate("ABC")] + [("v", "D", 0)]
    same = [["Top", "Shared"]]
    folder = prepared(
        amazon_raw(tmp_path / "raw", purchases, {"A": same, "B": same, "C": PATHS["C"], "D": PATHS["D"]}), config()
    )
    texts = [q["text"] for q in rows(folder, "queries")]
    assert [(r["item_idx"], texts[r["query_idx"]]) for r in rows(folder, "item_queries")] == [
        (0, "top shared"),
        (1, "top shared"),
        (2, "books shelf cc"),
        (3, "books shelf dd"),
    ]
