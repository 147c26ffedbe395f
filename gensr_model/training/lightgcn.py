"""The collaborative filtering table: LightGCN on training recommendation events only (footnote 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric.nn.models import LightGCN

from gensr_model.config.base import TASKS
from gensr_model.config.model import LightGCNConfig
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models.cf_tables import FILE, CFEmbeddings
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.files import write_json, write_tensors
from gensr_model.runtime.progress import Report

_EVALUATE_EVERY = 2  # epochs


def normalised_adjacency(user: IntArray, item: IntArray, n_users: int, n_items: int) -> Tensor:
    """D^-1/2 A D^-1/2 of the bipartite graph as CSR, (U + I, U + I), computed once."""
    row = np.concatenate([user, item + n_users])
    column = np.concatenate([item + n_users, user])
    degree = np.bincount(row, minlength=n_users + n_items).astype(np.float64)
    weight = 1.0 / np.sqrt(degree[row] * degree[column])
    coo = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([row, column])),
        torch.from_numpy(weight).float(),
        (n_users + n_items, n_users + n_items),
        check_invariants=True,
    )
    csr = coo.coalesce().to_sparse_csr()
    if len(row) > np.iinfo(np.int32).max:
        return csr
    # MKL multiplies with 32-bit indices, and would convert 64-bit ones in each step.
    first, column_of = csr.crow_indices().to(torch.int32), csr.col_indices().to(torch.int32)
    return torch.sparse_csr_tensor(first, column_of, csr.values(), csr.shape, check_invariants=True)


class _Propagated(torch.autograd.Function):
    """The mean of E, AE, …, A^K E for a symmetric A (n, n) in CSR and E (n, D): LightGCN's layers.

    The gradient is the same sum, because A equals its transpose. Autograd would write down that transpose in each
    backward pass, and add up K + 1 scaled copies.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, adjacency: Tensor, layers: int) -> Tensor:
        ctx.adjacency, ctx.layers = adjacency, layers
        return _mean_of_powers(weight, adjacency, layers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _mean_of_powers(gradients[0], ctx.adjacency, ctx.layers), None, None


def _mean_of_powers(weight: Tensor, adjacency: Tensor, layers: int) -> Tensor:
    """By Horner's rule: E + A(E + A(E + …)), divided by the number of terms."""
    scaled = weight / (layers + 1)
    total = scaled
    for _ in range(layers):
        total = (adjacency @ total).add_(scaled)
    return total


def sample_pairs(
    user: IntArray, item: IntArray, n_items: int, rng: np.random.Generator, left_out: IntArray | None = None
) -> tuple[IntArray, IntArray, IntArray]:
    """All training pairs in random order, each with one negative that the user has no edge to, each (P,).

    Args:
        left_out: sorted keys user · I + item of the pairs that a table is trained without. They are no edges for it,
            and they can be negatives. All other draws are the same as without ``left_out``.
    """
    order = rng.permutation(len(user))
    user, item = user[order], item[order]
    edges = np.unique(user * n_items + item)
    negative = rng.integers(n_items, size=len(user))
    drawn = negative.copy()
    for _ in range(50):
        known = _among(user * n_items + negative, edges)
        if not known.any():
            break
        negative[known] = rng.integers(n_items, size=int(known.sum()))
    if left_out is not None and len(left_out):
        negative = np.where(_among(user * n_items + drawn, left_out), drawn, negative)
    return user, item, negative


def _among(keys: IntArray, ordered: IntArray) -> npt.NDArray[np.bool_]:
    """Which keys occur in a sorted array."""
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    is_among: npt.NDArray[np.bool_] = ordered[place] == keys
    return is_among


def recall_at_20(cf: CFEmbeddings, dataset: PreparedDataset, most: int | None = None, held: int = 2**24) -> float:
    """Valid recall@20 over the whole catalogue without the user's training items. ``held`` scores are in memory.

    It is that of at most ``most`` samples, the same ones every time: users × items would grow faster than the data.
    """
    valid = dataset.samples("valid")
    valid = valid.take(fixed_subset(valid, most, TASKS[:1]))
    if len(valid) == 0:
        return 0.0
    graph_user, graph_item = dataset.graph()
    order = np.argsort(graph_user, kind="stable")
    graph_user, graph_item = graph_user[order], graph_item[order]
    hits, chunk = 0, max(1, min(2048, held // dataset.n_items))
    for start in range(0, len(valid), chunk):
        users = valid.user[start : start + chunk]
        score = cf.user[users] @ cf.item.T  # (chunk, I)
        first, last = np.searchsorted(graph_user, users), np.searchsorted(graph_user, users, side="right")
        length = last - first
        row = np.repeat(np.arange(len(users)), length)
        inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        score[torch.from_numpy(row), torch.from_numpy(graph_item[np.repeat(first, length) + inside])] = -torch.inf
        top = score.topk(min(20, score.shape[1]), dim=1).indices.numpy()
        hits += int((top == valid.item[start : start + chunk, None]).any(axis=1).sum())
    return hits / len(valid)


class Bpr:
    """LightGCN over the edges (P,) of a graph, and its optimizer. The initial weights depend only on the seed."""

    def __init__(
        self, user: IntArray, item: IntArray, users: int, items: int, config: LightGCNConfig, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.config, self.users, device = config, users, default_device()
        self.adjacency = normalised_adjacency(user, item, users, items).to(device)
        self.model = LightGCN(users + items, config.dim, config.layers, normalize=False).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.has_edges = torch.zeros(items, dtype=torch.bool)
        self.has_edges[torch.from_numpy(item)] = True

    def embeddings(self) -> CFEmbeddings:
        """The current embeddings, propagated."""
        with torch.no_grad():
            every = self.propagated().cpu()
        return CFEmbeddings(every[: self.users].clone(), every[self.users :].clone(), self.has_edges)

    def propagated(self) -> Tensor:
        """All users' and items' embeddings after the layers, (U + I, D): PyG's ``get_embedding``, cheaper to train."""
        every: Tensor = _Propagated.apply(self.model.embedding.weight, self.adjacency, self.config.layers)
        return every

    def step(self, user: IntArray, positive: IntArray, negative: IntArray) -> float:
        """One step on a batch (b,) of pairs. Returns its loss."""
        device = self.adjacency.device
        u = torch.from_numpy(user).to(device)
        nodes = torch.from_numpy(np.stack([positive, negative])).to(device) + self.users
        every = self.propagated()
        others = every.index_select(0, nodes.flatten()).view(2, len(u), -1)
        rank = (every.index_select(0, u) * others).sum(dim=-1)  # (2, b)
        loss = self.model.recommendation_loss(
            rank[0], rank[1], node_id=torch.cat([u, nodes.flatten()]), lambda_reg=self.config.weight_decay
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.item())


def batch_size(config: LightGCNConfig, edges: int) -> int:
    """Edges per batch. A step costs as much as the graph is large, so a larger graph has larger batches, not more."""
    return max(config.batch_size, -(-edges // config.max_steps))


def batches(
    user: IntArray, item: IntArray, n_items: int, size: int, rng: np.random.Generator, left_out: IntArray | None = None
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """One epoch of ``sample_pairs``, ``size`` at a time."""
    pairs = sample_pairs(user, item, n_items, rng, left_out)
    for start in range(0, len(user), size):
        users, positives, negatives = (column[start : start + size] for column in pairs)
        yield users, positives, negatives


def pair_generator(seed: int) -> np.random.Generator:
    """The random generator that orders the pairs and draws their negatives."""
    return np.random.default_rng([seed, 1])


@deterministic()
def pretrain(
    dataset: PreparedDataset, config: LightGCNConfig, seed: int, out: Path, report: Report
) -> dict[str, float]:
    """Train LightGCN with BPR. The result is the epoch with the best valid recall@20.

    Writes ``lightgcn.safetensors`` (``user``, ``item``, ``item_has_edges``) and ``curve.json`` into ``out``.
    """
    rng, (user, item) = pair_generator(seed), dataset.graph()
    bpr = Bpr(user, item, dataset.n_users, dataset.n_items, config, seed)
    best, best_recall, best_epoch, curve = bpr.embeddings(), -1.0, 0, []
    size = batch_size(config, len(user))
    for epoch in range(1, config.epochs + 1):
        losses = [bpr.step(*batch) for batch in batches(user, item, dataset.n_items, size, rng)]
        if epoch % _EVALUATE_EVERY and epoch != config.epochs:
            continue
        current = bpr.embeddings()
        recall = recall_at_20(current, dataset, config.valid_samples)
        curve.append({"epoch": epoch, "bpr": float(np.mean(losses)), "valid_recall_at_20": recall})
        report.metrics({"lightgcn/bpr": curve[-1]["bpr"], "lightgcn/valid_recall_at_20": recall}, epoch)
        report.progress(epoch, config.epochs, f"LightGCN, valid recall@20 {recall:.4f}")
        if recall > best_recall:
            best, best_recall, best_epoch = current, recall, epoch
        elif epoch - best_epoch >= config.patience * _EVALUATE_EVERY:
            break
    write_tensors(out / FILE, best._asdict())
    write_json(out / "curve.json", curve)
    return {
        "valid_recall_at_20": best_recall,
        "best_epoch": float(best_epoch),
        "epochs": float(curve[-1]["epoch"]),
        "cold_items": float((~bpr.has_edges).sum()),
    }
