"""Cross-fitting of the CF table: training reads each purchase with a table that was trained without it.

LightGCN learns from the purchases that GenSR then learns to predict. So in training, and only there, history and target
are closer than in evaluation, and a model that compares them trusts the table too much. Cross-fitting splits the
purchases into folds and trains one more LightGCN without each fold. The method is from statistics (Chernozhukov et al.
2018, "Double/debiased machine learning", section 3).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gensr_model.config.model import LightGCNConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.folds import fold_of
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import cf_tables
from gensr_model.models.cf_tables import CFEmbeddings
from gensr_model.models.fold_tables import FILE, FoldTables
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.files import write_tensors
from gensr_model.runtime.progress import Report
from gensr_model.training import lightgcn


def pretrain(dataset: PreparedDataset, config: PipelineConfig, out: Path, report: Report) -> dict[str, float]:
    """Run ``lightgcn.pretrain``, and ``cross_fit`` where ``model.departures.folds`` is not 0."""
    metrics = lightgcn.pretrain(dataset, config.lightgcn, config.seed, out, report)
    folds = config.model.departures.folds
    if folds:
        epochs = max(1, int(metrics["best_epoch"]))
        common = cf_tables.load(out)
        metrics |= cross_fit(dataset, config.lightgcn, folds, config.seed, epochs, common, out, report)
    return metrics


def rotation(table: Tensor, onto: Tensor) -> Tensor:
    """(d, d) the rotation that brings a table (n, d) closest to another table (orthogonal Procrustes)."""
    u, _, vt = torch.linalg.svd(table.T @ onto)
    return u @ vt


@deterministic()
def cross_fit(
    dataset: PreparedDataset,
    config: LightGCNConfig,
    folds: int,
    seed: int,
    epochs: int,
    common: CFEmbeddings,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Train ``folds`` LightGCNs for ``epochs``, each without its fold's pairs. Writes ``folds.safetensors``.

    All start with the weights of ``common``'s training and read its batches and negatives, without the pairs of their
    fold. These pairs can be negatives, like any pair that a table does not know. Otherwise randomness, or their absence
    among negatives, would reveal them. Each table is then rotated onto the common one.
    """
    user, item = dataset.graph()
    fold = fold_of(torch.from_numpy(user), torch.from_numpy(item), folds).numpy()
    tables, edges, apart = [], [], []
    size = lightgcn.batch_size(config, len(user))
    for left_out in range(folds):
        trained_on = fold != left_out
        unknown = np.unique(user[~trained_on] * dataset.n_items + item[~trained_on])
        bpr = lightgcn.Bpr(user[trained_on], item[trained_on], dataset.n_users, dataset.n_items, config, seed)
        rng = lightgcn.pair_generator(seed)
        for _ in range(epochs):
            for batch in lightgcn.batches(user, item, dataset.n_items, size, rng, unknown):
                users, positives = (torch.from_numpy(column) for column in batch[:2])
                inside = (fold_of(users, positives, folds) != left_out).numpy()
                if inside.any():
                    bpr.step(*(column[inside] for column in batch))
        fitted = bpr.embeddings()
        both = fitted.item_has_edges & common.item_has_edges
        turned = fitted.item @ rotation(fitted.item[both], common.item[both])
        apart.append((turned - common.item)[both].pow(2).mean() / common.item[both].pow(2).mean())
        tables.append(turned)
        edges.append(fitted.item_has_edges)
        report.progress(left_out + 1, folds, "LightGCN without one fold")
    write_tensors(out / FILE, FoldTables(torch.stack(tables).contiguous(), torch.stack(edges).contiguous())._asdict())
    return {"folds_apart": float(torch.stack(apart).mean())}
