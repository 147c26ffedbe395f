"""Scores of a model for the frozen candidates of samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from gensr_model.config.base import TASKS, Protocol, Split, Task
from gensr_model.data.batches import Builder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples, ranked_lists
from gensr_model.evaluation.metrics import ranks_table
from gensr_model.models.base import RankingModel
from gensr_model.models.bundle import device_of
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import allow_bf16_attention
from gensr_model.runtime.progress import Report


def fixed_subset(samples: Samples, per_task: int | None, tasks: Collection[Task] = TASKS) -> IntArray:
    """Rows of at most ``per_task`` samples of each task: those with the smallest ids, which are hashes.

    The choice is as good as random, and the same for every model and every run.
    """
    if per_task is None:
        return samples.rows_of_tasks(tasks)
    chosen = []
    for task in tasks:
        rows = samples.rows_of_tasks((task,))
        chosen.append(rows[np.argsort(samples.sample_id[rows].astype(str), kind="stable")[:per_task]])
    return np.sort(np.concatenate(chosen))


class Lists(NamedTuple):
    """The lists to rank: N samples, and the frozen negatives (N, C) of each; shorter lists end in −1."""

    samples: Samples
    negatives: IntArray


def lists_of(
    dataset: PreparedDataset, split: Split, protocol: Protocol, tasks: Collection[Task], per_task: int | None
) -> Lists:
    """The ``fixed_subset`` of a split, without tasks and samples that the protocol has nothing for."""
    every, negatives = dataset.evaluated(split, protocol)
    rows = fixed_subset(every, per_task, tasks)
    return Lists(every.take(rows), negatives[rows])


def rank_samples(
    model: RankingModel,
    builder: Builder,
    lists: Lists,
    batch_size: int,
    report: Report,
    precision: Literal["no", "bf16"] = "no",
) -> pa.Table:
    """Ranks table of the samples by the scores of the model. Arguments are as in ``score_samples``."""
    scores = score_samples(model, builder, *lists, batch_size, report, precision)
    return ranks_table(lists.samples.sample_id, lists.samples.task_names, scores, ranked_lists(*lists)[1])


@deterministic()
@torch.inference_mode()
def score_samples(
    model: RankingModel,
    builder: Builder,
    samples: Samples,
    negatives: IntArray,
    batch_size: int,
    report: Report,
    precision: Literal["no", "bf16"] = "no",
) -> np.ndarray:
    """(N, 1 + C) float32 scores of ``ranked_lists``, with the positive in column 0.

    Args:
        builder: makes the model's batches.
        precision: bf16 for a model whose ``scores_in_bf16`` is True; others score in fp32.
    """
    model.eval()
    device = device_of(model)
    half = precision == "bf16" and model.scores_in_bf16
    if half:
        allow_bf16_attention()
    candidates, _ = ranked_lists(samples, negatives)
    out = np.empty(candidates.shape, np.float32)
    # Similar lengths share a batch, which needs less padding. Scores stay the same.
    order = np.lexsort((builder.lengths(samples), samples.task))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = builder.build(samples.take(rows), candidates[rows]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            scores = model.score(batch)
        out[rows] = scores.float().cpu().numpy()
        report.progress(start + len(rows), len(order), "scoring")
    return out
