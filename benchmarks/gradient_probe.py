"""The cost of the gradient probe (§6.5) in training, at the configured interval, for every model with probes.

It is the processor time of one probe and of one optimizer step, in turn on the same batches. The last line is one JSON
object.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import prepared
from gensr_model.baselines.inputs import Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.words import Lexicon
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import bundle
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, lightgcn
from gensr_model.training.gradient_probe import task_gradient_cosine
from gensr_model.training.trainer import TrainingData, make_optimizer

_STEPS, _LIMIT = 20, 0.05


def watched(kind: str, dataset: PreparedDataset, cf: Path, config: PipelineConfig) -> tuple[Any, TrainingData]:
    """A new model with ``task_losses`` and ``conflict_parameters``, and its training batches."""
    if kind != "unisar":
        model, _ = bundle.assemble(kind, dataset, cf, config)
        return model, TrainingData(dataset, config.train, config.model.max_history, config.seed)
    system = BASELINES[kind]
    collator = Collator(dataset, system.reads, config.model.max_history, Lexicon.build(dataset, None))
    settings = baseline.training_settings(config, {})
    data = TrainingData(dataset, settings, config.model.max_history, config.seed, builder=collator)
    return baseline.build(system, {}, collator), data


def cost(kind: str, dataset: PreparedDataset, cf: Path, config: PipelineConfig) -> dict[str, float]:
    """Milliseconds of a step and of a probe, and the probe's share of training time."""
    model, data = watched(kind, dataset, cf, config)
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], config.train)

    def step(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(data.batch(number)[1]).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
        optimizer.step()

    def taken(work: Callable[[], object]) -> float:
        begun = time.process_time()
        work()
        return 1_000 * (time.process_time() - begun)

    steps, probes = [], []
    for number in range(_STEPS + 2):
        steps.append(taken(lambda: step(number)))  # noqa: B023  # called at once
        batch = data.random_batch(number)
        probes.append(taken(lambda: task_gradient_cosine(model, batch, model.conflict_parameters())))  # noqa: B023
    one, probe = statistics.median(steps[2:]), statistics.median(probes[2:])
    share = probe / (probe + config.analysis.gradient_every * one)
    return {"step_ms": round(one, 1), "probe_ms": round(probe, 1), "share": round(share, 4)}


def main() -> None:
    dataset, config = prepared(users=600, items=500)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as name:
        few = config.lightgcn.model_copy(update={"epochs": 2})
        lightgcn.pretrain(dataset, few, 0, Path(name), NullReport())
        costs = {kind: cost(kind, dataset, Path(name), config) for kind in ("gensr", "two_head", "unisar")}
    every = config.analysis.gradient_every
    for kind, row in costs.items():
        print(f"{kind}: a step {row['step_ms']} ms, a probe {row['probe_ms']} ms, {row['share']:.1%} of training")
    print(
        json.dumps(
            {
                "claim": f"a gradient probe every {every} steps costs at most 5% of training",
                "holds": all(row["share"] <= _LIMIT for row in costs.values()),
                "models": costs,
            }
        )
    )


if __name__ == "__main__":
    main()
