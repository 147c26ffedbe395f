"""Every rival: samples per second in training, candidates per second in scoring, and the data path's share of a step.

    python -m benchmarks.baselines [--users 9000] [name ...]

One JSON line per model; the last line is the collator with every field, against a loop over the samples.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

from benchmarks.common import prepared, seconds, tell
from gensr_model.baselines.inputs import FIELDS, MIXED, REC, SRC, TEXT, Collator
from gensr_model.baselines.registry import SYSTEMS
from gensr_model.baselines.rival import System
from gensr_model.baselines.words import Lexicon
from gensr_model.config import RerankConfig, TextConfig, TrainConfig
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.training.trainer import TrainingData

STEPS, WARM, HISTORY, LISTS, LENGTH = 40, 5, 30, 256, 100


def measure(system: System, dataset: PreparedDataset, lexicon: Lexicon, batch_size: int) -> dict[str, Any]:
    """Some training steps and one scored batch of a model, on the dataset's own samples."""
    torch.manual_seed(0)
    collator = Collator(dataset, system.reads, HISTORY, lexicon)
    config = TrainConfig(batch_size=batch_size)
    data = TrainingData(dataset, config, HISTORY, seed=0, builder=collator, tasks=system.tasks)
    model = system.model(collator.domain)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    collating, stepping = [], []
    for number in range(WARM + STEPS):
        begun = time.perf_counter()
        _, batch = data.batch(number % data.batches_per_epoch)
        ready = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch).total.backward()
        optimizer.step()
        if number >= WARM:
            collating.append(ready - begun)
            stepping.append(time.perf_counter() - begun)
    rng = np.random.default_rng(0)
    samples = data.samples.take(rng.integers(len(data.samples), size=LISTS))
    lists = rng.integers(dataset.n_items, size=(LISTS, LENGTH))
    model.eval()

    def score() -> None:
        with torch.inference_mode():
            model.score(collator.build(samples, lists))

    return {
        "samples": len(data.samples),
        "samples_per_s": round(batch_size * STEPS / sum(stepping)),
        "candidates_per_s": round(LISTS * LENGTH / seconds(score, repeat=3)),
        "data_share": round(sum(collating) / sum(stepping), 3),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def by_loop(dataset: PreparedDataset, samples: Samples) -> dict[str, IntArray]:
    """The items of the three histories (B, HISTORY), sample by sample."""
    found = {name: np.zeros((len(samples), HISTORY), np.int64) for name in (REC, SRC, MIXED)}
    events = dataset.events
    for row in range(len(samples)):
        numbers = range(samples.history_start[row], samples.history_end[row])
        for name, behaviors in ((REC, {0}), (SRC, {1}), (MIXED, {0, 1})):
            kept = [int(events.item[n]) for n in numbers if int(events.behavior[n]) in behaviors][-HISTORY:]
            found[name][row, HISTORY - len(kept) :] = kept
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="rivals; all where none is given")
    parser.add_argument(
        "--users", type=int, default=9_000, help="9,000 make about 100,000 samples of each task"
    )
    given = parser.parse_args()
    torch.set_num_threads(2)
    dataset, _ = prepared(users=given.users, items=max(800, given.users // 3))
    lexicon = Lexicon.build(dataset, TextConfig())
    for name in given.names or SYSTEMS:
        found = measure(SYSTEMS[name], dataset, lexicon, RerankConfig().batch_size)
        print(json.dumps({"system": name, **found}), flush=True)

    samples = dataset.samples("train")
    samples = samples.take(np.random.default_rng(0).integers(len(samples), size=LISTS))
    collator = Collator(dataset, FIELDS - {TEXT}, HISTORY, lexicon)
    batch = collator.build(samples, samples.item[:, None])
    for name, expected in by_loop(dataset, samples).items():
        items = getattr(batch, name).item.numpy()
        np.testing.assert_array_equal(items, expected[:, HISTORY - items.shape[1] :])
    tell(
        f"{LISTS} samples with every field, queries too, against a loop that gathers the items alone",
        seconds(lambda: collator.build(samples, samples.item[:, None])),
        seconds(lambda: by_loop(dataset, samples)),
    )


if __name__ == "__main__":
    main()
