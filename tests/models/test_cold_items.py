"""``model.departures.cold_items``: items of a training batch that stand in it as items nobody has met."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_dataset import SMALL_CONFIG, SMALL_MODEL, Small, read_items, write_cf, write_dataset
from torch import Tensor, nn

from gensr_model.config.model import SearchesInTextConfig, TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.searches import encode_with_searches
from gensr_model.data.text import ItemText, encode_items
from gensr_model.models import bundle, departures
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.departures import ItemEmbedding, drawn_cold, pool_read_text
from gensr_model.models.fold_tables import FoldTables
from gensr_model.models.gensr import GenSR
from gensr_model.models.text_pooling import TextBuffers, pool_text
from gensr_model.models.two_head import TwoHead

TEXT = {"title_tokens": 8, "description_tokens": 4}
SEARCHED = {"enabled": True, "share": 0.8}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    root = tmp_path_factory.mktemp("cold")
    dataset = write_dataset(root / "prepared")
    samples, negatives = dataset.evaluated("test")
    few = samples.take(np.arange(12))
    lists = np.column_stack([few.item, negatives[:12]])
    return Small(dataset, write_cf(root / "cf"), BatchBuilder(dataset, 5).build(few, lists))


def assembled(small: Small, kind: str, share: float) -> tuple[GenSR | TwoHead, bundle.Tokenizer]:
    """A model without dropout whose weights are drawn, the cold vector and the vectors of the items' own too."""
    model = {
        **SMALL_MODEL, "view_dropout": 0.0, "text": TEXT,
        "departures": {"searches_in_text": SEARCHED, "cold_items": share, "item_embedding": True,
                       "interaction": True, "query_interaction": True},
        "backbone": {**SMALL_MODEL["backbone"], "dropout": 0.0},
    }  # fmt: skip
    config = PipelineConfig.model_validate(SMALL_CONFIG | {"model": model})
    made, tokenizer = bundle.assemble(kind, small.dataset, small.cf, config)
    assert isinstance(made, GenSR | TwoHead)
    assert isinstance(made.item_embedding, ItemEmbedding)
    with torch.no_grad():
        made.cf.cold.normal_()
        made.item_embedding.table.normal_()
    return made, tokenizer


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_a_cold_item_is_read_as_one_that_training_never_met(
    small: Small, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """All items cold in training, beside the same weights over a catalogue that nobody has met, evaluated."""
    model, tokenizer = assembled(small, kind, share=0.5)
    unmet = copy.deepcopy(model).eval()
    unmet.cf.known[:] = False
    assert isinstance(unmet.item_embedding, ItemEmbedding)
    with torch.no_grad():
        unmet.item_embedding.table.zero_()
    text = encode_items(tokenizer, small.dataset.items, TextConfig.model_validate(TEXT))
    prompts = unmet.text.prompts(torch.tensor([*range(small.dataset.n_queries), -1]))
    unmet.text = TextBuffers(text, prompts)
    monkeypatch.setattr(
        departures, "drawn_cold", lambda share, items: torch.ones_like(items, dtype=torch.bool) if share else None
    )
    with torch.inference_mode():
        result, expected = model.train().score(small.batch), unmet.score(small.batch)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(model.eval().score(small.batch), expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_items_are_drawn_in_training_alone_and_only_where_a_share_is_asked_for(small: Small, kind: str) -> None:
    with torch.inference_mode():
        model, _ = assembled(small, kind, share=0.5)
        still = model.eval().score(small.batch)
        torch.testing.assert_close(model.eval().score(small.batch), still)
        first, second = (model.train().score(small.batch) for _ in range(2))
        assert not torch.allclose(first, second, atol=1e-3)
        never, _ = assembled(small, kind, share=0.0)
        never.load_state_dict(model.state_dict())
        torch.testing.assert_close(never.train().score(small.batch), still)


def test_the_share_is_that_of_the_items() -> None:
    torch.manual_seed(0)
    assert drawn_cold(0.0, torch.arange(5)) is None
    drawn = drawn_cold(0.3, torch.arange(20_000))
    assert drawn is not None
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.02)  # six standard errors


def test_only_the_cold_ones_of_the_items_change() -> None:
    cold = torch.tensor([False, True, True])
    items = torch.tensor([2, 0, 1])
    text = ItemText(
        torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 3, 5]),
        torch.tensor([0.2, 0.8, 1.0, 0.5, 0.5]), torch.tensor([1.0, 0.0, 0.0, 0.5, 0.5]),
    )  # fmt: skip
    words = nn.Embedding(6, 3)
    expected = torch.stack([words.weight[[4, 5]].mean(0), words.weight[1], torch.zeros(3)])
    torch.testing.assert_close(pool_read_text(words, text, read_items(items, cold)), expected)
    vectors = torch.arange(9.0).view(3, 3) + 1
    own = ItemEmbedding(3, 3)
    with torch.no_grad():
        own.table.copy_(vectors)
    assert own(torch.zeros(3, 3), items, cold).tolist() == [[7, 8, 9], [0, 0, 0], [0, 0, 0]]
    folds = FoldTables(torch.stack([vectors, 10 * vectors]), torch.tensor([[True, True, True], [True, True, False]]))
    table = CFTable(vectors, torch.ones(3, dtype=torch.bool), folds=folds)
    read = read_items(items, cold)
    result, _ = table.for_batch(read)
    of_cold = [0.0, 0.0, 0.0]
    assert result.tolist() == [[7, 8, 9], of_cold, of_cold, of_cold, of_cold, of_cold]
    result, _ = table.eval().for_batch(read)
    assert result.tolist() == [[7, 8, 9], of_cold, of_cold]


@pytest.mark.parametrize("pooling", ["tokens", "fields"])
def test_cold_text_is_the_text_without_searches(small: Small, pooling: str) -> None:
    """Every token of the item's own has the weight that it has where the text has no searches at all."""
    _, tokenizer = assembled(small, "gensr", share=0.5)
    items = small.dataset.items.append_column("searches", [["kitchen"] * 20 + [""] * 20])
    config = TextConfig.model_validate(TEXT | {"pooling": pooling})
    with_them = encode_with_searches(tokenizer, items, config, SearchesInTextConfig.model_validate(SEARCHED))
    without = encode_items(tokenizer, items, config)
    assert without.cold_weights is None
    words = nn.Embedding(tokenizer.get_vocab_size(), 4)
    every = torch.arange(len(without.offsets) - 1)
    everyone: Tensor = torch.ones_like(every, dtype=torch.bool)
    result = pool_read_text(words, with_them, read_items(every, everyone))
    torch.testing.assert_close(result, pool_text(words, without, every), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(result[:20], pool_text(words, with_them, every)[:20], atol=1e-2)
    torch.testing.assert_close(result[20:], pool_text(words, with_them, every)[20:])
