"""The generated Amazon files: reproducible, written as the 2014 release is, quirks included."""

from __future__ import annotations

import ast
import gzip
import itertools
import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import write_amazon
from gensr_model.data.synthetic.vocabulary import STORE

SOURCE = GeneratedSource(users=300, items=400, events_per_user=10)
REVIEWS, META = "reviews_Generated_5.json.gz", "meta_Generated.json.gz"
REVIEW_FIELDS = {
    "reviewerID": str,
    "asin": str,
    "reviewerName": str,
    "helpful": list,
    "reviewText": str,
    "overall": float,
    "summary": str,
    "unixReviewTime": int,
    "reviewTime": str,
}
META_FIELDS = {
    "asin": str,
    "title": str,
    "description": str,
    "price": float,
    "related": dict,
    "brand": str,
    "categories": list,
}


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amazon")
    write_amazon(folder, SOURCE)
    return folder


@pytest.fixture(scope="module")
def reviews(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(folder / REVIEWS)]


@pytest.fixture(scope="module")
def meta(folder: Path) -> list[dict[str, Any]]:
    return [ast.literal_eval(line) for line in lines(folder / META)]


def test_the_same_seed_writes_the_same_bytes_and_another_one_others(folder: Path, tmp_path: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {REVIEWS, META}
    write_amazon(tmp_path / "again", SOURCE)
    write_amazon(tmp_path / "other", SOURCE.model_copy(update={"world_seed": 1}))
    for name in (REVIEWS, META):
        written = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == written
        assert lines(tmp_path / "other" / name) != lines(folder / name)


def test_reviews_have_the_published_fields_and_types(reviews: list[dict[str, Any]]) -> None:
    for review in reviews:
        assert {name: type(value) for name, value in review.items()} == REVIEW_FIELDS
        assert [type(votes) for votes in review["helpful"]] == [int, int]
        assert review["overall"] in {1.0, 2.0, 3.0, 4.0, 5.0}


def test_times_are_whole_days_told_twice(reviews: list[dict[str, Any]]) -> None:
    for review in reviews:
        assert review["unixReviewTime"] % 86_400 == 0
        day = datetime.fromtimestamp(review["unixReviewTime"], UTC)
        assert review["reviewTime"] == f"{day:%m} {day.day}, {day.year}"  # "05 3, 2014": the day is not padded


def test_reviews_stand_by_item_and_some_of_a_user_share_a_day(reviews: list[dict[str, Any]]) -> None:
    asins = [review["asin"] for review in reviews]
    changes = sum(a != b for a, b in itertools.pairwise(asins))
    assert changes == len(set(asins)) - 1
    days = Counter((r["reviewerID"], r["unixReviewTime"]) for r in reviews)
    assert max(days.values()) > 1


def test_counts_follow_the_source(reviews: list[dict[str, Any]], meta: list[dict[str, Any]]) -> None:
    assert len({entry["asin"] for entry in meta}) == len(meta) == SOURCE.items
    assert {r["asin"] for r in reviews} <= {entry["asin"] for entry in meta}
    by_user = Counter(r["reviewerID"] for r in reviews)
    assert len(by_user) == SOURCE.users
    assert min(by_user.values()) >= 6
    assert len(reviews) / SOURCE.users == pytest.approx(SOURCE.events_per_user, rel=0.15)


def test_ids_look_like_amazons(reviews: list[dict[str, Any]], meta: list[dict[str, Any]]) -> None:
    assert all(re.fullmatch(r"B0[0-9A-Z]{8}", entry["asin"]) for entry in meta)
    assert all(re.fullmatch(r"A[0-9A-Z]{11,13}", r["reviewerID"]) for r in reviews)


def test_meta_is_python_literals_and_no_json(folder: Path, meta: list[dict[str, Any]]) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines(folder / META)[0])
    for entry in meta:
        assert all(type(value) is META_FIELDS[name] for name, value in entry.items())
        for path in entry.get("categories", []):
            assert path[0] == STORE
            assert all(type(level) is str for level in path)
        assert all(len(asin) == 10 for asin in entry["related"]["also_bought"])


@pytest.mark.parametrize(
    ("field", "missing"), [("title", 0.06), ("description", 0.10), ("brand", 0.30), ("categories", 0.02)]
)
def test_some_items_lack_a_field(meta: list[dict[str, Any]], field: str, missing: float) -> None:
    lacking = sum(field not in entry for entry in meta)
    assert 0 < lacking < 3 * missing * len(meta)


def test_texts_have_entities_tags_and_quotes(meta: list[dict[str, Any]], reviews: list[dict[str, Any]]) -> None:
    descriptions = [entry["description"] for entry in meta if "description" in entry]
    assert any("&amp;" in text for text in descriptions)
    assert any(text.startswith("<p>") and text.endswith("<br />") for text in descriptions)
    assert any("&amp;" in entry.get("title", "") for entry in meta)
    assert '"' in reviews[0]["reviewerName"]


def test_category_paths_differ_in_depth_and_some_items_have_two(meta: list[dict[str, Any]]) -> None:
    paths = [entry["categories"] for entry in meta if "categories" in entry]
    assert {len(path) for of_item in paths for path in of_item} == {3, 4}
    assert {len(of_item) for of_item in paths} == {1, 2}
    assert {of_item[1][1] for of_item in paths if len(of_item) == 2} == {"Gift Ideas"}
