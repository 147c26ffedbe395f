"""Tokenizer, item texts and prompts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from small_dataset import write_dataset
from tokenizers import Tokenizer, models, pre_tokenizers

from gensr_model.config.model import FullRankingConfig, ModelConfig, SearchesInTextConfig, TextConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.data.searches import encode_with_searches
from gensr_model.data.text import (
    ItemText,
    PromptTable,
    answer_ids,
    encode_items,
    encode_prompts,
    load_tokenizer,
    special_id,
    train_tokenizer,
)
from gensr_model.errors import ConfigError

WORDS = ["<pad>", "</s>", "<unk>", "Yes", "No", *"abcdefghij", "recommend", "search", "item", "?"]


def words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def bags(text: ItemText) -> list[str]:
    return [
        " ".join(WORDS[token] for token in text.tokens[start:end])
        for start, end in zip(text.offsets[:-1], text.offsets[1:], strict=True)
    ]


def test_every_field_has_its_own_budget_and_categories_only_where_asked() -> None:
    items = pa.table(
        {
            "title": ["a b c d", ""],
            "brand": ["e", ""],
            "description": ["f g h i j", ""],
            "category_text": ["c c c", "d"],
        }
    )
    config = TextConfig(title_tokens=5, description_tokens=2, category_tokens=1)
    assert bags(encode_items(words(), items, config)) == ["a b c d e f g", ""]
    short = config.model_copy(update={"title_tokens": 2, "include_category": True})
    assert bags(encode_items(words(), items, short)) == ["a b f g c", "d"]


def test_searches_are_a_field_of_a_text_with_a_budget_of_its_own() -> None:
    items = pa.table({"title": [""] * 2, "brand": [""] * 2, "description": [""] * 2, "searches": ["a b c", ""]})
    config, searches = (TextConfig(title_tokens=0, description_tokens=0), SearchesInTextConfig(enabled=True, tokens=2))
    assert bags(encode_with_searches(words(), items, config, searches)) == ["a b", ""]


@pytest.mark.parametrize("pooling", ["tokens", "fields"])
def test_searches_have_their_share_and_rare_tokens_more_of_it(pooling: str) -> None:
    """a is in three items' searches, b in two, c in one. Searches of a single token
    have all of the share; an item without own words has searches alone, one without searches its own words."""
    items = pa.table(
        {
            "title": ["d d d", "", "d", "d"],
            "brand": [""] * 4,
            "description": ["e", "", "e", "e"],
            "category_text": [""] * 4,
            "searches": ["a b c", "a", "a b", ""],
        }
    )
    searches = SearchesInTextConfig(enabled=True, share=0.8)
    text = encode_with_searches(words(), items, TextConfig(pooling=pooling), searches)
    a, b, c = np.log(4 / 3), np.log(4 / 2), np.log(4)
    d, e = (0.05, 0.05) if pooling == "tokens" else (0.1 / 3, 0.1)
    own = [d, d, d, e]
    first = [0.8 * value / (a + b + c) for value in (a, b, c)]
    third = [0.1, 0.1, 0.8 * a / (a + b), 0.8 * b / (a + b)]
    assert bags(text) == ["d d d e a b c", "a", "d e a b", "d e"]
    assert text.weights is not None
    expected = torch.tensor([*own, *first, 1, *third, 0.5, 0.5], dtype=torch.float32)
    torch.testing.assert_close(text.weights, expected)


def test_searches_leave_a_share_for_the_items_that_have_none() -> None:
    with pytest.raises(ValidationError, match="less than 1"):
        SearchesInTextConfig(enabled=True, share=1.0)


def test_fields_weigh_the_same_however_long_they_are() -> None:
    """Title and brand of three tokens, a description of two, no category; one token of a title alone; nothing."""
    items = pa.table(
        {"title": ["a b", "a", ""], "brand": ["e", "", ""], "description": ["f g", "", ""], "category_text": [""] * 3}
    )
    result = encode_items(words(), items, TextConfig(pooling="fields", include_category=True))
    assert result.weights is not None
    torch.testing.assert_close(result.weights, torch.tensor([1 / 6] * 3 + [1 / 4] * 2 + [1.0]))
    assert encode_items(words(), items, TextConfig()).weights is None


PROMPTS = ModelConfig.model_validate(
    {
        "max_query_tokens": 3,
        "recommendation_prompt": {"segments": ("recommend", "", "item", "", "?")},
        "search_prompt": {"segments": ("search {query} ?", "a", "item", "b", "?")},
    }
)


FULL = FullRankingConfig.model_validate(
    {
        "search_prompt": {"segments": ("search {query} ?", "a", "item")},
        "recommendation_prompt": {"segments": ("recommend", "", "?")},
    }
)


def shown(table: PromptTable) -> list[str]:
    """The prompts as text, slots by their number."""
    texts = []
    for ids, length, slots in zip(table.ids, table.length, table.slots, strict=True):
        tokens = [WORDS[token] for token in ids[:length]]
        for number, slot in enumerate(slots.tolist(), 1):
            assert tokens[slot] == "<pad>"
            tokens[slot] = f"<{number}>"
        assert not ids[length:].any()
        texts.append(" ".join(tokens))
    return texts


def test_prompts_have_four_slots_between_five_segments() -> None:
    table = encode_prompts(words(), ["a b c d e", "f"], PROMPTS)
    assert shown(table) == [
        "search a b c ? <1> a <2> item <3> b <4> ? </s>",
        "search f ? <1> a <2> item <3> b <4> ? </s>",
        "recommend <1> <2> item <3> <4> ? </s>",
    ]
    assert table.query_length.tolist() == [3, 1, 0]
    assert [WORDS[token] for token in table.query[0]] == ["a", "b", "c"]


def test_prompts_of_full_ranking_have_two_slots_between_three_segments() -> None:
    table = encode_prompts(words(), ["a b c d e", "f"], PROMPTS, FULL)
    assert shown(table) == [
        "search a b c ? <1> a <2> item </s>",
        "search f ? <1> a <2> item </s>",
        "recommend <1> <2> ? </s>",
    ]
    assert table.slots.shape == (3, 2)


def test_a_dataset_without_queries_still_has_the_recommendation_prompt() -> None:
    table = encode_prompts(words(), [], PROMPTS)
    assert table.ids.shape[0] == 1
    assert table.query_length.tolist() == [0]


def test_answers_are_single_tokens_or_an_error_says_so() -> None:
    assert answer_ids(words()) == (WORDS.index("No"), WORDS.index("Yes"))
    letters = Tokenizer(models.BPE({"Y": 0, "e": 1, "s": 2, "N": 3, "o": 4}, []))
    with pytest.raises(ConfigError, match="splits 'No' into 2 tokens"):
        answer_ids(letters)
    with pytest.raises(ConfigError, match="no '<pad>' token"):
        special_id(letters, "<pad>")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("text") / "prepared")


def test_the_corpus_gives_a_tokenizer_that_knows_answers_and_prompt_words(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    config = PROMPTS.model_copy(update={"backbone": PROMPTS.backbone.model_copy(update={"vocab_size": 150})})
    tokenizer = train_tokenizer(dataset, config)
    assert tokenizer.get_vocab_size() <= 150
    no, yes = answer_ids(tokenizer)
    assert no != yes
    for word in ("kitchen", "garden", "recommend", "search", "item"):
        assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1, word
    assert tokenizer.encode("KITCHEN").ids == tokenizer.encode("kitchen").ids
    for word in ("Gießkanne", "GIEẞEN", "Λόγος", "Ёлка"):  # as queries are folded
        assert tokenizer.normalizer.normalize_str(word) == word.casefold()
    assert tokenizer.encode("yes").ids != tokenizer.encode("Yes").ids  # text that says yes is not the answer
    assert train_tokenizer(dataset, config).to_str() == tokenizer.to_str()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert len(loaded.encode("kitchen garden search item").ids) == 4
