"""What the generated data does to be written fast at any size: text in blocks, tables of quantiles, more categories."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import write_amazon, write_kuaisar
from gensr_model.data.synthetic.gzipped import write_gzip
from gensr_model.data.synthetic.world import _Shelf, build_world, choose

SOURCE = GeneratedSource(users=300, items=1_000, events_per_user=12)


def rows_of(path: Path) -> list[dict[str, str]]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    finally:
        csv.field_size_limit(before)  # of the whole process


def lines_of(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def kuaisar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kuaisar")
    write_kuaisar(folder, SOURCE)
    return folder


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amazon")
    write_amazon(folder, SOURCE)
    return folder


def test_meta_lines_are_what_python_writes_of_a_dict(amazon: Path) -> None:
    lines = lines_of(amazon / "meta_Generated.json.gz")
    entries = [ast.literal_eval(line) for line in lines]
    assert lines == [repr(entry) for entry in entries]
    assert len({entry["asin"] for entry in entries}) == SOURCE.items
    share = {name: np.mean([name in e for e in entries]) for name in ("title", "brand", "description", "categories")}
    assert all(0.5 < value < 1 for value in share.values()), share
    assert any("&amp;" in e.get("title", "") for e in entries)
    assert any("<p>" in e.get("description", "") for e in entries)
    assert any("'" in e.get("brand", "") for e in entries)
    assert any(len(e.get("categories", [])) == 2 for e in entries)


def test_captions_are_lists_of_words_some_empty_and_some_very_long(kuaisar: Path) -> None:
    items = {row["item_id"]: row for row in rows_of(kuaisar / "item_features.csv")}
    captions = [row["caption"] for row in items.values()]
    assert "[]" in captions
    assert max(map(len, captions)) > 1_000
    words = [json.loads(caption) for caption in captions]  # every caption is a list of numbers
    assert min(word for caption in words for word in caption) > 0


def test_search_share_decides_how_many_clicks_are_searches(kuaisar: Path, tmp_path: Path) -> None:
    write_kuaisar(tmp_path, SOURCE.model_copy(update={"search_share": 0.1}))
    clicks = {
        folder: [
            sum(row[column] != "0" for row in rows_of(folder / name))
            for name, column in (("src_inter.csv", "click_cnt"), ("rec_inter.csv", "click"))
        ]
        for folder in (kuaisar, tmp_path)
    }
    shares = {folder: src / (src + rec) for folder, (src, rec) in clicks.items()}
    assert shares[kuaisar] == pytest.approx(0.45, abs=0.04)
    assert shares[tmp_path] == pytest.approx(0.1, abs=0.03)


def test_the_guide_finds_what_a_binary_search_finds() -> None:
    shelf = _Shelf(build_world(GeneratedSource(users=20, items=5_000)))
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.random(20_000), shelf.cumulative[:-1], [0.0]])
    expected = np.searchsorted(shelf.cumulative, value, "right") - 1
    np.testing.assert_array_equal(shelf.find(value), expected)


def test_a_large_catalogue_has_more_leaves_and_hardly_anybody_takes_an_item_twice() -> None:
    small, large = (build_world(GeneratedSource(users=20, items=n)) for n in (1_000, 20_000))
    assert len(small.leaves) == 48
    assert len(large.leaves) == 20_000 // 86
    assert len({name for _, name, _ in large.leaves}) == len(large.leaves)
    choices = choose(small, GeneratedSource(users=200, items=1_000, events_per_user=10), spread=1.0)
    pairs = Counter(zip(choices.user.tolist(), choices.item.tolist(), strict=True))
    assert sum(pairs.values()) - len(pairs) < 0.01 * len(pairs)  # when all that is offered was taken before


def test_gzip_members_read_as_one_text_in_order(tmp_path: Path) -> None:
    blocks = [f"block {i}\n".encode() * 1_000 for i in range(7)]
    write_gzip(tmp_path / "x.gz", blocks)
    assert gzip.decompress((tmp_path / "x.gz").read_bytes()) == b"".join(blocks)


def test_parts_hold_further_users_of_the_same_world(tmp_path: Path) -> None:
    write_kuaisar(tmp_path, SOURCE)
    write_kuaisar(tmp_path, SOURCE, label="more", first_user=SOURCE.users)
    assert not (tmp_path / "item_features.more.csv").exists()
    items = {row["item_id"] for row in rows_of(tmp_path / "item_features.csv")}
    first, more = (rows_of(tmp_path / f"rec_inter{label}.csv") for label in ("", ".more"))
    assert {int(row["user_id"]) for row in more} <= set(range(SOURCE.users, 2 * SOURCE.users))
    assert {row["item_id"] for row in more} <= items
    assert len(more) == pytest.approx(len(first), rel=0.2)
    words = [{row["keyword"] for row in rows_of(tmp_path / f"src_inter{label}.csv")} for label in ("", ".more")]
    assert len(words[0] & words[1]) > 0.1 * len(words[0])  # the words mean the same
    features = rows_of(tmp_path / "user_features.more.csv")
    assert [int(row["user_id"]) for row in features] == list(range(SOURCE.users, 2 * SOURCE.users))
