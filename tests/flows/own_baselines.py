"""Baselines from outside the package, as a user has them: one that works, and some that end badly."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

import psutil
import torch
from torch import Tensor

from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import BaselineBatch, Domain
from gensr_model.config.base import TASKS, Task
from gensr_model.models import losses
from gensr_model.models.base import LossParts


class Bias(Baseline):
    """One number per item."""

    reads: ClassVar[frozenset[str]] = frozenset()
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(domain.n_items))

    def score(self, batch: BaselineBatch) -> Tensor:
        return self.bias[batch.candidates]

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({"bce": losses.bce(self.score(batch))})


class Broken(Bias):
    def loss(self, batch: BaselineBatch) -> LossParts:
        raise ZeroDivisionError("no | way\nto train this")


class Killed(Bias):
    def loss(self, batch: BaselineBatch) -> LossParts:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)


class KilledAtRanking(Bias):
    """Can be trained, but not ranked in a process that has not trained it."""

    learned = False

    def loss(self, batch: BaselineBatch) -> LossParts:
        self.learned = True
        return super().loss(batch)

    def score(self, batch: BaselineBatch) -> Tensor:
        if not (self.training or self.learned):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(batch)


class Deadly(Bias):
    """Ends the worker that had it trained, which may have a server of forks between them."""

    def loss(self, batch: BaselineBatch) -> LossParts:
        above = (p for p in psutil.Process().parents() if "forkserver" not in " ".join(p.cmdline()))
        os.kill(next(above).pid, signal.SIGKILL)
        return super().loss(batch)
