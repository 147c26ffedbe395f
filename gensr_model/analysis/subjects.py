"""What an analysis needs of a model: the model, its batch builder, and one output per sample."""

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

OURS = "gensr"  # the model that the others are compared with


class Subject(NamedTuple):
    """A model to analyse. Its ``score(batch)`` gives (B, C) log-odds.

    ``hidden(batch)``, where there is one, gives (B, C, d) states after all layers that the tasks share.
    """

    model: nn.Module
    builder: Builder


def load(folder: Path, dataset: PreparedDataset) -> Subject:
    """The model of a bundle: GenSR, the two-head model, or a registered baseline with its own kind of batches.

    Raises:
        DataError: the bundle belongs to no registered baseline, or to another dataset.
    """
    if bundle.kind(folder) == "baseline":
        trained = baseline.load(folder, BASELINES[name_of(folder)], dataset)
        return Subject(trained.model.to(default_device()), trained.collator)
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    return Subject(loaded.model.to(default_device()), BatchBuilder(dataset, loaded.config.max_history))


def name_of(folder: Path) -> str:
    """The name of a bundle's model in tables: its kind, or a baseline's name in the registry.

    Raises:
        DataError: no registered baseline has the title in the bundle.
    """
    kind = bundle.kind(folder)
    if kind != "baseline":
        return kind
    title = json.loads((folder / baseline.CONFIG).read_text(encoding="utf-8"))["title"]
    for name, system in BASELINES.items():
        if system.title == title:
            return name
    raise DataError(
        f"{folder} is a bundle of {title}, which gensr_model/baselines/registry.py does not list. "
        "Register the baseline, or give another folder."
    )


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
