"""Training on a small dataset: exact resume, early stop, bundles, and what ranks from them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from small_dataset import ITEMS, SMALL_CONFIG, SMALL_MODEL, USERS, write_cf, write_dataset

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.evaluate import rank_bundle, rank_reference
from gensr_model.evaluation.metrics import RANKS_SCHEMA
from gensr_model.evaluation.scoring import fixed_subset, score_samples
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.serving.ranker import Ranker
from gensr_model.serving.service import Request, Service
from gensr_model.training import trainer
from gensr_model.training.finetune import CandidateValidation, finetune
from gensr_model.training.fitting import validation_metrics
from gensr_model.training.trainer import TrainingData, fit

MODEL = SMALL_MODEL | {"departures": {"searches_in_text": {"enabled": True}, "item_embedding": True}}


class Small:
    """The dataset, its CF table, a config and a trained bundle."""

    def __init__(self, root: Path) -> None:
        torch.set_num_threads(1)
        self.dataset, self.cf = write_dataset(root / "prepared"), write_cf(root / "cf")
        self.config = PipelineConfig.model_validate(
            SMALL_CONFIG
            | {
                "model": MODEL,
                "train": {"epochs": 2, "batch_size": 64, "checkpoint_every": 3, "valid_samples": 20},
                "analysis": {"gradient_every": 0},
            }
        )
        self.bundle = root / "bundle"
        self.bundle.mkdir()
        finetune(self.dataset, self.cf, self.config, root / "steps", self.bundle, NullReport())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("finetune"))


class Killed(Exception):
    pass


def train(small: Small, folder: Path, until: int | None = None, **changes: object) -> tuple[dict, dict]:
    """Weights and result of a run that is killed before step ``until``, or not at all."""
    config = small.config.train.model_copy(update=changes)
    model, _ = bundle.assemble("gensr", small.dataset, small.cf, small.config)

    def probe(step: int) -> None:
        if step == until:
            raise Killed

    result = fit(
        model,
        TrainingData(small.dataset, config, small.config.model.max_history, seed=0),
        config,
        seed=0,
        epochs=config.epochs,
        folder=folder,
        validate=lambda: {"metric": float(sum(p.double().sum() for p in model.parameters()))},
        report=NullReport(),
        probe=probe,
    )
    return {name: p.detach().clone() for name, p in model.named_parameters()}, result._asdict()


# --- trainer -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("until", [3, 8, 13])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    small: Small, tmp_path: Path, until: int, accumulation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_CURVE_POINTS", 4)  # some steps to a point: a kill falls within one
    until = min(until, 7) if accumulation == 3 else until
    whole, expected = train(small, tmp_path / "whole", accumulation=accumulation)
    with pytest.raises(Killed):
        train(small, tmp_path / "killed", until=until, accumulation=accumulation)
    continued, actual = train(small, tmp_path / "killed", accumulation=accumulation)
    assert 0 < actual["resumed_at"] <= until
    for name, weight in whole.items():
        assert torch.equal(weight, continued[name]), name
    assert actual["validations"] == expected["validations"]
    assert actual["curve"] == expected["curve"]
    assert actual["best_metric"] == expected["best_metric"]


@pytest.mark.usefixtures("two_threads")
def test_the_probe_repeats_after_a_kill(small: Small, tmp_path: Path) -> None:
    """What it draws follows from the step, whatever was drawn before."""
    data = TrainingData(small.dataset, small.config.train, small.config.model.max_history, seed=0)
    drawn: dict[str, list[float]] = {"whole": [], "killed": []}
    weights = []
    for run, until in (("whole", None), ("killed", 6), ("killed", None)):
        model, _ = bundle.assemble("gensr", small.dataset, small.cf, small.config)

        def probe(step: int, run: str = run, until: int | None = until) -> None:
            if step == until:
                raise Killed
            drawn[run] = [*drawn[run][:step], torch.rand(1).item()]

        try:
            fit(
                model, data, small.config.train, seed=0, epochs=1, folder=tmp_path / run,
                validate=lambda: {"metric": 0.0}, report=NullReport(), probe=probe,
            )  # fmt: skip
        except Killed:
            continue
        weights.append(bundle.module_tensors(model))
    assert drawn["whole"] == drawn["killed"]
    assert len(set(drawn["whole"])) == 11
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_finished_run_trains_no_further(small: Small, tmp_path: Path) -> None:
    before, first = train(small, tmp_path)
    after, second = train(small, tmp_path)
    assert second["resumed_at"] == first["steps"] == second["steps"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_patience_ends_training_and_the_best_weights_stay(small: Small, tmp_path: Path) -> None:
    config = small.config.train.model_copy(update={"epochs": 10, "patience": 2})
    model, _ = bundle.assemble("gensr", small.dataset, small.cf, small.config)
    values, seen = iter([0.1, 0.5, 0.4, 0.3, 0.9]), []

    def validate() -> dict[str, float]:
        seen.append(model.backbone.shared.weight.detach().clone())
        return {"metric": next(values)}

    data = TrainingData(small.dataset, config, 5, seed=0)
    result = fit(model, data, config, seed=0, epochs=10, folder=tmp_path, validate=validate, report=NullReport())
    assert len(seen) == 4
    assert (result.best_metric, result.epochs) == (0.5, 4.0)
    assert "2 times in a row" in result.stopped
    assert torch.equal(model.backbone.shared.weight, seen[1])
    assert not torch.equal(seen[3], seen[1])


def test_accumulation_is_the_gradient_of_the_large_batch(small: Small) -> None:
    """2 × 32 as 1 × 64, without dropout and without the contrastive loss, whose B is the micro-batch."""
    quiet = small.config.model_copy(
        update={
            "model": small.config.model.model_copy(
                update={
                    "beta": 0.0,
                    "view_dropout": 0.0,
                    "backbone": small.config.model.backbone.model_copy(update={"dropout": 0.0}),
                }
            )
        }
    )
    _, batch = TrainingData(small.dataset, small.config.train, 5, seed=0).batch(0)
    assert len(batch.task) == 64
    gradients = []
    for parts in (1, 2):
        model, _ = bundle.assemble("gensr", small.dataset, small.cf, quiet)
        for rows in torch.arange(64).chunk(parts):
            part = batch._replace(**{name: getattr(batch, name)[rows] for name in batch._fields[1:]})
            (model.loss(part).total / parts).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-3)


def test_batches_follow_from_the_seed_and_cover_every_sample_once(small: Small) -> None:
    config = TrainConfig(batch_size=48, negatives=2)
    data, again, other = (TrainingData(small.dataset, config, 5, seed) for seed in (0, 0, 1))
    epoch = [data.batch(n)[0].sample_id.tolist() for n in range(data.batches_per_epoch)]
    every = small.dataset.samples("train").sample_id.tolist()
    assert sorted(itertools.chain(*epoch)) == sorted(every)
    assert epoch[0] == again.batch(0)[0].sample_id.tolist() != other.batch(0)[0].sample_id.tolist()
    assert data.batch(data.batches_per_epoch)[0].sample_id.tolist() != epoch[0]


# --- bundle, evaluation, ranker ----------------------------------------------------------------------------------


def test_a_bundle_holds_no_pickle_and_scores_as_the_model_that_was_saved(small: Small, tmp_path: Path) -> None:
    assert {p.suffix for p in small.bundle.iterdir()} == {".json", ".safetensors", ".parquet"}
    model, tokenizer = bundle.assemble("gensr", small.dataset, small.cf, small.config)
    bundle.save(tmp_path, "gensr", model, tokenizer, small.dataset, small.config)
    loaded = bundle.load(tmp_path, small.dataset.items, small.dataset.queries)
    assert loaded.unknown_item_share == 0.0
    samples, negatives = small.dataset.evaluated("test")
    scores = [
        score_samples(m, BatchBuilder(small.dataset, 5), samples, negatives, 32, NullReport())
        for m in (model, loaded.model)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert scores[0].std() > 0
    stored = load_file(small.bundle / "model.safetensors")
    assert sorted(stored) == sorted(dict(model.named_parameters()) | {"cf.known": None})


def test_a_trained_bundle_serves_its_users(small: Small) -> None:
    actual = Service.load(small.bundle).answer(Request(user="u1", top_n=3))
    assert (len(actual.items), actual.history_source, actual.candidate_source) == (3, "stored", "retrieved")


def test_ranks_have_a_row_per_sample_whatever_the_batch(small: Small) -> None:
    config = small.config
    actual = []
    for size in (7, 500):
        sized = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"batch_size": size})})
        actual.append(rank_bundle(small.bundle, small.dataset, "test", sized, NullReport()))
    assert actual[0].schema.remove_metadata().equals(RANKS_SCHEMA.remove_metadata())
    assert actual[0].num_rows == 2 * USERS
    assert actual[0].equals(actual[1])


def test_a_search_only_protocol_validates_and_ranks_search_alone(small: Small, tmp_path: Path) -> None:
    shutil.copytree(small.dataset.folder, tmp_path / "prepared")
    for split in ("valid", "test"):
        path = tmp_path / "prepared" / f"candidates_{split}.parquet"
        table = pq.read_table(path)
        hard = table.set_column(1, "protocol", pa.array(["bm25"] * len(table)))
        search = pc.equal(small.dataset.table(f"samples_{split}")["task"], "search")
        pq.write_table(pa.concat_tables([table, hard.filter(search)]), path)
    dataset = PreparedDataset.open(tmp_path / "prepared")
    config = PipelineConfig.model_validate(
        small.config.model_dump(mode="json")
        | {"prepare": {"protocols": ["uniform", "bm25"]}, "evaluation": {"protocol": "bm25"}}
    )
    ranks = rank_bundle(small.bundle, dataset, "test", config, NullReport())
    uniform = rank_bundle(small.bundle, dataset, "test", small.config, NullReport())
    assert ranks.equals(uniform.filter(pc.equal(uniform["task"], "search")))
    assert ranks.num_rows == USERS
    loaded = bundle.load(small.bundle, dataset.items, dataset.queries)
    actual = validation_metrics(CandidateValidation(dataset, config)(loaded.model), "ndcg_at_5")
    assert actual["metric"] == actual["search/ndcg_at_5"]
    assert not any(name.startswith("recommendation") for name in actual)
    alone = with_changes(config, {"train": {"tasks": "recommendation"}})
    with pytest.raises(ConfigError, match=r"train\.tasks is 'recommendation', but no valid sample of it has 'bm25'"):
        CandidateValidation(dataset, alone)
    popularity = rank_reference("popularity", dataset, "test", small.cf, config)
    assert set(popularity["task"].to_pylist()) == {"search"}


def test_the_fixed_subset_is_per_task_and_does_not_follow_the_order_of_samples(small: Small) -> None:
    samples = small.dataset.samples("test")
    rows = fixed_subset(samples, 12)
    assert np.bincount(samples.task[rows]).tolist() == [12, 12]
    order = np.random.default_rng(0).permutation(len(samples))
    shuffled = samples.take(order)
    again = fixed_subset(shuffled, 12)
    assert set(shuffled.sample_id[again]) == set(samples.sample_id[rows])
    assert len(fixed_subset(samples, None)) == len(samples)


def test_another_catalogue_is_matched_by_raw_id(small: Small, tmp_path: Path) -> None:
    """Items in another order, one of them new: old items score as before, the new one has its cold vector."""
    items = small.dataset.items
    order = np.random.default_rng(0).permutation(ITEMS)
    renamed = pc.if_else(pc.equal(items["raw_id"], "i3"), "brand-new", items["raw_id"])
    other = items.set_column(items.schema.get_field_index("raw_id"), "raw_id", renamed).take(pa.array(order))
    loaded = bundle.load(small.bundle, other, small.dataset.queries)
    own = bundle.load(small.bundle, items, small.dataset.queries)
    assert loaded.unknown_item_share == pytest.approx(1 / ITEMS)
    cf, before = (each.model.cf(torch.arange(ITEMS)).detach() for each in (loaded, own))
    for place, item in enumerate(order):
        expected = loaded.model.cf.cold.detach() if item in (3, ITEMS - 1) else before[item]
        assert torch.equal(cf[place], expected)
    own_vectors, vectors = (each.model.item_embedding.table.detach() for each in (own, loaded))
    assert own_vectors.abs().sum(dim=1).gt(0).any(), "training taught no item anything"
    for place, item in enumerate(order):
        assert torch.equal(vectors[place], torch.zeros(16) if item == 3 else own_vectors[item])


def test_the_ranker_agrees_with_the_evaluation(small: Small) -> None:
    dataset: PreparedDataset = small.dataset
    ranker = Ranker.load(small.bundle)
    samples, negatives = dataset.evaluated("test")
    loaded = bundle.load(small.bundle, dataset.items, dataset.queries)
    scores = score_samples(loaded.model, BatchBuilder(dataset, 5), samples, negatives, 64, NullReport())
    for row in (0, 3, len(samples) - 2, len(samples) - 1):
        lists = [f"i{samples.item[row]}", *(f"i{n}" for n in negatives[row])]
        place = np.arange(samples.history_start[row], samples.history_end[row])
        history = [f"i{i}" for i in dataset.events.item[place]]
        came = [("rec", "src")[b] for b in dataset.events.behavior[place]]
        query = dataset.queries[samples.query[row]] if samples.query[row] >= 0 else None
        ranked = ranker.rank(history, query, lists, behaviors=came)
        order = np.argsort(-scores[row], kind="stable")
        assert [item for item, _ in ranked] == [lists[place] for place in order]
        expected = 1 / (1 + np.exp(-scores[row][order]))
        np.testing.assert_allclose([score for _, score in ranked], expected, rtol=1e-4)


def test_the_ranker_says_what_is_wrong_and_skips_unknown_history(small: Small) -> None:
    ranker = Ranker.load(small.bundle)
    with pytest.raises(DataError, match="at least one"):
        ranker.rank(["i1"], None, [])
    with pytest.raises(DataError, match="nope"):
        ranker.rank(["i1"], None, ["i2", "nope"])
    known = ranker.rank(["i1"], "kitchen", ["i2", "i3", "i4"])
    assert ranker.rank(["gone", "i1"], "kitchen", ["i2", "i3", "i4"]) == known
    assert ranker.rank(["i1"], "kitchen", ["i2", "i3", "i4"], top_n=1) == known[:1]
    assert ranker.rank([], None, ["i2", "i3"])
    searched = ranker.rank(["i1"], "kitchen", ["i2", "i3", "i4"], behaviors=["src"])
    assert dict(searched) != dict(known)
    for wrong in (["src", "rec"], ["bought"]):
        with pytest.raises(DataError, match="rec or src"):
            ranker.rank(["i1"], None, ["i2"], behaviors=wrong)


def test_training_leaves_its_curve_and_why_it_ended(small: Small) -> None:
    actual = json.loads((small.bundle / "training.json").read_text(encoding="utf-8"))
    assert actual["stopped"] == "all epochs done"
    assert [v["step"] for v in actual["validations"]] == [11.0, 22.0]
    assert {f"{task}/ndcg_at_5" for task in TASKS} <= set(actual["validations"][0])
    assert [point["step"] for point in actual["curve"]] == list(range(1, 23))
    assert {"loss", "generation", "contrastive", "gradient_norm", "learning_rate"} <= set(actual["curve"][0])
    for each in actual["validations"]:
        mean = np.mean([each[f"{task}/ndcg_at_5"] for task in TASKS])
        assert each["metric"] == pytest.approx(float(mean))
