"""Popularity and BM25 candidates against the rules, written again; uniform ones are in test_prepare_candidates.py."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections import Counter
from pathlib import Path

import bm25s
import numpy as np
import pytest
from prepare_inputs import Rows, amazon_raw, config, prepared, random_amazon, rows
from pydantic import ValidationError
from test_prepare_candidates import met_items, mixed, number, stream

import tasks.prepare.candidates
from gensr_model.data.prepared import PreparedDataset
from tasks.validate.audit import audit_by_itself

ALL = ("uniform", "popularity", "bm25")
WORDS = ["amber", "birch", "coral", "delta", "ember", "fjord", "grove"]


def skewed_amazon(folder: Path, users: int = 40, items: int = 60, each: int = 8) -> Path:
    """Low item numbers are bought far more often; each title has two words, one of which is in the item's path."""
    draw = np.random.default_rng(0)
    names = [f"{n:02d} {WORDS[n % 7]} {WORDS[n // 7 % 7]}" for n in range(items)]
    purchases = [
        (f"u{user:03d}", names[int(items * draw.random() ** 3)], int(draw.integers(12)))
        for user in range(users)
        for _ in range(each)
    ]
    return amazon_raw(folder, purchases, {name: [["Top", name.split()[1]]] for name in names})


def weights_of(folder: Path) -> list[int]:
    """Training recommendation events of each item, and one."""
    result = Counter(s["item_idx"] for s in rows(folder, "samples_train") if s["task"] == "recommendation")
    return [1 + result[item] for item in range(len(rows(folder, "items")))]


def lists_of(folder: Path, split: str, protocol: str) -> Rows:
    return [c for c in rows(folder, f"candidates_{split}") if c["protocol"] == protocol]


def weighted_draw(seed: int, sample_id: str, weights: list[int], met: set[int], negatives: int) -> list[int]:
    """Tickets while a round draws fewer than there are items, then the smallest -ln(u) / weight."""
    ends = list(itertools.accumulate(weights))
    chosen: list[int] = []
    start = stream(seed, 1, sample_id)
    draw, size = 0, negatives + 16
    while size <= len(weights):
        for _ in range(size):
            item = bisect.bisect_right(ends, number(start, draw) % ends[-1])
            if item not in met and item not in chosen:
                chosen.append(item)
            draw += 1
        if len(chosen) >= negatives:
            return chosen[:negatives]
        size *= 2

    def key(item: int) -> float:
        bits = number(mixed(start ^ 0x6B65797370657269), item) >> 11
        return -math.log((bits + 1) / 2**53) / weights[item]

    left = sorted((item for item in range(len(weights)) if item not in {*met, *chosen}), key=key)
    return [*chosen, *left][:negatives]


@pytest.mark.parametrize("negatives", [3, 12, 40])  # tickets suffice, tickets and then keys, keys alone
def test_popularity_candidates_follow_the_rule(tmp_path: Path, negatives: int) -> None:
    folder = prepared(skewed_amazon(tmp_path / "raw"), config(seed=5, negatives=negatives, protocols=ALL))
    met, weights = met_items(folder), weights_of(folder)
    for split in ("valid", "test"):
        lists, samples = lists_of(folder, split, "popularity"), rows(folder, f"samples_{split}")
        for sample, listed in zip(samples, lists, strict=True):
            drawn = weighted_draw(5, sample["sample_id"], weights, met[sample["user_idx"]], negatives)
            assert (listed["sample_id"], listed["item_idx"]) == (sample["sample_id"], drawn)


@pytest.mark.parametrize("negatives", [5, 45])  # by tickets, by keys
def test_first_popularity_candidates_are_in_proportion_to_weight(tmp_path: Path, negatives: int) -> None:
    """How often an item stands first, against its weight among those that the user has not met (4 deviations)."""
    raw = skewed_amazon(tmp_path / "raw", users=400, each=5)
    folder = prepared(raw, config(negatives=negatives, protocols=("uniform", "popularity")))
    met, weights = met_items(folder), np.array(weights_of(folder), float)
    first, expected, spread = (np.zeros(len(weights)) for _ in range(3))
    for split in ("valid", "test"):
        lists = lists_of(folder, split, "popularity")
        for sample, listed in zip(rows(folder, f"samples_{split}"), lists, strict=True):
            unmet = weights.copy()
            unmet[sorted(met[sample["user_idx"]])] = 0
            share = unmet / unmet.sum()
            expected += share
            spread += share * (1 - share)
            first[listed["item_idx"][0]] += 1
    assert (abs(first - expected) < 4 * np.sqrt(spread)).all()
    assert expected.max() > 5 * expected.min()


def test_bm25_candidates_are_the_best_unmet_matches_then_uniform(tmp_path: Path) -> None:
    """Scores by the library itself; equal ones by digest. About a fifth of the items match, 20 negatives need more."""
    folder = prepared(skewed_amazon(tmp_path / "raw"), config(seed=2, negatives=20, protocols=ALL))
    met, items = met_items(folder), rows(folder, "items")
    queries = [row["text"] for row in rows(folder, "queries")]
    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize([i["title"] for i in items], stopwords="en", show_progress=False), show_progress=False)
    matched = []
    for split in ("valid", "test"):
        searches = [s for s in rows(folder, f"samples_{split}") if s["task"] == "search"]
        for sample, listed in zip(searches, lists_of(folder, split, "bm25"), strict=True):
            name, known = sample["sample_id"], met[sample["user_idx"]]
            words = [w for w in queries[sample["query_idx"]].split() if w in index.vocab_dict]
            scores = index.get_scores(words) if words else np.zeros(len(items))
            best = sorted(
                (item for item in range(len(items)) if scores[item] > 0 and item not in known),
                key=lambda item: (
                    -scores[item],
                    hashlib.md5(f"bm25\x1f2\x1f{name}\x1fmatch\x1f{item}".encode()).hexdigest(),
                ),
            )[:20]
            matched.append(len(best))
            draws = (number(stream(2, 2, name), draw) % len(items) for draw in itertools.count())
            while len(best) < 20:
                item = next(draws)
                if item not in known and item not in best:
                    best.append(item)
            assert (listed["sample_id"], listed["item_idx"]) == (name, best)
    assert 0 < min(matched) < 20


def test_who_met_the_best_matches_gets_the_next_best(tmp_path: Path) -> None:
    """Every title says amber, a longer one scores less; u met the three best and v all others."""
    names = ["amber" + "".join(f" word{n:02d}" for n in range(length)) for length in range(14)]
    purchases = [("u" if n < 3 else "v", name, n) for n, name in enumerate(names)]
    raw = amazon_raw(tmp_path / "raw", purchases, {name: [["Top", "Amber"]] for name in names})
    folder = prepared(raw, config(negatives=2, protocols=ALL))
    assert [c["item_idx"] for c in lists_of(folder, "test", "bm25")] == [[3, 4], [0, 1]]


def test_slices_of_samples_and_queries_do_not_change_the_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few negatives, so that scores are cut; a few queries and samples at a time give the same lists."""
    raw = skewed_amazon(tmp_path / "raw")
    whole = prepared(raw, config(negatives=3, protocols=ALL), "whole")
    met = met_items(whole)
    titles = [item["title"].split() for item in rows(whole, "items")]
    queries = [row["text"].split()[-1] for row in rows(whole, "queries")]
    searches = {s["sample_id"]: s for s in rows(whole, "samples_test") if s["task"] == "search"}
    for listed in lists_of(whole, "test", "bm25"):
        sample = searches[listed["sample_id"]]
        assert all(queries[sample["query_idx"]] in titles[item] for item in listed["item_idx"])
        assert not met[sample["user_idx"]] & set(listed["item_idx"])
    monkeypatch.setattr(tasks.prepare.candidates, "_SLICE", 7)
    monkeypatch.setattr(tasks.prepare.candidates, "_QUERIES", 2)
    sliced = prepared(raw, config(negatives=3, protocols=ALL), "sliced")
    assert rows(whole, "candidates_test") == rows(sliced, "candidates_test")


def test_other_protocols_leave_uniform_as_it_is_and_all_pass_the_audits(tmp_path: Path) -> None:
    raw = random_amazon(tmp_path / "raw")  # titles share no word with any query: bm25 is all uniform
    uniform = prepared(raw, config(negatives=10), "uniform")
    every = prepared(raw, config(negatives=10, protocols=("bm25", "popularity", "uniform")), "every")
    assert rows(uniform, "candidates_test") == lists_of(every, "test", "uniform")
    order = [c["protocol"] for c in rows(every, "candidates_test")]
    assert [name for name, _ in itertools.groupby(order)] == ["bm25", "popularity", "uniform"]
    assert [r for r in audit_by_itself(every)[0] if r.violations] == []
    dataset = PreparedDataset.open(every)
    samples, negatives = dataset.evaluated("test", "bm25")
    assert set(samples.task_names) == {"search"}
    assert negatives.shape == (len(samples), 10)
    assert len(dataset.evaluated("test", "popularity")[0]) == len(dataset.samples("test"))


def test_a_protocol_that_is_evaluated_must_be_drawn() -> None:
    with pytest.raises(
        ValidationError, match=r"evaluation\.protocol is 'bm25', but prepare\.protocols draws only uniform"
    ):
        config().model_validate({"evaluation": {"protocol": "bm25"}})
    with pytest.raises(ValidationError, match="names a protocol twice"):
        config(protocols=("uniform", "uniform"))
