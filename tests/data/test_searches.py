"""Training's searches as a field of item text."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_dataset import write_dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from gensr_model.config.model import SearchesInTextConfig, TextConfig
from gensr_model.data.searches import SEARCHES, encode_with_searches, lone_queries, with_searches


class Dataset:
    """Items 0 to 3 and what training's searches found: query -1 for a sample that is no search."""

    n_items = 4

    def __init__(self, queries: list[str], *pairs: tuple[int, int]) -> None:
        self.queries, self.n_queries = queries, len(queries)
        self.found = np.array(pairs)
        texts = {"title": ["a", "", "b c", ""], **{name: [""] * 4 for name in ("brand", "description")}}
        self.items = pa.table({**texts, "category_text": [""] * 4})

    def samples(self, split: str) -> SimpleNamespace:
        assert split == "train"
        return SimpleNamespace(item=self.found[:, 0], query=self.found[:, 1])


def test_an_item_has_the_queries_that_found_it(tmp_path: Path) -> None:
    """In the small dataset every search for item i asks room i % 4."""
    dataset = write_dataset(tmp_path / "prepared")
    train = dataset.samples("train")
    result = set(train.item[train.task == 1].tolist())
    expected = [dataset.queries[i % 4] if i in result else "" for i in range(dataset.n_items)]
    assert with_searches(dataset)[SEARCHES].to_pylist() == expected


def test_searches_of_an_item_stand_once_each_the_most_frequent_first() -> None:
    dataset: Any = Dataset(["a", "b", "c"], (2, 0), (2, 1), (2, 1), (2, -1), (0, 2), (0, -1))
    assert with_searches(dataset)[SEARCHES].to_pylist() == ["c", "", "b a", ""]


def letters() -> Tokenizer:
    """A token per letter, so that a word has as many as it is long."""
    tokenizer = Tokenizer(models.WordLevel({c: n for n, c in enumerate("?abcdefgh")}, unk_token="?"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    return tokenizer


@pytest.mark.parametrize(("budget", "cut"), [(64, 7), (3, 3)])
def test_a_token_knows_the_query_that_alone_said_it(budget: int, cut: int) -> None:
    """Item 0 was found twice by "ab" and once each by "c" and "d ef"; item 2 by the query of a wide letter."""
    dataset: Any = Dataset(
        ["d ef", "ab", "c", "", "ｇh"], (0, 0), (0, 1), (0, 1), (0, 2), (0, 3), (2, 4), (2, 4), (2, 2), (1, -1)
    )
    searches = SearchesInTextConfig(enabled=True, tokens=budget)
    items = with_searches(dataset)
    text = encode_with_searches(letters(), items, TextConfig(), searches)
    words = ["".join("?abcdefgh"[token] for token in text.tokens[a:b]) for a, b in bags(text.offsets)]
    assert words == ["a" + "abdefc"[:cut], "", "bc" + "ghc"[:cut], ""]
    lone = lone_queries(letters(), dataset, items, text, budget)
    first = [-1, *[-1, -1, 0, 0, 0, 2][:cut]]
    assert [lone[a:b].tolist() for a, b in bags(text.offsets)] == [first, [], [-1, -1, -1, -1, 2], []]


def test_the_space_before_a_query_is_its_own_where_it_is_a_token() -> None:
    """As T5's tokenizer has it, where no piece begins with both the space and the word's first letter."""
    pieces = ("?", "▁", "▁ab", "c", "▁d", "ef")
    tokenizer = Tokenizer(models.Unigram([(piece, -float(len(piece))) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    dataset: Any = Dataset(["ab", "d ef", "ef", "c"], (1, 0), (1, 1), (1, 2), (1, 2), (1, 3), (3, 3))
    items = with_searches(dataset)
    text = encode_with_searches(tokenizer, items, TextConfig(), SearchesInTextConfig(enabled=True))
    said = [[pieces[token] for token in text.tokens[a + 1 : b]] for a, b in bags(text.offsets)]  # after the empty name
    assert said[1] == ["▁", "ef", "▁ab", "▁d", "▁", "ef", "▁", "c"]
    lone = lone_queries(tokenizer, dataset, items, text, 64)
    assert [lone[a + 1 : b].tolist() for a, b in bags(text.offsets)][1] == [-1, -1, 0, 1, 1, 1, 3, 3]
    assert lone[-2:].tolist() == [3, 3]


def bags(offsets: Any) -> list[tuple[int, int]]:
    return list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))


def test_no_search_at_all_leaves_every_item_without(tmp_path: Path) -> None:
    dataset: Any = Dataset([], (0, -1), (1, -1))
    items = with_searches(dataset)
    assert items[SEARCHES].to_pylist() == [""] * 4
    text = encode_with_searches(letters(), items, TextConfig(), SearchesInTextConfig(enabled=True))
    assert lone_queries(letters(), dataset, items, text, 64).tolist() == [-1] * 3
