"""The losses that a baseline may have: over its candidates or the catalogue, and on which samples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import write_dataset

from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.bert4rec import BERT4Rec
from gensr_model.baselines.inputs import Domain
from gensr_model.baselines.registry import BASELINES, BaselineSpec
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.models import losses
from gensr_model.training.baseline import check_memory
from gensr_model.training.hyperparameters import hyperparameters
from gensr_model.training.trainer import TrainingData
from tasks.compare.names import check_points, check_trials, spec_at

DOT = {
    name: spec
    for name, spec in BASELINES.items()
    if issubclass(spec.model, DotBaseline) and "loss" in hyperparameters(spec.model)
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("losses") / "prepared")


def test_each_loss_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    state, candidates = torch.tensor([[2.0, 1.0]]), torch.tensor([[2, 0, 3]])
    positive, negatives = 3.0, np.array([2.0, -2.0])
    expected = {
        "bce": (np.log1p(np.exp(-positive)) + np.log1p(np.exp(negatives)).sum()) / 3,
        "bpr": np.log1p(np.exp(negatives - positive)).mean(),
        "listwise": np.log(np.exp([3.0, 2.0, -2.0]).sum()) - positive,
        "catalogue": np.log(np.exp([2.0, 1.0, 3.0, -2.0]).sum()) - positive,
    }
    for kind, value in expected.items():
        assert losses.item_loss(kind, state, rows, candidates).tolist() == pytest.approx([value])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DOT)
def test_a_catalogue_loss_sees_every_item_and_no_negative(dataset: PreparedDataset, name: str) -> None:
    spec = DOT[name]
    torch.manual_seed(0)
    model: Any = spec.model(collator(dataset, spec.model).domain, loss="catalogue").eval()
    result = batch(dataset, spec.model, 6)
    every = torch.arange(dataset.n_items).expand(6, -1)
    scores = model.score(result.replace(candidates=every))
    torch.testing.assert_close(scores, model.state(result) @ model.items.table.weight.T)
    positive = result.candidates[:, 0]
    expected = -scores.log_softmax(dim=1).gather(1, positive.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(model.loss_of_items(result), expected)
    other = result.replace(candidates=torch.cat([positive.unsqueeze(1), torch.zeros(6, 3, dtype=torch.long)], dim=1))
    torch.testing.assert_close(model.loss_of_items(other), expected)
    with_candidates: Any = spec.model(collator(dataset, spec.model).domain, loss="bce").eval()
    with_candidates.load_state_dict(model.state_dict())
    torch.testing.assert_close(with_candidates.loss_of_items(result), losses.bce(model.score(result)))


def test_jsr_over_the_catalogue_is_the_softmax_of_its_scores(dataset: PreparedDataset) -> None:
    spec = BASELINES["jsr"]
    torch.manual_seed(0)
    model = spec.model(collator(dataset, spec.model).domain, loss="catalogue", word_weight=0.0).eval()
    result = batch(dataset, spec.model, 40)
    scores = model.score(result.replace(candidates=torch.arange(dataset.n_items).expand(40, -1)))
    each = -scores.log_softmax(dim=1).gather(1, result.candidates[:, :1]).squeeze(1)
    assert 0 < result.task.sum() < 40
    expected = each[result.task == 0].mean() + each[result.task == 1].mean()
    torch.testing.assert_close(model.loss(result).total, expected)


def test_samples_without_history_can_be_left_out_of_recommendation_alone(dataset: PreparedDataset) -> None:
    def trained_on(name: str, least: int) -> TrainingData:
        spec = BASELINES[name]
        builder = collator(dataset, spec.model)
        return TrainingData(dataset, TrainConfig(), 30, 0, builder=builder, tasks=spec.tasks, min_history=least)

    every, some = trained_on("unisar", 0), trained_on("unisar", 1)
    empty = every.builder.lengths(every.samples) == 0
    left = every.samples.take(~(empty & (every.samples.task == 0)))
    assert 0 < len(left) < len(every.samples)
    assert list(some.samples.sample_id) == list(left.sample_id)
    assert (trained_on("sasrec", 2).builder.lengths(trained_on("sasrec", 2).samples) >= 2).all()
    with pytest.raises(
        ConfigError, match="no recommendation sample has 99 events before it, so there is none to train on"
    ):
        trained_on("sasrec", 99)


def test_a_point_of_the_config_replaces_the_grids_values() -> None:
    config = PipelineConfig.model_validate({"rerank": {"points": {"sasrec": {"loss": "bce", "min_history": 1}}}})
    check_points(config)
    spec: BaselineSpec = spec_at(config, "sasrec")
    assert (spec.grid["loss"], spec.grid["min_history"]) == (("bce",), (1,))
    assert spec.grid["learning_rate"] == BASELINES["sasrec"].grid["learning_rate"]
    assert spec_at(config, "din") == BASELINES["din"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"din": {"loss": "catalogue"}}, r"rerank.points.din.loss: DIN has no 'catalogue'; it has bce, bpr, listwise"),
        (
            {"bert4rec": {"loss": "bce"}},
            r"rerank.points.bert4rec: 'loss' is no hyperparameter. Choose one of batch_size, dim, dropout",
        ),
        ({"sasrek": {"loss": "bce"}}, r"rerank.points: 'sasrek' is no system. Choose one of popularity"),
        (
            {"copps": {"tow": 1}},
            r"rerank.points.copps: 'tow' is no hyperparameter. Choose one of .*share, tau, weight_decay",
        ),
        (
            {"sasrec": {"item_loss": "bce"}},
            r"rerank.points.sasrec: 'item_loss' is no hyperparameter",
        ),  # its parent's alone
        ({"sasrec": {"loss": None}}, r"rerank.points.sasrec.loss: SASRec has no None"),
        ({"sasrec": {"dropout": "a"}}, r"rerank.points.sasrec.dropout: 'a' does not fit: .* a valid number"),
        ({"sasrec": {"dropout": 1.5}}, r"rerank.points.sasrec.dropout: 1.5 does not fit: .* less than or equal to 1"),
        ({"tem": {"heads": 0}}, r"rerank.points.tem.heads: 0 does not fit: .* greater than or equal to 1"),
        ({"sasrec": {"min_history": "1"}}, r"rerank.points.sasrec.min_history: '1' does not fit: .* a valid integer"),
        ({"sasrec": {"min_history": -1}}, r"rerank.points.sasrec.min_history: -1 does not fit"),
        ({"sasrec": {"negatives": 0}}, r"rerank.points.sasrec.negatives: 0 does not fit"),
        ({"unisar": {"weights": [0.1, 1]}}, r"rerank.points.unisar.weights: \[0.1, 1\] has 2 values, expected 3"),
        ({"two_head": {}}, r"rerank.points.two_head: only baselines have points"),
        ({"..own:Mine": {}}, r"rerank.points: '..own:Mine' lacks the whole name of its module"),
    ],
)
def test_a_point_that_a_baseline_does_not_have_is_refused(points: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_points(PipelineConfig.model_validate({"rerank": {"points": points}}))


def test_more_trials_than_the_smallest_grid_has_points_are_refused() -> None:
    config = PipelineConfig.model_validate({"rerank": {"trials": 7}})
    check_trials(config, ("popularity", "sasrec", "gensr"))
    message = "rerank.trials is 7, but the grid of Two heads has only 6 points, .*Set rerank.trials to at most 6"
    with pytest.raises(ConfigError, match=message):
        check_trials(config, ("sasrec", "two_head", "gensr"))


def test_every_grid_holds_values_that_its_baseline_takes() -> None:
    for name, spec in BASELINES.items():
        for field, values in spec.grid.items():
            for value in values:  # as a config has it: a tuple is a list
                given = json.loads(json.dumps({"rerank": {"points": {name: {field: value}}}}))
                check_points(PipelineConfig.model_validate(given))


class Own(BERT4Rec):
    """As a user may write one: a default below the usual least value, a value without type, and its parent's."""

    def __init__(self, domain: Domain, window: int = -1, note=None, **kwargs: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(domain, **kwargs)


def test_a_baseline_outside_the_package_has_its_own_and_its_parents_values() -> None:
    assert {"window", "note", "dim", "mask_share"} <= hyperparameters(Own).keys()
    name = f"{__name__}:Own"
    check_points(PipelineConfig.model_validate({"rerank": {"points": {name: {"window": -1, "note": [1], "dim": 8}}}}))
    with pytest.raises(ConfigError, match=r"Own.window: -2 does not fit: .* greater than or equal to -1"):
        check_points(PipelineConfig.model_validate({"rerank": {"points": {name: {"window": -2}}}}))


def test_a_catalogue_too_large_for_memory_is_refused_before_training() -> None:
    check_memory("SASRec", 20_000, 256, free=10**9)
    check_memory("SASRec", 10**8, 256, free=10**8)  # a large catalogue is sampled
    message = "SASRec: a loss over 20000 items in batches of 65536 needs 14.6 GiB of memory, but only 0.9 are free"
    with pytest.raises(ConfigError, match=message):
        check_memory("SASRec", 20_000, 65_536, free=10**9)
