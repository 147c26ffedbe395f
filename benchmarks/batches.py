"""Batches as gathers from the event columns, against a loop over samples that slices and pads each history."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.common import prepared, seconds, tell
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples

BATCH, NEGATIVES, HISTORY, BATCHES = 64, 4, 30, 50


def by_sample(dataset: PreparedDataset, samples: Samples, candidates: IntArray) -> list[list[int]]:
    """Per sample its history, padded on the left with −1, then its candidates: a usual `collate_fn`."""
    rows = []
    for n in range(len(samples)):
        start = max(samples.history_start[n], samples.history_end[n] - HISTORY)
        history = [int(item) for item in dataset.events.item[start : samples.history_end[n]]]
        rows.append([-1] * (HISTORY - len(history)) + history + [int(item) for item in candidates[n]])
    torch.tensor(rows)
    return rows


def as_rows(batch: Batch) -> list[list[int]]:
    history = torch.where(batch.history_mask, batch.items[batch.history], -1)
    missing = torch.full((len(history), HISTORY - history.shape[1]), -1)
    rows: list[list[int]] = torch.cat([missing, history, batch.items[batch.candidates]], dim=1).tolist()
    return rows


def main() -> None:
    dataset, _ = prepared(users=2_000, items=1_000)
    samples = dataset.samples("train")
    rng = np.random.default_rng(0)
    builder = BatchBuilder(dataset, HISTORY)
    work = []
    for _ in range(BATCHES):
        chosen = samples.take(rng.integers(len(samples), size=BATCH))
        negatives = rng.integers(dataset.n_items, size=(BATCH, NEGATIVES))
        work.append((chosen, np.concatenate([chosen.item[:, None], negatives], axis=1)))
    for chosen, candidates in work:
        assert as_rows(builder.build(chosen, candidates)) == by_sample(dataset, chosen, candidates)
    ours = seconds(lambda: [builder.build(*each) for each in work])
    other = seconds(lambda: [by_sample(dataset, *each) for each in work])
    tell("batches built by gathers, against a loop over samples", ours, other, batches=BATCHES, batch=BATCH)


if __name__ == "__main__":
    main()
