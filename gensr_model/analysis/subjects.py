"""What an analysis needs of a model: the model, what makes its batches, and one of its outputs per sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gensr_model.analysis.features import Pairs
from gensr_model.baselines.registry import BASELINES
from gensr_model.data.batches import BatchBuilder, Builder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.models import bundle
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import default_device
from gensr_model.training import baseline

OURS = "gensr"  # whom the others are compared with


class Subject(NamedTuple):
    """A model to analyse. Its ``score(batch)`` gives (B, C) log-odds; ``hidden(batch)``, where there is one, (B, C, d)
    states after all that the tasks share."""

    model: nn.Module
    builder: Builder


def load(folder: Path, dataset: PreparedDataset) -> Subject:
    """The model of a bundle: GenSR, two heads, or a registered baseline, which has batches of its own kind.

    Raises:
        DataError: a baseline's bundle is of no registered system, or of another dataset.
    """
    if bundle.kind(folder) == "baseline":
        trained = baseline.load(folder, BASELINES[name_of(folder)], dataset)
        return Subject(trained.model.to(default_device()), trained.collator)
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    return Subject(loaded.model.to(default_device()), BatchBuilder(dataset, loaded.config.max_history))


def name_of(folder: Path) -> str:
    """What tables and numbers call the model of a bundle: its kind, or of a baseline its name in the registry.

    Raises:
        DataError: no registered system has the title that a baseline's bundle has.
    """
    kind = bundle.kind(folder)
    if kind != "baseline":
        return kind
    title = json.loads((folder / baseline.CONFIG).read_text(encoding="utf-8"))["title"]
    for name, system in BASELINES.items():
        if system.title == title:
            return name
    raise DataError(f"{folder}: a bundle of {title}, which is no system of gensr_model/baselines/registry.py")


@deterministic()
@torch.inference_mode()
def read(subject: Subject, what: Literal["score", "hidden"], pairs: Pairs, batch_size: int) -> npt.NDArray[np.float32]:
    """The score (N,) or the state (N, d) of every pair's chosen candidate, without dropout."""
    model = subject.model.eval()
    wanted = pairs.candidates[np.arange(len(pairs.chosen)), pairs.chosen][:, None]
    parts = []
    for start in range(0, len(wanted), batch_size):
        rows = np.arange(start, min(start + batch_size, len(wanted)))
        batch = subject.builder.build(pairs.samples.take(rows), wanted[rows]).to(bundle.device_of(model))
        parts.append(getattr(model, what)(batch)[:, 0].float().cpu())
    values: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return values
