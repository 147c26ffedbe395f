"""Training that ends an epoch after some steps, with everything else as in a stage, and what its steps cost."""

from __future__ import annotations

import math
import os
import time
from typing import Any, NamedTuple
from unittest.mock import patch

from gensr_model.data.prepared import Samples
from gensr_model.training.trainer import TrainingData


class Moment(NamedTuple):
    """Seconds of the clock, and of the processor with those of ended children."""

    wall: float
    cpu: float

    def since(self, earlier: Moment) -> Moment:
        return Moment(self.wall - earlier.wall, self.cpu - earlier.cpu)


def now() -> Moment:
    times = os.times()
    return Moment(time.perf_counter(), times.user + times.system + times.children_user + times.children_system)


class Phase:
    """The batches of one phase of training: when each began, and how many a whole epoch has."""

    def __init__(self, batches_per_epoch: int) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.began: list[Moment] = []

    def per_step(self) -> Moment:
        """The mean cost between the first and the last batch."""
        cost = self.began[-1].since(self.began[0])
        return Moment(*(value / max(1, len(self.began) - 1) for value in cost))


class ShortEpochs:
    """Within its block every epoch has at most ``steps`` batches of the order that a whole epoch has.

    It is also the stage's report, because a validation's metrics tell when the validation ended.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.phases = steps, list[Phase]()
        self.validation = Moment(0.0, 0.0)

    def __enter__(self) -> ShortEpochs:
        whole, limit, batch, phases = _batches, self.steps, TrainingData.batch, self.phases

        def recorded(data: TrainingData, number: int) -> tuple[Samples, Any]:
            if number == 0:
                phases.append(Phase(whole(data)))
            phases[-1].began.append(now())
            return batch(data, number)

        self._patches = (
            patch.object(TrainingData, "batches_per_epoch", property(lambda data: min(limit, whole(data)))),
            patch.object(TrainingData, "batch", recorded),
        )
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._patches:
            each.stop()

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Notes the end of a validation."""
        del step
        if any(name.startswith("valid/") for name in values):
            last = self.phases[-1]
            spent = now().since(last.began[-1])
            self.validation = Moment(*(a - b for a, b in zip(spent, last.per_step(), strict=True)))

    def progress(self, done: int, total: int, note: str) -> None:
        """Ignored."""

    def summary(self, spent: Moment, epochs: list[int], validations: int) -> dict[str, Any]:
        """Cost of a step, and of the whole training with these ``epochs`` of each phase.

        Args:
            spent: by the stage, which validated once.
            validations: in the whole training.
        """
        steps = sum(len(phase.began) for phase in self.phases)
        inside = sum(phase.per_step().cpu * len(phase.began) for phase in self.phases)
        later = sum(p.per_step().cpu * p.batches_per_epoch * n for p, n in zip(self.phases, epochs, strict=True))
        return {
            "steps_done": steps,
            "step_ms": round(1_000 * inside / steps, 2),
            "validation_s": round(self.validation.cpu, 2),
            "whole_s": round(spent.cpu - inside + later + self.validation.cpu * (validations - 1), 1),
            "whole_steps": sum(p.batches_per_epoch * n for p, n in zip(self.phases, epochs, strict=True)),
        }


def _batches(data: TrainingData) -> int:
    return math.ceil(len(data.samples) / data.config.batch_size)
