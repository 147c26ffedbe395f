"""Training's searches in the text of items, as models read it: without a sample's own, and over other items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_dataset import (
    ITEMS,
    LENGTH,
    ROOMS,
    SMALL_CONFIG,
    SMALL_MODEL,
    USERS,
    Log,
    Small,
    read_items,
    write_cf,
    write_log,
)
from torch import Tensor, nn

from gensr_model.config.model import SearchesInTextConfig, TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder, NegativeSampler
from gensr_model.data.searches import SEARCHES, encode_with_searches, search_pairs, with_searches
from gensr_model.data.text import ItemText
from gensr_model.models import bundle
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.departures import TrainingReading, pool_read_text
from gensr_model.models.fold_tables import FoldTables
from gensr_model.models.gensr import GenSR
from gensr_model.models.item_vectors import ReadBatch
from gensr_model.models.text_pooling import TextBuffers, pool_text
from gensr_model.models.two_head import TwoHead

TEXT = {"title_tokens": 3, "description_tokens": 0}
SEARCHED = {"enabled": True, "share": 0.8}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Purchases and a search for each. Half of the searches say a room alone, as others do for the same item."""
    root = tmp_path_factory.mktemp("one_out")
    rng = np.random.default_rng(0)
    bought = np.stack([rng.permutation(ITEMS)[:LENGTH] for _ in range(USERS)])
    user, place, search = np.indices((USERS, LENGTH, 2)).reshape(3, -1)
    item = bought[user, place]
    own = len(ROOMS) + user * LENGTH + place  # a query of nobody else
    query = np.where(search == 1, np.where(user % 2, own, item % 4), -1)
    queries = [*ROOMS, *(f"{ROOMS[u % 3]} u{u} r{p}" for u in range(USERS) for p in range(LENGTH))]
    titles = [f"thing {i}" if i % 3 else "" for i in range(ITEMS)]
    log = Log(user, place, search, item, query, ts=place * 1_000)
    dataset = write_log(root / "prepared", log, titles, queries, lambda u, i: [(i + 1) % ITEMS] * 9)
    samples = dataset.samples("train")
    few = samples.take(np.concatenate([np.arange(8), np.arange(8) + len(samples) // 2]))
    negatives = NegativeSampler(dataset, samples).draw(few.user, 3, rng)
    batch = BatchBuilder(dataset, 5).build(few, np.column_stack([few.item, negatives]))
    assert set(batch.task.tolist()) == {0, 1}
    return Small(dataset, write_cf(root / "cf"), batch)


def config(pooling: str = "tokens", leave: bool = True) -> PipelineConfig:
    model = {
        **SMALL_MODEL, "view_dropout": 0.0, "text": {**TEXT, "pooling": pooling},
        "departures": {"interaction": True, "query_interaction": True,
                       "searches_in_text": {**SEARCHED, "leave_one_out": leave}},
        "backbone": {**SMALL_MODEL["backbone"], "dropout": 0.0},
    }  # fmt: skip
    return PipelineConfig.model_validate(SMALL_CONFIG | {"model": model})


def assembled(small: Small, kind: str, *switches: Any) -> tuple[GenSR | TwoHead, bundle.Tokenizer]:
    made, tokenizer = bundle.assemble(kind, small.dataset, small.cf, config(*switches))
    assert isinstance(made, GenSR | TwoHead)
    return made, tokenizer


def without(small: Small, tokenizer: bundle.Tokenizer, item: int, query: int, pooling: str) -> ItemText:
    """All items' text as it is when nobody ever found ``item`` by ``query``."""
    pairs = search_pairs(small.dataset)
    others = pairs.query[(pairs.item == item) & (pairs.query != query)]
    items = with_searches(small.dataset)
    asked = items[SEARCHES].to_pylist()
    asked[item] = " ".join(small.dataset.queries[q] for q in others)
    items = items.set_column(items.column_names.index(SEARCHES), SEARCHES, [asked])
    text = TextConfig.model_validate(TEXT | {"pooling": pooling})
    return encode_with_searches(tokenizer, items, text, SearchesInTextConfig.model_validate(SEARCHED))


def lone(small: Small) -> list[tuple[int, int]]:
    pairs = search_pairs(small.dataset)
    once = pairs.times == 1
    return list(zip(pairs.item[once].tolist(), pairs.query[once].tolist(), strict=True))


@pytest.mark.parametrize("pooling", ["tokens", "fields"])
def test_a_text_without_a_lone_search_is_the_text_of_an_item_that_it_never_found(small: Small, pooling: str) -> None:
    model, tokenizer = assembled(small, "gensr", pooling)
    text = model.text.bags
    words = nn.Embedding(tokenizer.get_vocab_size(), 4)
    pairs = lone(small)[::9]
    assert any(item % 3 == 0 for item, _ in pairs)  # without a word of its own
    for item, query in pairs:
        one = torch.tensor([item])
        never = pool_text(words, without(small, tokenizer, item, query, pooling), one)
        assert not torch.allclose(pool_text(words, text, one), never, atol=1e-2)
        every, out = torch.tensor([item, item, item]), torch.tensor([query, -1])
        vectors = pool_read_text(words, text, read_items(every, None, out))
        torch.testing.assert_close(vectors[1:2], never, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(vectors[[0, 2]], pool_text(words, text, every[:2]))
        cold = torch.tensor([True, True, True])
        torch.testing.assert_close(
            pool_read_text(words, text, read_items(every, cold, out)),
            pool_read_text(words, text, read_items(every, cold)),
        )


def test_what_others_searched_too_stays(small: Small) -> None:
    model, tokenizer = assembled(small, "gensr")
    pairs = search_pairs(small.dataset)
    often = np.flatnonzero(pairs.times > 1)
    items, queries = (torch.from_numpy(of[often]) for of in (pairs.item, pairs.query))
    words = nn.Embedding(tokenizer.get_vocab_size(), 4)
    text = model.text.bags
    found_of = pool_read_text(words, text, read_items(items, None, queries))
    torch.testing.assert_close(found_of, pool_text(words, text, items))


def test_an_item_that_one_search_alone_describes_has_no_text_without_it() -> None:
    text = ItemText(
        torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3]), torch.tensor([0.5, 0.5, 1.0]), torch.zeros(3),
        torch.tensor([7, 7, -1]),
    )  # fmt: skip
    words = nn.Embedding(4, 3)
    found_of = pool_read_text(words, text, read_items(torch.tensor([0, 1]), None, torch.tensor([7, 7])))
    assert found_of.tolist() == [[0, 0, 0], words.weight[3].tolist()]


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_training_reads_the_positive_without_the_samples_own_search(small: Small, kind: str) -> None:
    """Each row of a training batch is the row that the same weights give over a catalogue of the other searches."""
    model, tokenizer = assembled(small, kind)
    plain = assembled(small, kind, "tokens", False)[0]
    plain.load_state_dict(model.state_dict())
    texts, pairs, batch, changed = plain.text, set(lone(small)), small.batch, 0
    with torch.inference_mode():
        trained, usual = model.train().score(batch), plain.eval().score(batch)
        torch.testing.assert_close(model.eval().score(batch), usual)
        torch.testing.assert_close(trained[:, 1:], usual[:, 1:], atol=1e-5, rtol=1e-4)
        for row in range(len(batch.task)):
            item, query = int(batch.items[batch.candidates[row, 0]]), int(batch.query[row])
            plain.text = texts
            if (item, query) in pairs:
                other = without(small, tokenizer, item, query, "tokens")
                prompts = texts.prompts(torch.tensor([*range(small.dataset.n_queries), -1]))
                plain.text = TextBuffers(replaced(texts.bags, item, other), prompts)
            expected = plain.score(batch.take(torch.tensor([row])))[0]
            torch.testing.assert_close(trained[row], expected, atol=1e-5, rtol=1e-4)
            changed += not torch.allclose(expected[0], usual[row, 0], atol=1e-4)
    assert changed == sum(batch.query.numpy() >= len(ROOMS)) > 0


def test_an_item_is_cold_in_all_of_a_batch_or_nowhere_and_drawn_as_without_copies(small: Small) -> None:
    bags = assembled(small, "gensr")[0].text.bags
    plain, reading = assembled(small, "gensr", "tokens", False)[0].text.bags, TrainingReading(0.5)
    torch.manual_seed(1)
    batch, cold, left_out = reading(small.batch, bags)
    torch.manual_seed(1)
    usual = reading(small.batch, plain)
    assert usual.batch is small.batch
    assert usual.left_out is None
    assert cold is not None
    assert usual.cold is not None
    count = len(small.batch.items)
    assert cold[:count].tolist() == usual.cold.tolist()
    assert 0 < int(cold.sum()) < len(cold)
    by_item = dict(zip(small.batch.items.tolist(), usual.cold.tolist(), strict=True))
    assert cold.tolist() == [by_item[item] for item in batch.items.tolist()]
    assert left_out is not None
    assert left_out.tolist() == small.batch.query.tolist()


@pytest.mark.parametrize("folds", [0, 3])
def test_a_positive_of_its_own_keeps_its_cf_vector_and_its_fold(small: Small, folds: int) -> None:
    torch.manual_seed(0)
    every = FoldTables(torch.randn(folds, ITEMS, 4), torch.rand(folds, ITEMS) < 0.8) if folds else None
    table = CFTable(torch.randn(ITEMS, 4), torch.rand(ITEMS) < 0.8, folds=every).train()
    rows = []
    for batch in (small.batch, small.batch.own_positives()):
        vectors = table.for_batch(ReadBatch(batch))
        rows.append((vectors.at(batch.history), vectors.at(batch.candidates)))
    torch.testing.assert_close(rows[0], rows[1])


def replaced(text: ItemText, item: int, other: ItemText) -> ItemText:
    """The text of all items but one, which has that of ``other``: its tokens are rarer or not as they were before."""
    parts: list[list[Tensor]] = []
    for number in range(len(text.offsets) - 1):
        of = other if number == item else text
        assert of.weights is not None
        place = slice(int(of.offsets[number]), int(of.offsets[number + 1]))
        parts.append([of.tokens[place], of.weights[place]])
    lengths = torch.tensor([0, *(len(tokens) for tokens, _ in parts)])
    tokens, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    return ItemText(tokens, lengths.cumsum(0), weights)


def test_over_another_catalogue_a_word_is_as_rare_as_it_was_in_training(small: Small, tmp_path: Path) -> None:
    """Half of the items are gone, and twice as many have come that nobody has searched for."""
    model, tokenizer = assembled(small, "gensr")
    bundle.save(tmp_path, "gensr", model, tokenizer, small.dataset, config())
    own = small.dataset.items
    old = own.slice(ITEMS // 2)
    fresh = old.set_column(old.column_names.index("raw_id"), "raw_id", [[f"new{n}" for n in range(20)]])
    words = nn.Embedding(tokenizer.get_vocab_size(), 4)
    found_of = [
        pool_text(words, bundle.load(tmp_path, items).model.text.bags, places)
        for items, places in (
            (None, torch.arange(ITEMS // 2, ITEMS)),
            (pa.concat_tables([fresh, old, fresh]), torch.arange(20, 40)),
        )
    ]
    torch.testing.assert_close(*found_of)
    rare = with_searches(small.dataset).slice(ITEMS // 2)  # by these items alone the same words weigh otherwise
    shape = config().model
    rare_text = encode_with_searches(tokenizer, rare, shape.text, shape.departures.searches_in_text)
    by_itself = pool_text(words, rare_text, torch.arange(20))
    assert not torch.allclose(by_itself, found_of[0], atol=1e-2)
