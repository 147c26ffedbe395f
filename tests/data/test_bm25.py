"""BM25 finds words of every script, and texts without other letters than English ones are cut as ever."""

from __future__ import annotations

import pytest

from gensr_model.data.bm25 import best_matches, index_texts, with_blanks

TEXTS = ["red shoe 5", "Bücher für Kinder", "红色连衣裙 夏", "हिन्दी किताब", "Weiße STRASSE", "café noir", "ねこのほん"]


@pytest.mark.parametrize(
    ("query", "item"),
    [("shoe", 0), ("bücher", 1), ("红色", 2), ("连衣裙", 2), ("夏", 2), ("किताब", 3), ("strasse weisse", 4),
     ("café", 5), ("ねこ", 6)],
)  # fmt: skip
def test_a_query_finds_the_item_with_its_words(query: str, item: int) -> None:
    matches = best_matches(index_texts(TEXTS), [query], 1)
    assert matches.item.tolist() == [item]


def test_a_word_of_another_script_is_not_half_a_word() -> None:
    assert "हिन्दी" in index_texts(TEXTS).words
    assert best_matches(index_texts(TEXTS), ["bcher", "色鞋", "kinde"], 1).item.tolist() == []


def test_english_texts_stay() -> None:
    assert with_blanks("Red SHOE_5 a") == "Red SHOE_5 a"
    assert set(index_texts(["Red SHOE_5 a the x1"]).words) - {""} == {"red", "shoe_5", "x1"}
