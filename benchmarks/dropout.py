"""Steps of GenSR's training with dropout from 16-bit draws, against ``nn.Dropout``: the same batches and weights.

Processor time of a step of either kind, in turn. Equal outputs are asserted where outputs can be equal: without
dropout, and of the mean of either kind's mask. The last line is one JSON object.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.common import prepared
from gensr_model.models import bundle
from gensr_model.models.dropout import Dropout, use_fast_dropout
from gensr_model.runtime.progress import NullReport
from gensr_model.training import lightgcn
from gensr_model.training.trainer import TrainingData

_STEPS, _SHARE = 20, 0.1


def step(model: nn.Module, batch: object) -> float:
    """Milliseconds of processor time of one forward and backward pass."""
    begun = time.process_time()
    model.zero_grad(set_to_none=True)
    model.loss(batch).total.backward()  # type: ignore[operator]
    return 1_000 * (time.process_time() - begun)


def main() -> None:
    dataset, config = prepared(users=600, items=500)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as name:
        few = config.lightgcn.model_copy(update={"epochs": 2})
        lightgcn.pretrain(dataset, few, 0, Path(name), NullReport())
        plain, _ = bundle.assemble("gensr", dataset, Path(name), config)
    ours = copy.deepcopy(plain)
    use_fast_dropout(ours)
    data = TrainingData(dataset, config.train, config.model.max_history, config.seed)
    batch = data.batch(0)[1]
    assert torch.equal(plain.eval().score(batch), ours.eval().score(batch))  # type: ignore[operator]
    ones = torch.ones(4_000_000)
    dropped = [float((layer(ones) == 0).float().mean()) for layer in (nn.Dropout(_SHARE), Dropout(_SHARE))]
    assert all(abs(share - _SHARE) < 1e-3 for share in dropped), dropped
    plain.train()
    ours.train()
    taken: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(_STEPS + 2):
        _, batch = data.batch(number % data.batches_per_epoch)
        taken["plain"].append(step(plain, batch))
        taken["ours"].append(step(ours, batch))
    found = {kind: statistics.median(values[2:]) for kind, values in taken.items()}
    print(f"a step takes {found['ours']:.0f} ms of processor time, with nn.Dropout {found['plain']:.0f} ms")
    print(json.dumps({"speedup": round(found["plain"] / found["ours"], 3), **found}))


if __name__ == "__main__":
    main()
