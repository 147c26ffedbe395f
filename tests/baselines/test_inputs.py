"""The input contract: batches against plain loops, and what a model was not given cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_dataset import ITEMS, write_dataset

from gensr_model.baselines.inputs import FIELDS, MIXED, QUERY, REC, SRC, TEXT, USER, Collator, ContractError
from gensr_model.baselines.words import FIRST, MAX_QUERY_WORDS, UNKNOWN, Lexicon
from gensr_model.config.model import TextConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("inputs") / "prepared")


@pytest.mark.parametrize("max_history", [1, 3, 50])
def test_histories_are_what_a_loop_over_events_gives(dataset: PreparedDataset, max_history: int) -> None:
    rng = np.random.default_rng(max_history)
    lexicon = Lexicon.build(dataset, None)
    samples = dataset.samples("valid")
    rows = rng.integers(len(samples), size=31)
    samples, before = samples.take(rows), dataset.table("samples_valid")["ts"].to_numpy()[rows]
    lists = rng.integers(ITEMS, size=(31, 3))
    batch = Collator(dataset, FIELDS - {TEXT}, max_history, lexicon).build(samples, lists)
    assert torch.equal(batch.candidates, torch.from_numpy(lists))
    assert batch.user.tolist() == samples.user.tolist()
    assert batch.task.tolist() == samples.task.tolist()
    events = list(zip(*dataset.events, dataset.table("events")["ts"].to_numpy(), strict=True))
    for row in range(31):
        met = [e for e in events if e[0] == samples.user[row] and e[4] < before[row]]
        kept = {REC: [e for e in met if e[2] == 0], SRC: [e for e in met if e[2] == 1], MIXED: met}
        for name, expected in kept.items():
            history = getattr(batch, name)
            mask = history.mask[row]
            assert mask.tolist() == sorted(mask.tolist())  # padded on the left
            expected = expected[-max_history:]
            assert history.item[row][mask].tolist() == [e[1] for e in expected]
            assert (history.item[row][~mask] == 0).all()
            if name == MIXED:
                assert history.behavior[row][mask].tolist() == [e[2] for e in expected]
            if name != REC:
                words = [lexicon.queries[e[3]].tolist() for e in expected]
                assert history.query[row][mask].tolist() == words
                assert (history.query[row][~mask] == 0).all()
        asked = lexicon.queries[samples.query[row]].tolist()
        assert batch.query[row].tolist() == asked
        assert (asked == [0]) == (samples.task[row] == 0)


def test_a_model_gets_what_it_declares_and_nothing_else(dataset: PreparedDataset) -> None:
    samples = dataset.samples("valid")
    lists = samples.item[:, None]
    batch = Collator(dataset, frozenset({REC}), 5, None).build(samples, lists)
    assert set(batch.__dict__) == {"candidates", "task", REC}
    assert set(batch.rec_history.__dict__) == {"item", "mask"}
    for name in (USER, QUERY, SRC, MIXED):
        with pytest.raises(ContractError, match=f"BaselineBatch.{name} is missing, .* does not declare it"):
            getattr(batch, name)
    with pytest.raises(ContractError, match=r"History\.query"):
        _ = batch.rec_history.query
    searched = set(dataset.events.item[dataset.events.behavior == 1])
    bought = Collator(dataset, frozenset({SRC}), 5, Lexicon.build(dataset, None)).build(samples, lists)
    assert set(bought.src_history.item[bought.src_history.mask].tolist()) <= searched


@pytest.mark.parametrize("names", [{REC}, {SRC}, {MIXED}, {REC, SRC}, {QUERY}])
def test_lengths_are_those_of_the_declared_histories(dataset: PreparedDataset, names: set[str]) -> None:
    samples, lexicon = dataset.samples("test"), Lexicon.build(dataset, None)
    collator = Collator(dataset, frozenset(names), 4, lexicon)
    batch = collator.build(samples, samples.item[:, None])
    masks = [getattr(batch, name).mask.sum(dim=1).numpy() for name in names - {QUERY}]
    assert np.array_equal(collator.lengths(samples), sum(masks, np.zeros(len(samples), int)))


def test_a_user_without_events_of_a_behavior_has_an_empty_history(dataset: PreparedDataset) -> None:
    bare = PreparedDataset.open(dataset.folder)
    bare.__dict__["events"] = dataset.events._replace(behavior=np.zeros_like(dataset.events.behavior))
    samples = dataset.samples("valid")
    batch = Collator(bare, frozenset({SRC, REC}), 5, Lexicon.build(bare, None)).build(samples, samples.item[:, None])
    assert not batch.src_history.mask.any()
    assert batch.src_history.item.shape == (len(samples), 1)
    assert batch.rec_history.mask.all(dim=1).any()


def test_a_wrong_contract_is_named(dataset: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match=r"\['rec_histroy'\]\. Choose from history, item_text"):
        Collator(dataset, frozenset({"rec_histroy"}), 5, None)
    with pytest.raises(ConfigError, match=r"\['query'\], which need a lexicon"):
        Collator(dataset, frozenset({QUERY}), 5, None)


@pytest.fixture
def worded(dataset: PreparedDataset, tmp_path: Path) -> PreparedDataset:
    """The dataset with other queries: only 0 and 1 are asked in training."""
    other = write_dataset(tmp_path / "prepared")
    texts = ["Kitchen-Ware 123 456", "kitchen  456 ÉTÉ", "garden 123", " ".join(f"w{n}" for n in range(30))]
    pq.write_table(pa.table({"query_idx": range(4), "text": texts}), other.folder / "queries.parquet")
    train = pq.read_table(other.folder / "samples_train.parquet")
    asked = pa.array([None if q is None else q % 2 for q in train["query_idx"].to_pylist()], pa.int32())
    place = train.column_names.index("query_idx")
    pq.write_table(train.set_column(place, "query_idx", asked), other.folder / "samples_train.parquet")
    return PreparedDataset.open(other.folder)


def test_words_come_from_training_queries_and_item_text(worded: PreparedDataset) -> None:
    lexicon = Lexicon.build(worded, None)
    assert lexicon.words == ["456", "kitchen", "123", "ware", "été"]  # by frequency, then by alphabet
    ids = {word: place + FIRST for place, word in enumerate(lexicon.words)}
    width = MAX_QUERY_WORDS
    expected = [[ids[w] for w in ("kitchen", "ware", "123", "456")], [ids[w] for w in ("kitchen", "456", "été")]]
    expected += [[UNKNOWN, ids["123"]], [UNKNOWN] * width, []]
    assert lexicon.queries.tolist() == [[0] * (width - len(row)) + row for row in expected]
    assert lexicon.item_text is None

    text = Lexicon.build(worded, TextConfig())
    assert text.item_text is not None
    result = text.item_text.tokens[text.item_text.offsets[5] : text.item_text.offsets[6]]
    assert [text.words[i - FIRST] for i in result.tolist()] == ["garden", "thing", "number", "5"]
    assert len(text.item_text.offsets) == ITEMS + 1
