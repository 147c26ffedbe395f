"""Training steps: samples per second and peak memory, ours against a row per user and candidate.

Each side in a process of its own. No dropout, so that both must walk through the same losses.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from benchmarks.common import prepared, tell
from benchmarks.plain import Plain, collate
from gensr_model.config import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models.gensr import GenSR
from gensr_model.models.views import distinct_users
from gensr_model.report import NullReport
from gensr_model.training import bundle, lightgcn

STEPS, BATCH, NEGATIVES, WARM = 10, 64, 4, 2
Step = Callable[[Samples, IntArray], Tensor]


def without_dropout(config: PipelineConfig) -> PipelineConfig:
    """The same shape, dropout 0."""
    backbone = config.model.backbone.model_copy(update={"dropout": 0.0})
    model = config.model.model_copy(update={"backbone": backbone, "view_dropout": 0.0})
    return config.model_copy(update={"model": model})


def side(name: str, dataset: PreparedDataset, model: GenSR, width: int) -> tuple[torch.nn.Module, Step]:
    """What is trained, and the loss of a batch of samples with their candidates."""
    builder = BatchBuilder(dataset, width)
    if name == "ours":
        return model, lambda samples, lists: model.loss(builder.build(samples, lists)).total
    plain = Plain(model)

    def loss(samples: Samples, lists: IntArray) -> Tensor:
        user, end = torch.from_numpy(samples.user), torch.from_numpy(samples.history_end)
        has_history = torch.from_numpy(samples.history_end > samples.history_start)
        first = distinct_users(user, end, has_history).rows * lists.shape[1]
        return plain.loss(collate(dataset, samples, lists, width), first)

    return plain, loss


def child(name: str, folder: Path, config: PipelineConfig) -> dict[str, Any]:
    """Train for some steps; losses, seconds per step, and how far memory rose above the loaded model."""
    dataset = PreparedDataset.open(folder)
    model, _ = bundle.assemble("gensr", dataset, folder, config)
    assert isinstance(model, GenSR)
    trained, loss_of = side(name, dataset, model, config.model.max_history)
    trained.train()
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-3)
    samples, rng = dataset.samples("train"), np.random.default_rng(0)
    losses, times = [], []
    before = psutil.Process().memory_info().rss
    for _ in range(STEPS):
        chosen = samples.take(rng.integers(len(samples), size=BATCH))
        lists = np.column_stack([chosen.item, rng.integers(dataset.n_items, size=(BATCH, NEGATIVES))])
        begun = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(chosen, lists)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begun)
        losses.append(loss.item())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"losses": losses, "step_s": min(times[WARM:]), "peak_mb": (peak - before) / 2**20}


def run(name: str, folder: Path, config: PipelineConfig) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.train", name, str(folder), config.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    dataset, config = prepared(users=1_000, items=800)
    config = without_dropout(config)
    few = config.lightgcn.model_copy(update={"epochs": 2})
    lightgcn.pretrain(dataset, few, 0, dataset.folder, NullReport())
    ours, other = (run(name, dataset.folder, config) for name in ("ours", "other"))
    np.testing.assert_allclose(ours["losses"], other["losses"], rtol=1e-3)
    tell(
        "a training step, against a row per user and candidate", ours["step_s"], other["step_s"],
        samples_per_s=round(BATCH / ours["step_s"]), other_samples_per_s=round(BATCH / other["step_s"]),
        peak_mb=round(ours["peak_mb"]), other_peak_mb=round(other["peak_mb"]),
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(
            json.dumps(child(sys.argv[1], Path(sys.argv[2]), PipelineConfig.model_validate_json(sys.argv[3])))
        )
    else:
        main()
