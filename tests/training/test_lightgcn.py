"""LightGCN pretraining against PyG's own propagation and hand-computed recall."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_dataset import ITEMS, USERS, write_dataset
from torch_geometric.nn.models import LightGCN

from gensr_model.config.base import TASKS
from gensr_model.config.model import LightGCNConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models import cf_tables
from gensr_model.runtime.progress import NullReport
from gensr_model.training import lightgcn
from gensr_model.training.lightgcn import CFEmbeddings, recall_at_20, sample_pairs

SMALL = LightGCNConfig(dim=8, layers=2, epochs=12, batch_size=64, patience=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("lightgcn") / "prepared")


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_vectors_and_gradients_are_those_of_pyg(layers: int) -> None:
    user, item = (
        np.array([0, 0, 1, 2, 2, 2]),
        np.array([0, 1, 1, 0, 2, 3]),
    )  # 3 users, 5 items, the last without an edge
    edges = torch.from_numpy(np.stack([np.append(user, item + 3), np.append(item + 3, user)]))
    ours = lightgcn.Bpr(user, item, 3, 5, LightGCNConfig(dim=4, layers=layers), seed=0)
    theirs = LightGCN(8, 4, layers)
    theirs.load_state_dict(ours.model.state_dict())
    weights = torch.randn(8, 4)
    for model, vectors in ((ours.model, ours.propagated()), (theirs, theirs.get_embedding(edges))):
        (vectors.square() * weights).sum().backward()
        model.vectors = vectors.detach()
    torch.testing.assert_close(ours.model.vectors, theirs.vectors)
    torch.testing.assert_close(ours.model.embedding.weight.grad, theirs.embedding.weight.grad)


def test_an_epoch_of_a_large_graph_has_no_more_steps() -> None:
    config = LightGCNConfig(batch_size=64, max_steps=10)
    assert [lightgcn.batch_size(config, edges) for edges in (1, 640, 641, 6400)] == [64, 64, 65, 640]


def test_it_learns_the_same_from_the_same_seed_and_marks_cold_items(dataset: PreparedDataset, tmp_path: Path) -> None:
    result = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        metrics = lightgcn.pretrain(dataset, SMALL, seed, tmp_path / name, NullReport())
        result.append(cf_tables.load(tmp_path / name))
        assert result[-1].user.shape == (USERS, 8)
        assert metrics["valid_recall_at_20"] == recall_at_20(result[-1], dataset)
    assert torch.equal(result[0].item, result[1].item)
    assert not torch.equal(result[0].item, result[2].item)
    _, linked = dataset.graph()
    expected = [item in set(linked.tolist()) for item in range(ITEMS)]
    assert result[0].item_has_edges.tolist() == expected


def test_negatives_are_no_neighbours_and_every_pair_comes_once() -> None:
    rng = np.random.default_rng(0)
    user, item = np.divmod(np.flatnonzero(rng.random(20 * 10) < 0.7), 10)
    users, positives, negatives = sample_pairs(user, item, 10, np.random.default_rng(1))
    pairs = set(zip(user.tolist(), item.tolist(), strict=True))
    assert sorted(zip(users.tolist(), positives.tolist(), strict=True)) == sorted(pairs)
    met = {u: {i for v, i in pairs if v == u} for u in range(20)}
    free = [len(met[u]) < 10 for u in users]
    assert not any(n in met[u] for u, n, ok in zip(users.tolist(), negatives.tolist(), free, strict=True) if ok)


def test_recall_ranks_the_whole_catalogue_without_training_items(dataset: PreparedDataset) -> None:
    valid = dataset.samples("valid")
    target = {int(u): int(i) for u, i, t in zip(valid.user, valid.item, valid.task, strict=True) if t == 0}
    user, item = dataset.graph()
    # One-hot users: the item vectors hold the scores. Training items highest, then 19 others, then the target.
    score = torch.zeros(ITEMS, USERS)
    for u in range(USERS):
        met = set(item[user == u].tolist())
        others = [i for i in range(ITEMS) if i not in met and i != target[u]]
        score[list(met), u] = 100.0
        score[others[: 19 + u % 2], u] = 10.0  # every second user has 20 others above the target
        score[target[u], u] = 5.0
    result = CFEmbeddings(torch.eye(USERS), score, torch.ones(ITEMS, dtype=torch.bool))
    assert recall_at_20(result, dataset) == pytest.approx(0.5)
    assert recall_at_20(result, dataset, held=7 * ITEMS) == pytest.approx(0.5)
    some = valid.user[fixed_subset(valid, 5, TASKS[:1])]
    assert recall_at_20(result, dataset, 5) == pytest.approx(np.mean(some % 2 == 0))
    assert len(set(some % 2)) == 2


def test_it_stops_early_and_keeps_the_best_epoch(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, seen = iter([0.1, 0.4, 0.3, 0.2, 0.9]), []

    def recall(result: CFEmbeddings, dataset: PreparedDataset, most: int) -> float:
        seen.append(result.item.clone())
        return next(values)

    monkeypatch.setattr(lightgcn, "recall_at_20", recall)
    metrics = lightgcn.pretrain(dataset, SMALL, 0, tmp_path, NullReport())
    assert (metrics["best_epoch"], metrics["epochs"]) == (4.0, 8.0)
    assert torch.equal(cf_tables.load(tmp_path).item, seen[1])
