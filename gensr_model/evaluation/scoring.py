"""Scores of a model for the frozen candidates of samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import torch

from gensr_model.config.base import TASKS, Task
from gensr_model.data.batches import BatchBuilder, Builder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models.base import RankingModel
from gensr_model.models.bundle import device_of
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import allow_bf16_attention
from gensr_model.runtime.progress import Report


def fixed_subset(samples: Samples, per_task: int | None, tasks: Collection[Task] = TASKS) -> IntArray:
    """Rows of at most ``per_task`` samples of each of the tasks: those with the smallest ids, which are hashes.

    The choice is as good as random, and the same for every model and every run.
    """
    if per_task is None:
        return samples.rows_of_tasks(tasks)
    chosen = []
    for task in tasks:
        rows = samples.rows_of_tasks((task,))
        chosen.append(rows[np.argsort(samples.sample_id[rows].astype(str), kind="stable")[:per_task]])
    return np.sort(np.concatenate(chosen))


@deterministic()
@torch.inference_mode()
def score_samples(
    model: RankingModel,
    dataset: PreparedDataset,
    samples: Samples,
    negatives: IntArray,
    *,
    max_history: int,
    batch_size: int,
    report: Report,
    builder: Builder | None = None,
    precision: Literal["no", "bf16"] = "no",
) -> np.ndarray:
    """(N, 1 + C) float32 scores, the positive in column 0.

    Args:
        builder: what makes the model's batches; of GenSR's kind, with ``max_history``, where none is given.
        precision: bf16 for a model whose ``scores_in_bf16`` is True; others score in fp32.
    """
    model.eval()
    device = device_of(model)
    half = precision == "bf16" and model.scores_in_bf16
    if half:
        allow_bf16_attention()
    builder = builder or BatchBuilder(dataset, max_history)
    candidates = np.concatenate([samples.item[:, None], negatives], axis=1)
    out = np.empty(candidates.shape, np.float32)
    # Like lengths together: less padding, the same scores.
    order = np.lexsort((builder.lengths(samples), samples.task))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = builder.build(samples.take(rows), candidates[rows]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            scores = model.score(batch)
        out[rows] = scores.float().cpu().numpy()
        report.progress(start + len(rows), len(order), "scoring")
    return out
