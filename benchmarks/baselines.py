"""Every model's speed: samples per second in training, candidates per second in scoring, and the cost of batches.

python -m benchmarks.baselines [--users 10300 | --dataset FOLDER] [--threads 2] [name ...]

10,300 generated users make about 100,000 training samples of each task. A prepared folder can replace them. Each model
(all baselines, and GenSR and two heads as in preset ``laptop``) runs in a separate process and prints one JSON line.
The last line compares the baselines' collator with a loop over samples, and names the models that spend more than a
fifth of a training step on their batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from benchmarks.common import prepared, seconds, tell
from benchmarks.sides import in_child, peak_bytes
from gensr_model.baselines.inputs import FIELDS, MIXED, READS_WORDS, REC, SRC, TEXT, Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.words import Lexicon
from gensr_model.config.model import TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models import bundle
from gensr_model.runtime.files import write_tensors
from gensr_model.training.trainer import TrainingData, make_optimizer

HISTORY, BATCH, NEGATIVES = 30, 256, 4  # of a training batch
LISTS, LENGTH = 256, 100  # of a scored batch
SETTINGS = TrainConfig(batch_size=BATCH, negatives=NEGATIVES)
OURS = ("gensr", "two_head")
STEPS, WARM = 40, 5
ALLOWED = 0.2  # largest share of a training step for making its batch


def _train(model: Any, data: TrainingData) -> dict[str, Any]:
    """Time some steps of the trainer, as medians, so that other work on the machine counts for little.

    ``data_share`` is a share of wall time, ``data_share_cpu`` of processor time. Read the latter on a busy machine,
    with one thread.
    """
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(learned, TrainConfig())
    batches, steps, batches_cpu, steps_cpu = [], [], [], []
    for number in range(WARM + STEPS):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        _, batch = data.batch(number % data.batches_per_epoch)
        built, built_cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch).total.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if number >= WARM:
            batches.append(built - begun)
            steps.append(time.perf_counter() - built)
            batches_cpu.append(built_cpu - begun_cpu)
            steps_cpu.append(time.process_time() - built_cpu)
    batch_s, step_s = statistics.median(batches), statistics.median(steps)
    batch_cpu, step_cpu = statistics.median(batches_cpu), statistics.median(steps_cpu)
    # The order of an epoch is drawn once for all of its batches.
    order_s = seconds(lambda: data.epoch_order(0), repeat=3)
    batch_s += order_s / data.batches_per_epoch
    batch_cpu += order_s / data.batches_per_epoch
    return {
        "samples_per_s": round(min(BATCH, len(data.samples)) / (batch_s + step_s)),
        "batch_ms": round(1000 * batch_s, 2),
        "step_ms": round(1000 * (batch_s + step_s), 2),
        "data_share": round(batch_s / (batch_s + step_s), 3),
        "data_share_cpu": round(batch_cpu / (batch_cpu + step_cpu), 3),
    }


def _score(model: Any, data: TrainingData, n_items: int) -> float:
    """Candidates per second, batches included."""
    rng = np.random.default_rng(0)
    samples = data.samples.take(rng.integers(len(data.samples), size=LISTS))
    lists = rng.integers(n_items, size=(LISTS, LENGTH))
    model.eval()

    def score() -> None:
        with torch.inference_mode():
            model.score(data.builder.build(samples, lists))

    return LISTS * LENGTH / seconds(score, repeat=3)


def _baseline(name: str, dataset: PreparedDataset) -> tuple[TrainingData, Callable[[], nn.Module]]:
    system = BASELINES[name]
    lexicon = None
    if system.reads & READS_WORDS:
        lexicon = Lexicon.build(dataset, TextConfig() if TEXT in system.reads else None)
    collator = Collator(dataset, system.reads, HISTORY, lexicon)
    by_length = not system.model.fixed_length
    data = TrainingData(dataset, SETTINGS, HISTORY, 0, builder=collator, tasks=system.tasks, by_length=by_length)
    return data, lambda: system.model(collator.domain)


def _ours(kind: str, dataset: PreparedDataset) -> tuple[TrainingData, Callable[[], nn.Module]]:
    """GenSR or two heads with a random table of LightGCN's shape: no time depends on its values."""
    config = PipelineConfig.model_validate({"preset": "laptop", "model": {"max_history": HISTORY}})
    data = TrainingData(dataset, SETTINGS, HISTORY, seed=0)

    def model() -> nn.Module:
        sizes = {"user": dataset.n_users, "item": dataset.n_items}
        tables = {name: torch.randn(size, config.lightgcn.dim) for name, size in sizes.items()}
        known = {"item_has_edges": torch.ones(dataset.n_items, dtype=torch.bool)}
        with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as cf:
            write_tensors(Path(cf) / "lightgcn.safetensors", tables | known)
            made, _ = bundle.assemble(kind, dataset, Path(cf), config)
        return made

    return data, model


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Measure one model in this process. Memory is the rise of the peak above the loaded data."""
    dataset = PreparedDataset.open(folder)
    data, make = _ours(name, dataset) if name in OURS else _baseline(name, dataset)
    before = psutil.Process().memory_info().rss / 2**20

    def peak_mb() -> int:
        return round(peak_bytes() / 2**20 - before)

    torch.manual_seed(0)
    model = make()
    trained = _train(model, data)
    memory = {"train_peak_mb": peak_mb()}
    candidates = round(_score(model, data, dataset.n_items))
    return {
        "system": name,
        "samples": len(data.samples),
        **trained,
        "candidates_per_s": candidates,
        "parameters": sum(p.numel() for p in model.parameters()),
        **memory,
        "peak_mb": peak_mb(),
        "loaded_mb": round(before),
    }


def _in_child(name: str, folder: Path, threads: int) -> dict[str, Any]:
    return in_child("baselines", "--child", name, "--dataset", folder, "--threads", threads)


def by_loop(dataset: PreparedDataset, samples: Samples) -> dict[str, IntArray]:
    """The items of the three histories, (B, HISTORY) each, sample by sample as a usual ``collate_fn`` does."""
    histories = {name: np.zeros((len(samples), HISTORY), np.int64) for name in (REC, SRC, MIXED)}
    item, behavior = dataset.events.item, dataset.events.behavior
    for row in range(len(samples)):
        events = range(samples.history_start[row], samples.history_end[row])
        for name, wanted in ((REC, (0,)), (SRC, (1,)), (MIXED, (0, 1))):
            latest = [int(item[number]) for number in events if behavior[number] in wanted][-HISTORY:]
            histories[name][row, HISTORY - len(latest) :] = latest
    return histories


def compare_with_loop(dataset: PreparedDataset, **more: Any) -> None:
    """Check that the collator equals a loop over samples, and measure how much faster it is."""
    samples = dataset.samples("train")
    samples = samples.take(np.random.default_rng(0).integers(len(samples), size=BATCH))
    collator = Collator(dataset, FIELDS - {TEXT}, HISTORY, Lexicon.build(dataset, None))
    batch = collator.build(samples, samples.item[:, None])
    for name, expected in by_loop(dataset, samples).items():
        items = getattr(batch, name).item.numpy()
        np.testing.assert_array_equal(items, expected[:, HISTORY - items.shape[1] :])
    tell(
        f"{BATCH} samples with every field, words too, against a loop over samples that gathers only the items",
        seconds(lambda: collator.build(samples, samples.item[:, None])),
        seconds(lambda: by_loop(dataset, samples)),
        **more,
    )


def main() -> None:
    known = (*BASELINES, *OURS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"all where none is given: {', '.join(known)}")
    parser.add_argument("--users", type=int, default=10_300, help="generated users, a third as many items")
    parser.add_argument("--dataset", type=Path, help="a prepared folder in place of generated data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.child:
        print(json.dumps(measure(given.child, given.dataset)))
        return
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no model is called {', '.join(unknown)}; choose from {', '.join(known)}")
    if given.dataset:
        dataset = PreparedDataset.open(given.dataset)
    else:
        dataset, _ = prepared(users=given.users, items=max(800, given.users // 3))
    results = []
    for name in given.names or known:
        results.append(_in_child(name, dataset.folder, given.threads))
        print(json.dumps(results[-1]), flush=True)
    over = {row["system"]: row["data_share"] for row in results if row["data_share"] > ALLOWED}
    compare_with_loop(dataset, data_share_above_allowed=over, threads=given.threads)


if __name__ == "__main__":
    main()
