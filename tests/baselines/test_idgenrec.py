"""IDGenRec: its first ids, what its phases move, and ids that are written anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import ITEMS, ROOMS, write_dataset
from torch import Tensor

from gensr_model.baselines.idgenrec import IDGenRec, shortest_ids, top_words
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.words import Lexicon
from gensr_model.config.model import TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.data.text import ItemText
from gensr_model.decoding.trie import build
from gensr_model.errors import ConfigError
from gensr_model.evaluation.metrics import summarize
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline as training
from tasks.compare import baselines, names
from tasks.core.stage import StageResult
from tasks.core.tracking import Tracked

LAMP, RED, BLUE, OLD = 2, 3, 4, 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("idgenrec") / "prepared")


def make(dataset: PreparedDataset) -> tuple[IDGenRec, BaselineBatch]:
    torch.manual_seed(0)
    model = IDGenRec(collator(dataset, IDGenRec).domain, dim=16, layers=1, decoder_layers=1, dropout=0.0, beams=3)
    return model, batch(dataset, IDGenRec, with_history=True)


def text(*items: list[int]) -> ItemText:
    offsets = torch.tensor([0, *map(len, items)]).cumsum(0)
    return ItemText(torch.tensor([token for item in items for token in item], dtype=torch.long), offsets)


def moved(model: IDGenRec, result: BaselineBatch) -> set[str]:
    """What a step of the present phase moves."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model.loss(result).total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_first_ids_are_the_fewest_words_of_highest_weight_and_a_number_where_texts_are_equal() -> None:
    words = top_words(text([LAMP, RED], [LAMP, RED, RED], [LAMP, BLUE], [LAMP, OLD], [LAMP, OLD], [], []))
    assert words == [(RED, LAMP), (RED, LAMP), (BLUE, LAMP), (OLD, LAMP), (OLD, LAMP), (), ()]
    assert shortest_ids([(RED, LAMP, OLD), (RED, OLD, LAMP), *words[2:]]) == [
        ((RED, LAMP), None), ((RED, OLD), None), ((BLUE, LAMP), None),
        ((OLD, LAMP), 0), ((OLD, LAMP), 1), ((), 0), ((), 1),
    ]  # fmt: skip
    many = top_words(text(list(range(2, 20)), list(range(19, 1, -1))))
    assert many == [(2, 3, 4, 5, 6, 7), (19, 18, 17, 16, 15, 14)]
    assert top_words(text([], [])) == [(), ()]


def test_first_ids_follow_from_the_texts_alone(dataset: PreparedDataset) -> None:
    """Interactions reach a model through the vocabulary alone, whose order follows how often words were searched."""
    domain, fields = collator(dataset, IDGenRec).domain, TextConfig()
    usual = Lexicon.build(dataset, fields)
    turned = Lexicon.from_words(usual.words[::-1], dataset, fields)

    def ids(lexicon: Lexicon) -> list[list[str]]:
        model = IDGenRec(domain._replace(item_text=lexicon.item_text), dim=8, layers=1, decoder_layers=1)
        return [[lexicon.words[token - 2] for token in row if 2 <= token < domain.n_words] for row in model.ids]

    assert ids(usual) == ids(turned)
    assert ids(usual) == [[str(item), ROOMS[item % 4]] for item in range(ITEMS)]


def test_each_phase_moves_its_own_model_and_no_phase_but_the_last_the_ids(dataset: PreparedDataset) -> None:
    model, result = make(dataset)
    first = model.ids.clone()
    for phase, part in (("words", "writer"), ("recommend", "t5"), ("write", "writer")):
        model.enter(phase, 0)
        assert moved(model, result) == {part}, phase
        assert torch.equal(model.ids, first)
    model.enter("recommend_anew", 0)
    assert moved(model, result) == {"t5"}
    assert not torch.equal(model.ids, first)
    share = (model.ids != first).any(dim=1).float().mean()
    assert model.loss(result).parts["changed_ids"] == share > 0


def test_ids_that_are_written_anew_are_distinct_end_and_follow_from_the_weights(dataset: PreparedDataset) -> None:
    model, _ = make(dataset)
    build(model.ids.numpy(), model.id_lengths.numpy())  # raises where an id begins another
    model.write_anew()
    once, lengths = model.ids.clone(), model.id_lengths.clone()
    build(once.numpy(), lengths.numpy())
    last = once.gather(1, lengths.unsqueeze(1) - 1)
    assert (last == model.eos).all()
    assert ((once != 0).sum(dim=1) == lengths).all()
    assert ((once >= model.number) & (once < model.begin)).any(), "a fresh writer says the same of many: numbers"
    model.write_anew()
    assert torch.equal(model.ids, once)
    assert model.changed == 0


def test_the_writer_learns_through_the_vectors_that_the_recommender_reads(dataset: PreparedDataset) -> None:
    """A writer that is certain of the present ids gives the recommender the prompt that the ids themselves give."""
    model, result = make(dataset)
    result = result.take(result.rec_history.mask.sum(dim=1) <= 5)
    certain = torch.nn.functional.one_hot(model.ids, model.t5.config.vocab_size) * 1e4

    def written(items: Tensor) -> Tensor:
        return certain[items].float()

    model.written = written  # type: ignore[method-assign]
    assert len(result.task) > 9
    torch.testing.assert_close(model.write_loss(result), model.id_loss(result))


@torch.inference_mode()
def test_the_prompt_is_the_ids_of_the_history_and_of_nothing_else(dataset: PreparedDataset) -> None:
    model, result = make(dataset)
    one = result.take(torch.tensor([0]))
    items = one.rec_history.item[one.rec_history.mask].tolist()
    ids = [token for item in items for token in model.ids[item].tolist() if token]
    assert model.prompt(one)[0].tolist() == [model.begin, *ids]
    assert torch.equal(model.prompt(one.replace(candidates=(one.candidates + 1) % ITEMS)), model.prompt(one))


def test_a_saved_model_has_the_ids_that_were_written_anew_and_ranks_as_the_trained_one(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec, point = BASELINES["idgenrec"], {"dim": 16, "layers": 1, "decoder_layers": 1, "beams": 2, "batch_size": 128}
    config = PipelineConfig.model_validate({"model": {"max_history": 6}, "train": {"valid_samples": 1000}})
    metrics = training.train(spec, point, dataset, config, tmp_path / "steps", tmp_path, NullReport())
    assert metrics["epochs"] <= 6
    model = training.load(tmp_path, spec, dataset).model
    fresh = IDGenRec(collator(dataset, IDGenRec).domain, dim=16, layers=1, decoder_layers=1)
    assert not torch.equal(model.ids, fresh.ids)
    assert model.changed == (model.ids != fresh.ids).any(dim=1).float().mean()
    curve = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["curve"]
    assert {round(point["changed_ids"], 6) for point in curve} == {round(float(model.changed), 6)}
    ranks = training.rank(tmp_path, spec, dataset, "valid", config, NullReport())
    best = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["best_metric"]
    assert summarize(ranks)["recommendation"]["ndcg_at_5"] == pytest.approx(best)


def test_a_format_with_anonymised_texts_has_a_row_with_the_reason() -> None:
    none = StageResult("", "", Path(), {}, 0.0, False)
    config = PipelineConfig.model_validate({"format": "kuaisar"})
    assert names.not_made(config, "collm") is None
    reason = names.not_made(config, "idgenrec")
    assert reason is not None
    assert re.match(r"IDGenRec is not made of KuaiSAR: .* anonymised \(the paper's footnote 6\)", reason)
    with pytest.raises(ConfigError, match=re.escape(reason)):
        baselines.run_system(cast(Tracked, None), config, none, none, "idgenrec", 0)
