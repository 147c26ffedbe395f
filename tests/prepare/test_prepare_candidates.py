"""Frozen candidates, determinism, sample ids: what must not move between runs, machines and versions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prepare_inputs import START, amazon_raw, config, named_samples, prepared, random_amazon, rows

import tasks.prepare.candidates
from gensr_model.errors import DataError
from tasks.prepare.schemas import TABLES

GAMMA = 0x9E3779B97F4A7C15


def mixed(z: int) -> int:
    """SplitMix64's finaliser in Python's integers."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def stream(seed: int, salt: int, sample_id: str) -> int:
    return mixed(((int(sample_id, 16) ^ mixed(seed)) + salt * GAMMA) % 2**64)


def number(start: int, draw: int) -> int:
    return mixed((start + (draw + 1) * GAMMA) % 2**64)


def reference_draw(seed: int, sample_id: str, items: int, met: set[int], negatives: int) -> list[int]:
    """The drawing rule, written again: item = number of the sample's stream mod items, the first fresh ones."""
    chosen: list[int] = []
    draw, start = 0, stream(seed, 0, sample_id)
    while len(chosen) < negatives:
        item = number(start, draw) % items
        if item not in met and item not in chosen:
            chosen.append(item)
        draw += 1
    return chosen


def met_items(folder: Path) -> dict[int, set[int]]:
    met: dict[int, set[int]] = defaultdict(set)
    for event in rows(folder, "events"):
        met[event["user_idx"]].add(event["item_idx"])
    return met


@pytest.mark.parametrize("negatives", [5, 40])  # 40 of at most 59 unmet: several rounds of drawing
def test_candidates_follow_the_rule(tmp_path: Path, negatives: int) -> None:
    folder = prepared(random_amazon(tmp_path / "raw"), config(seed=3, negatives=negatives))
    met, items = met_items(folder), len(rows(folder, "items"))
    for split in ("valid", "test"):
        samples, lists = rows(folder, f"samples_{split}"), rows(folder, f"candidates_{split}")
        assert [c["sample_id"] for c in lists] == [s["sample_id"] for s in samples]
        for sample, listed in zip(samples, lists, strict=True):
            expected = reference_draw(3, sample["sample_id"], items, met[sample["user_idx"]], negatives)
            assert listed["item_idx"] == expected


def test_every_unmet_item_can_be_asked_for(tmp_path: Path) -> None:
    """One purchase each of A, B, C leaves exactly D and E: two negatives are both of them."""
    purchases = [("u", item, day) for day, item in enumerate("ABC")] + [("v", "D", 0), ("v", "E", 0)]
    raw = amazon_raw(tmp_path / "raw", purchases, {i: [["Top", f"Kind {i}{i}"]] for i in "ABCDE"})
    for listed in rows(prepared(raw, config(negatives=2)), "candidates_test"):
        assert sorted(listed["item_idx"]) == [3, 4]
    with pytest.raises(DataError, match=r"too small for 3 negatives: user 'u' met 3 of 5 items, which leaves 2\."):
        prepared(raw, config(negatives=3), "larger")
    one = amazon_raw(tmp_path / "one-raw", purchases[:3], {i: [["Top", f"Kind {i}{i}"]] for i in "ABC"})
    with pytest.raises(DataError, match="every event is of one user, 'u': name the column"):
        prepared(one, config(negatives=3), "one")


def test_slices_do_not_change_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = random_amazon(tmp_path / "raw")
    whole = prepared(raw, config(negatives=10), "whole")
    monkeypatch.setattr(tasks.prepare.candidates, "_SLICE", 7)
    sliced = prepared(raw, config(negatives=10), "sliced")
    assert rows(whole, "candidates_test") == rows(sliced, "candidates_test")


def test_candidates_are_uniform(tmp_path: Path) -> None:
    """Each item is offered about equally often to those who have not met it (4 standard deviations)."""
    folder = prepared(random_amazon(tmp_path / "raw", users=300), config(negatives=10))
    met, items = met_items(folder), len(rows(folder, "items"))
    offered, expected, spread = [0] * items, [0.0] * items, [0.0] * items
    for split in ("valid", "test"):
        users = {s["sample_id"]: s["user_idx"] for s in rows(folder, f"samples_{split}")}
        for listed in rows(folder, f"candidates_{split}"):
            unmet = set(range(items)) - met[users[listed["sample_id"]]]
            share = 10 / len(unmet)
            for item in unmet:
                expected[item] += share
                spread[item] += share * (1 - share)
            for item in listed["item_idx"]:
                offered[item] += 1
    for item in range(items):
        assert abs(offered[item] - expected[item]) < 4 * spread[item] ** 0.5


def test_same_input_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    first = prepared(raw, config(negatives=20), "first")
    second = prepared(raw, config(negatives=20, threads=4, memory_limit="500MB"), "second")
    names = sorted(path.name for path in first.glob("*.parquet"))
    assert names == sorted(f"{table}.parquet" for table in TABLES.keys() - {"impressions"})
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert not (first / "duckdb-temp").exists()


def test_another_seed_draws_other_candidates_of_the_same_samples(tmp_path: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    a, b = (prepared(raw, config(seed=s, negatives=20), f"seed{s}") for s in (0, 1))
    rec_a, rec_b = ([r for r in named_samples(f, "test") if r[0] == "recommendation"] for f in (a, b))
    assert [r[:3] for r in rec_a] == [r[:3] for r in rec_b]
    assert rows(a, "candidates_test") != rows(b, "candidates_test")


def test_sample_ids_are_of_raw_values_and_stay_when_data_grow(tmp_path: Path) -> None:
    purchases = [("m", item, day) for day, item in enumerate("MNO")] + [("m", "Q", 9), ("v", "P", 0)]
    paths = {item: [["Top", f"Kind {item}{item}"]] for item in "ABMNOPQ"}
    before = prepared(amazon_raw(tmp_path / "raw", purchases, paths), config(), "before")
    # A user and items that sort first, so that every index and every row number moves.
    grown = [("a", "A", 0), ("a", "B", 1), *purchases, ("m", "P", 20)]
    after = prepared(amazon_raw(tmp_path / "more", grown, paths), config(), "after")

    def ids(folder: Path) -> dict[tuple[str, str, str], str]:
        result = {}
        for split in ("train", "valid", "test"):
            pairs = zip(named_samples(folder, split), rows(folder, f"samples_{split}"), strict=True)
            result.update({named[:3]: row["sample_id"] for named, row in pairs})
        return result

    old, new = ids(before), ids(after)
    assert len(old) == 10
    assert old.items() <= new.items()
    for task, query in (("recommendation", ""), ("search", "top kind mm")):
        raw = "\x1f".join([task, "m", "M", str(START), query])
        assert old[task, "m", "M"] == hashlib.md5(raw.encode()).hexdigest()[:16]


def test_files_have_the_promised_schemas(tmp_path: Path) -> None:
    folder = prepared(random_amazon(tmp_path / "raw"), config())
    for table in TABLES.keys() - {"impressions"}:
        assert pq.read_schema(folder / f"{table}.parquet").equals(TABLES[table]), table
