"""An epoch of LightGCN: ours, PyG's `LightGCN` as it comes, and the layout of LightGCN's authors.

python -m benchmarks.lightgcn [--edges 1000000 10000000] [--steps 4]

All sides have the same generated graph, initial weights, batches, loss and Adam, on one thread. Losses are asserted
equal. PyG's model normalises the edges and gathers one vector per edge in each forward pass. The authors multiply a
sparse COO matrix once per layer (LightGCN-PyTorch). An epoch is the median step times the number of steps; drawing
pairs is left out on all sides. Each side runs in a separate process. Seconds are processor time of the process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch_geometric.nn.models import LightGCN

from benchmarks.sides import arguments, exponent, in_child, peak_bytes
from gensr_model.config.model import LightGCNConfig
from gensr_model.data.prepared import IntArray
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.training.lightgcn import Bpr, batch_size

EDGES_PER_NODE = 15  # of each side of the graph: KuaiSAR's and Amazon's are 8 to 40
CONFIG = LightGCNConfig()
Batch = tuple[IntArray, IntArray, IntArray]
Step = Callable[[Batch], float]


class Graph:
    """Distinct pairs (P,), drawn with some items far more popular than others."""

    def __init__(self, edges: int) -> None:
        self.users = self.items = edges // EDGES_PER_NODE
        rng = np.random.default_rng(0)
        item = (self.items * rng.random(edges) ** 3).astype(np.int64)
        self.user, self.item = np.divmod(
            np.unique(rng.integers(self.users, size=edges) * self.items + item), self.items
        )

    def batches(self, steps: int) -> list[Batch]:
        rng, size = np.random.default_rng(1), batch_size(CONFIG, len(self.user))
        chosen = [rng.integers(len(self.user), size=size) for _ in range(steps)]
        return [(self.user[rows], self.item[rows], rng.integers(self.items, size=size)) for rows in chosen]


def ours(graph: Graph) -> Step:
    bpr = Bpr(graph.user, graph.item, graph.users, graph.items, CONFIG, seed=0)
    return lambda batch: bpr.step(*batch)


def _optimized(model: LightGCN, propagate: Callable[[], Tensor], users: int) -> Step:
    """A step over the vectors that ``propagate`` gives."""
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)

    def step(batch: Batch) -> float:
        user, positive, negative = (torch.from_numpy(column) for column in batch)
        positive, negative = positive + users, negative + users
        every = propagate()
        better, worse = ((every[user] * every[other]).sum(dim=1) for other in (positive, negative))
        embedding = model.embedding
        penalty = sum(embedding(nodes).norm(2).pow(2) for nodes in (user, positive, negative)) / len(user)
        loss = -logsigmoid(better - worse).mean() + CONFIG.weight_decay * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def pyg(graph: Graph) -> Step:
    torch.manual_seed(0)
    model = LightGCN(graph.users + graph.items, CONFIG.dim, CONFIG.layers)
    user, item = torch.from_numpy(graph.user), torch.from_numpy(graph.item) + graph.users
    edges = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
    return _optimized(model, lambda: model.get_embedding(edges), graph.users)


def authors(graph: Graph) -> Step:
    begun = Bpr(graph.user, graph.item, graph.users, graph.items, CONFIG, seed=0)
    matrix, model = begun.adjacency.to_sparse_coo().coalesce(), begun.model

    def propagate() -> Tensor:
        layers = [model.embedding.weight]
        for _ in range(CONFIG.layers):
            layers.append(torch.sparse.mm(matrix, layers[-1]))
        return torch.stack(layers, dim=1).mean(dim=1)

    return _optimized(model, propagate, graph.users)


SIDES = {"ours": ours, "pyg": pyg, "authors": authors}


def child(side: str, edges: int, steps: int) -> None:
    """Print losses, seconds of a step and peak memory of one side, as JSON."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as our stage does; it helps the others as well
    graph = Graph(edges)
    step, losses, seconds = SIDES[side](graph), [], []
    for batch in graph.batches(steps + 1):
        begun = time.process_time()
        losses.append(step(batch))
        seconds.append(time.process_time() - begun)
    size = batch_size(CONFIG, len(graph.user))
    epoch = median(seconds[1:]) * -(-len(graph.user) // size)  # the first step allocates
    print(json.dumps({"losses": losses, "epoch_s": epoch, "peak_gb": peak_bytes() / 2**30, "edges": len(graph.user)}))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    result: dict[str, object] = {}
    epochs = []
    for edges in given.edges:
        sides = {name: in_child("lightgcn", "--child", name, edges, given.steps) for name in SIDES}
        for name, side in sides.items():
            np.testing.assert_allclose(side["losses"], sides["ours"]["losses"], rtol=1e-4)
            print(f"{edges:,} edges, {name}: {side['epoch_s']:.0f} s an epoch, {side['peak_gb']:.1f} GB", flush=True)
        epochs.append(sides["ours"]["epoch_s"])
        result[f"speedup_{edges}"] = {
            name: round(side["epoch_s"] / epochs[-1], 2) for name, side in sides.items() if name != "ours"
        }
    print(json.dumps(result | {"exponent": exponent(given.edges, epochs)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
