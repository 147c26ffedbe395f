"""The last and the best checkpoint of a training: safetensors and JSON, written to a temporary name and renamed."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from gensr_model.errors import TrainingError
from gensr_model.runtime.files import load_module_tensors, module_tensors, read_tensors, write_json, write_tensors

LAST = "last"
BEST = "best.safetensors"


class Progress(NamedTuple):
    """The state of a training, except its weights."""

    step: int = 0
    best_metric: float = -math.inf
    bad_validations: int = 0
    validations: list[dict[str, float]] = []  # noqa: RUF012  # never mutated: replaced
    curve: list[dict[str, float]] = []  # noqa: RUF012  # as ``trainer.on_curve`` makes it


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the checkpoint ``last``. The previous one stays until the new one is complete.

    Raises:
        TrainingError: the folder cannot be written or the disk is full; the last good checkpoint stays.
    """
    for stale in folder.glob(f"{LAST}.tmp-*"):  # of a killed run
        shutil.rmtree(stale, ignore_errors=True)
    aside = folder / f"{LAST}.tmp-{os.getpid()}"
    with _explained(f"the checkpoint of step {progress.step}", folder), _removed_on_error(aside):
        aside.mkdir(parents=True)
        write_tensors(aside / "model.safetensors", module_tensors(model))
        state = optimizer.state_dict()["state"]
        write_tensors(
            aside / "optimizer.safetensors",
            {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()},
        )
        write_json(aside / "progress.json", progress._asdict())
        old = folder / f"{LAST}.old"
        shutil.rmtree(old, ignore_errors=True)
        if (folder / LAST).exists():
            (folder / LAST).rename(old)
        aside.rename(folder / LAST)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _explained(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{what} cannot be written to {folder} ({error}). Free some space, or set GENSR_HOME to "
            "another disk, and run again: training resumes from the last good checkpoint."
        ) from error


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    """Remove a half-written checkpoint after an error, to free the disk."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Load the last complete checkpoint into model and optimizer. None where there is none."""
    last = folder / LAST
    if not last.exists() and (folder / f"{LAST}.old").exists():
        last = folder / f"{LAST}.old"  # killed between the two renames of ``save``
    if not last.exists():
        return None
    load_module_tensors(model, read_tensors(last / "model.safetensors"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in read_tensors(last / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**json.loads((last / "progress.json").read_text(encoding="utf-8")))


def save_best(folder: Path, model: nn.Module) -> None:
    """Save the current weights as the best so far. Raises TrainingError as ``save`` does."""
    with _explained("the best weights so far", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / BEST, module_tensors(model))


def load_best(folder: Path, model: nn.Module) -> None:
    """Load the best weights so far."""
    load_module_tensors(model, read_tensors(folder / BEST))
