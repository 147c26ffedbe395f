"""Cross-fitting: no table of a fold has seen the fold's pairs, and a training sample reads that of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_dataset import ITEMS, SMALL_CONFIG, SMALL_MODEL, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import Batch
from gensr_model.data.folds import fold_of
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.models import bundle, cf_tables, fold_tables
from gensr_model.models.cf_tables import CFEmbeddings, unit_scale
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import cross_fit, lightgcn
from gensr_model.training.finetune import finetune, train_two_head
from gensr_model.training.trainer import TrainingData

FOLDS = 3
CONFIG = PipelineConfig.model_validate(
    SMALL_CONFIG
    | {
        "model": {**SMALL_MODEL, "view_dropout": 0.0, "departures": {"interaction": True, "folds": FOLDS}},
        "lightgcn": {"dim": 8, "layers": 2, "epochs": 4, "batch_size": 64},
        "train": {"epochs": 1, "two_head_epochs": 1, "batch_size": 128, "valid_samples": 10},
        "analysis": {"gradient_every": 0},
    }
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("cross_fit") / "prepared")


@pytest.fixture(scope="module")
def cf(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cf")
    metrics = cross_fit.pretrain(dataset, CONFIG, folder, NullReport())
    assert {"valid_recall_at_20", "folds_apart"} <= metrics.keys()
    return folder


def training_batch(dataset: PreparedDataset) -> Batch:
    batch: Batch = TrainingData(dataset, CONFIG.train, CONFIG.model.max_history, 0).batch(0)[1]
    return batch


def test_folds_are_as_large_as_one_another_and_part_users_and_items_alike() -> None:
    user, item = (of.flatten() for of in torch.meshgrid(torch.arange(300), torch.arange(200), indexing="ij"))
    fold = fold_of(user, item, 5)
    assert torch.bincount(fold, minlength=5).tolist() == pytest.approx([12_000] * 5, rel=0.03)
    for of, size in ((user, 200), (item, 300)):
        counts = torch.stack([torch.bincount(of[fold == k]) for k in range(5)]).float()
        assert counts.std() == pytest.approx((size * 0.2 * 0.8) ** 0.5, rel=0.1)  # binomial, as if drawn
    large = torch.tensor([2**31 - 1])
    assert 0 <= int(fold_of(large, large, 7)) < 7


def test_no_step_of_a_fold_meets_its_pairs_and_all_others_come_once_an_epoch(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[list[int]] = []
    whole = lightgcn.Bpr.__init__

    def begin(self: lightgcn.Bpr, *args: object) -> None:
        met.append([])
        whole(self, *args)  # type: ignore[arg-type]

    def step(self: lightgcn.Bpr, user: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
        met[-1].extend((user * ITEMS + positive).tolist())
        return 0.0

    monkeypatch.setattr(lightgcn.Bpr, "__init__", begin)
    monkeypatch.setattr(lightgcn.Bpr, "step", step)
    common = CFEmbeddings(torch.zeros(1), torch.randn(ITEMS, 8), torch.ones(ITEMS, dtype=torch.bool))
    cross_fit.cross_fit(dataset, CONFIG.lightgcn, FOLDS, 0, 2, common, tmp_path, NullReport())
    user, item = dataset.graph()
    fold = fold_of(torch.from_numpy(user), torch.from_numpy(item), FOLDS).numpy()
    edges = fold_tables.load(tmp_path, FOLDS)
    assert edges is not None
    for k in range(FOLDS):
        assert sorted(met[k]) == sorted(np.repeat((user * ITEMS + item)[fold != k], 2).tolist())
        assert set(np.flatnonzero(edges.item_has_edges[k])) == set(item[fold != k].tolist())


def test_pairs_left_out_are_negatives_where_they_are_drawn_and_nothing_else_changes() -> None:
    """A pair that is never a negative shapes a table that is said not to know it."""
    rng = np.random.default_rng(0)
    user, item = np.divmod(rng.choice(50 * 20, 400, replace=False), 20)
    outside = np.sort((user * 20 + item)[::3])
    plain = lightgcn.sample_pairs(user, item, 20, np.random.default_rng(1))
    result = lightgcn.sample_pairs(user, item, 20, np.random.default_rng(1), outside)
    hit = np.isin(result[0] * 20 + result[2], outside)
    assert 0.05 < hit.mean() < 0.3  # 133 of 1,000 pairs
    assert not np.isin(plain[0] * 20 + plain[2], user * 20 + item).any()
    for before, after in zip(plain, result, strict=True):
        np.testing.assert_array_equal(before[~hit], after[~hit])
    np.testing.assert_array_equal(plain[1], result[1])


def test_a_turned_table_is_turned_back() -> None:
    torch.manual_seed(0)
    table, turn = torch.randn(50, 6), torch.linalg.qr(torch.randn(6, 6))[0]
    torch.testing.assert_close(table @ turn @ cross_fit.rotation(table @ turn, table), table, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_a_training_sample_reads_its_own_folds_table_and_all_else_the_common_one(
    dataset: PreparedDataset, cf: Path, kind: str
) -> None:
    """Sample by sample against a model that has that table alone."""
    folds, common = fold_tables.load(cf, FOLDS), cf_tables.load(cf)
    assert folds is not None
    batch = training_batch(dataset).take(torch.arange(24))
    model, _ = bundle.assemble(kind, dataset, cf, CONFIG)
    tables = [unit_scale(*pair) for pair in zip(*folds, strict=True)]
    fold = fold_of(batch.user, batch.items[batch.candidates[:, 0]], FOLDS)
    assert set(fold.tolist()) == set(range(FOLDS))

    def alone(table: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        single, _ = bundle.assemble(kind, dataset, cf, CONFIG)
        single.load_state_dict(model.state_dict())
        single.cf.table.data, single.cf.known, single.cf.own_fold = table, known, None
        return torch.cat([single.eval().score(batch.take(torch.tensor([row]))) for row in range(24)])

    expected = torch.stack([alone(table, known) for table, known in zip(tables, folds.item_has_edges, strict=True)])
    result = model.eval().score(batch)
    torch.testing.assert_close(
        result, alone(unit_scale(common.item, common.item_has_edges), common.item_has_edges),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip
    model.cf.training = True  # the table alone: the rest without dropout
    in_training = model.score(batch)
    torch.testing.assert_close(in_training, expected[fold, torch.arange(24)], atol=1e-5, rtol=1e-4)
    assert (in_training - result).abs().max() > 1e-4


@pytest.mark.parametrize("train", [finetune, train_two_head])
def test_a_bundle_holds_no_folds_and_ranks_as_the_model_that_was_saved(
    dataset: PreparedDataset, cf: Path, tmp_path: Path, train: object
) -> None:
    (tmp_path / "out").mkdir()
    train(dataset, cf, CONFIG, tmp_path / "checkpoints", tmp_path / "out", NullReport())  # type: ignore[operator]
    saved = read_tensors(tmp_path / "out" / bundle.WEIGHTS)
    assert not [name for name in saved if "fold" in name]
    assert torch.equal(saved["cf.table"], unit_scale(*cf_tables.load(cf)[1:]))
    loaded = bundle.load(tmp_path / "out", dataset.items, dataset.queries)
    scores = loaded.model.train().score(training_batch(dataset))  # no folds to be read, also in training
    assert torch.isfinite(scores).all()


def test_folds_that_were_not_pretrained_are_an_error_and_not_left_out(
    dataset: PreparedDataset, cf: Path, tmp_path: Path
) -> None:
    write_cf(tmp_path / "cf")
    with pytest.raises(DataError, match=r"no tables of folds, but model\.departures\.folds is 3\. Pretrain"):
        bundle.assemble("gensr", dataset, tmp_path / "cf", CONFIG)
    with pytest.raises(DataError, match=r"tables of 3 folds, but model\.departures\.folds is 4"):
        fold_tables.load(cf, 4)
    assert fold_tables.load(cf, 0) is None  # the paper's, whatever lies there


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"departures\.folds is 1, which leaves no purchase"):
        PipelineConfig.model_validate({"model": {"departures": {"folds": 1}}})
    with pytest.raises(ValidationError, match=r"freeze_cf is false and departures\.folds is 2"):
        PipelineConfig.model_validate({"model": {"departures": {"folds": 2}, "freeze_cf": False}})
