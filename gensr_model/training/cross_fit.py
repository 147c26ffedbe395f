"""Cross-fitting of the CF table: each purchase is learned from with a table that was trained without it.

LightGCN learns from the purchases that GenSR then learns to foretell, so that in training, and only there, history and
target lie closer than they would: a model that compares them trusts the table too much. The purchases are parted in
folds, and one more LightGCN is trained without each. Cross-fitting is from statistics (Chernozhukov et al. 2018,
"Double/debiased machine learning", section 3).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gensr_model.config.model import LightGCNConfig
from gensr_model.data.folds import fold_of
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.files import read_tensors, write_tensors
from gensr_model.runtime.progress import Report
from gensr_model.training import lightgcn

FILE = "folds.safetensors"


class FoldTables(NamedTuple):
    """The item table of each fold's LightGCN, (K, I, d), and which items had an edge there, (K, I)."""

    item: Tensor
    item_has_edges: Tensor


def load(folder: Path, folds: int) -> FoldTables | None:
    """The tables of so many folds in a pretraining's folder; None for 0.

    Raises:
        DataError: the folder has none, or of another number of folds.
    """
    if not folds:
        return None
    found = FoldTables(**read_tensors(folder / FILE)) if (folder / FILE).is_file() else None
    if found is None or len(found.item) != folds:
        there = "no tables of folds" if found is None else f"tables of {len(found.item)} folds"
        raise DataError(
            f"{folder}: {there}, and lightgcn.folds is {folds}: pretrain with this configuration, or set it to "
            f"{0 if found is None else len(found.item)}"
        )
    return found


def pretrain(
    dataset: PreparedDataset, config: LightGCNConfig, seed: int, out: Path, report: Report
) -> dict[str, float]:
    """``lightgcn.pretrain``, and ``cross_fit`` where the config has folds."""
    found = lightgcn.pretrain(dataset, config, seed, out, report)
    if config.folds:
        epochs = max(1, int(found["best_epoch"]))
        found |= cross_fit(dataset, config, seed, epochs, lightgcn.load(out), out, report)
    return found


def rotation(table: Tensor, onto: Tensor) -> Tensor:
    """(d, d) the rotation that brings a table (n, d) closest to another one (orthogonal Procrustes)."""
    u, _, vt = torch.linalg.svd(table.T @ onto)
    return u @ vt


@deterministic()
def cross_fit(
    dataset: PreparedDataset,
    config: LightGCNConfig,
    seed: int,
    epochs: int,
    common: lightgcn.CFEmbeddings,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train ``config.folds`` LightGCNs for ``epochs``, each without its fold's pairs; writes ``folds.safetensors``.

    All begin with the weights of ``common``'s training and see its batches and negatives, less the pairs left out,
    which are negatives where they are drawn, as any pair that a table does not know: otherwise chance alone, or being
    spared, sets them apart. Each table is then rotated onto the common one.
    """
    user, item = dataset.graph()
    fold = fold_of(torch.from_numpy(user), torch.from_numpy(item), config.folds).numpy()
    tables, edges, apart = [], [], []
    for left_out in range(config.folds):
        kept = fold != left_out
        unknown = np.unique(user[~kept] * dataset.n_items + item[~kept])
        bpr = lightgcn.Bpr(user[kept], item[kept], dataset.n_users, dataset.n_items, config, seed)
        rng = lightgcn.pair_generator(seed)
        for _ in range(epochs):
            for batch in lightgcn.batches(user, item, dataset.n_items, config.batch_size, rng, unknown):
                users, positives = (torch.from_numpy(of) for of in batch[:2])
                inside = (fold_of(users, positives, config.folds) != left_out).numpy()
                if inside.any():
                    bpr.step(*(of[inside] for of in batch))
        found = bpr.embeddings()
        both = found.item_has_edges & common.item_has_edges
        turned = found.item @ rotation(found.item[both], common.item[both])
        apart.append((turned - common.item)[both].pow(2).mean() / common.item[both].pow(2).mean())
        tables.append(turned)
        edges.append(found.item_has_edges)
        report.progress(left_out + 1, config.folds, "LightGCN without one fold")
    write_tensors(
        out / FILE, FoldTables(torch.stack(tables).contiguous(), torch.stack(edges).contiguous())._asdict()
    )
    return {"folds_apart": float(torch.stack(apart).mean())}
