"""Baselines over the whole catalogue: their ranks are those of every score, by whatever way it was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from baseline_inputs import batch, collator, of_tasks
from small_dataset import write_dataset

from gensr_model.baselines.base import Baseline, CatalogueBaseline
from gensr_model.baselines.bsr import BSR
from gensr_model.baselines.generator import random_codes
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.tiger import TIGER
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.evaluation.metrics import per_sample
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, over_catalogue
from gensr_model.training.baseline import Loaded

CONFIG = PipelineConfig.model_validate(
    {
        "model": {"max_history": 6},
        "full_ranking": {"valid_samples": 30},
        "rerank": {"epochs": 2, "trials": 2, "trial_epochs": 1, "batch_size": 64},
    }
)
# DIN, SESRec and UniSAR look at the history with the candidate in hand.
OVER_CATALOGUE = {name: spec.model for name, spec in BASELINES.items() if over_catalogue.ranks_catalogue(spec)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("catalogue") / "prepared")


def spread(dataset: PreparedDataset, kind: type[Baseline]) -> Baseline:
    """A model whose scores are far apart."""
    torch.manual_seed(3)
    model = kind(collator(dataset, kind).domain).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def test_every_dense_baseline_and_every_generator_can_rank_the_catalogue() -> None:
    assert {"sasrec", "bert4rec", "gru4rec", "fmlp_rec", "query_seqrec", "nrhub", "qem", "hem", "aem", "zam", "tem",
            "copps", "jsr", "user", "unified_ssr", "bsr", "tiger", "genret"} <= OVER_CATALOGUE.keys()  # fmt: skip
    assert not {"din", "sesrec", "unisar"} & OVER_CATALOGUE.keys()


@pytest.mark.parametrize("kind", OVER_CATALOGUE.values(), ids=OVER_CATALOGUE.keys())
@torch.inference_mode()
def test_an_item_has_the_same_score_in_the_catalogue_as_among_candidates(
    dataset: PreparedDataset, kind: type[Baseline]
) -> None:
    torch.manual_seed(0)
    model, result = kind(collator(dataset, kind).domain).eval(), batch(dataset, kind, 6)
    assert isinstance(model, CatalogueBaseline)
    every = torch.arange(dataset.n_items).expand(6, -1)
    scores = model.catalogue_scores(result)
    assert scores.shape == (6, dataset.n_items)
    torch.testing.assert_close(scores, model.score(result.replace(candidates=every)), atol=1e-5, rtol=1e-4)


def brute_force(dataset: PreparedDataset, samples: Samples, scores: np.ndarray, mask_met: bool) -> dict[str, int]:
    """sample_id -> items above the positive, item by item."""
    above = {}
    for row, (start, end) in enumerate(zip(samples.history_start, samples.history_end, strict=True)):
        target = samples.item[row]
        met = set(dataset.events.item[start:end].tolist()) - {target} if mask_met else set()
        above[str(samples.sample_id[row])] = sum(
            scores[row, item] > scores[row, target] for item in range(dataset.n_items) if item not in met
        )
    return above


@pytest.mark.parametrize("mask_met", [True, False])
@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "bsr"])
def test_ranks_are_those_of_brute_force(dataset: PreparedDataset, name: str, mask_met: bool) -> None:
    spec = BASELINES[name]
    model, builder = spread(dataset, spec.model), collator(dataset, spec.model)
    config = CONFIG.model_copy(update={"full_ranking": CONFIG.full_ranking.model_copy(update={"mask_met": mask_met})})
    ranks = over_catalogue.rank(Loaded(model, builder), spec.tasks, dataset, "test", config, NullReport())
    samples = of_tasks(dataset.samples("test"), spec.model)
    assert isinstance(model, CatalogueBaseline)
    with torch.inference_mode():
        result = builder.build(samples, samples.item[:, None])
        every = result.replace(candidates=torch.arange(dataset.n_items).expand(len(samples), -1))
        # BSR's by likelihood, which has the same order as its logits.
        scores = (model.likelihood(every) if isinstance(model, BSR) else model.score(every)).numpy()
    expected = brute_force(dataset, samples, scores, mask_met)
    found = dict(zip(ranks["sample_id"].to_pylist(), ranks["greater"].to_pylist(), strict=True))
    assert found == expected
    lists = set(ranks["candidates"].to_pylist())
    assert lists == ({dataset.n_items - 6} if mask_met else {dataset.n_items})


def test_a_beam_finds_twenty_items_that_the_user_has_not_met_with_their_likelihoods(dataset: PreparedDataset) -> None:
    model, builder = spread(dataset, TIGER), collator(dataset, TIGER)
    samples = of_tasks(dataset.samples("valid"), TIGER).take(np.arange(8))
    beam = over_catalogue.baseline_scorer(model, builder, mask_met=True)(samples)
    assert isinstance(model, TIGER)
    with torch.inference_mode():
        exact = model.catalogue_scores(builder.build(samples, samples.item[:, None])).numpy()
    found = np.isfinite(beam)
    assert (found.sum(axis=1) == 30).all(), "twenty, and one for each of ten events"
    np.testing.assert_allclose(beam[found], exact[found], atol=1e-3, rtol=1e-4)
    assert (np.isneginf(beam) == ~found).all()
    for row in range(8):
        met = dataset.events.item[samples.history_start[row] : samples.history_end[row]]
        assert np.delete(found[row], np.unique(met)).sum() >= 20
    assert np.isfinite(over_catalogue.baseline_scorer(model, builder, mask_met=False)(samples)).sum() == 8 * 20


def test_what_ids_cost_is_counted_and_weighed(dataset: PreparedDataset) -> None:
    dense = Loaded(spread(dataset, BASELINES["sasrec"].model), collator(dataset, BASELINES["sasrec"].model))
    assert over_catalogue.id_costs(dense, ("recommendation",), dataset) == {}
    bsr = over_catalogue.id_costs(Loaded(spread(dataset, BSR), collator(dataset, BSR)), BSR.tasks, dataset)
    assert bsr["colliding_ids"] == 0
    assert bsr["invalid_ids"] < 1e-5

    torch.manual_seed(0)
    model = TIGER(collator(dataset, TIGER).domain).eval()  # all but uniform over the tokens of each place
    codes = random_codes(dataset.n_items, codes=2, levels=4)
    model.receive("codes", torch.from_numpy(codes))
    cost = over_catalogue.id_costs(Loaded(model, collator(dataset, TIGER)), TIGER.tasks, dataset)
    buckets = [tuple(row) for row in codes[:, :3].tolist()]
    assert cost["colliding_ids"] == pytest.approx(np.mean([buckets.count(bucket) > 1 for bucket in buckets]))
    sequences = np.prod([len(np.unique(codes[:, place])) for place in range(4)])
    assert cost["invalid_ids"] == pytest.approx(1 - dataset.n_items / sequences, abs=0.1)


def test_a_baseline_of_the_table_is_tuned_and_chosen_on_the_catalogue(dataset: PreparedDataset, tmp_path: Path) -> None:
    spec, by_catalogue = BASELINES["qem"], over_catalogue.CatalogueValidation
    places = (tmp_path / "tuning", tmp_path, NullReport())
    tuned = baseline.tune(spec, dataset, CONFIG, *places, validation=by_catalogue)
    assert set(tuned) == {"best_valid_ndcg_at_10", "trials"}
    point = baseline.chosen(tmp_path)
    places = (tmp_path / "training", tmp_path, NullReport())
    trained = baseline.train(spec, point, dataset, CONFIG, *places, validation=by_catalogue)
    assert json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["chosen_by"] == "ndcg_at_10"

    limited = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"max_test_samples": 30})})
    loaded = baseline.load(tmp_path, spec, dataset)
    ranks = over_catalogue.rank(loaded, spec.tasks, dataset, "valid", limited, NullReport())
    assert len(ranks) == 30
    assert trained["best_valid_ndcg_at_10"] == pytest.approx(per_sample(ranks, "ndcg_at_10").mean())
