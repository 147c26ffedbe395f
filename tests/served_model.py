"""Untrained models behind the HTTP server, for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_dataset import SMALL_CONFIG, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.models import bundle, user_store
from gensr_model.runtime.files import read_tensors, write_tensors
from gensr_model.serving.http.versions import Served, UnknownVersion


def save_bundle(root: Path, kind: str = "gensr", seed: int = 0) -> Path:
    """The bundle of an untrained model in a new folder of ``root``, ready to serve."""
    folder = root / f"{kind}-{seed}"
    folder.mkdir(parents=True)
    dataset, cf = write_dataset(folder / "prepared"), write_cf(folder / "cf")
    config = PipelineConfig.model_validate(SMALL_CONFIG | {"seed": seed})
    made = folder / "bundle"
    made.mkdir()
    model, tokenizer = bundle.assemble(kind, dataset, cf, config)
    bundle.save(made, kind, model, tokenizer, dataset, config)
    user_store.save(made, dataset, cf, config.model.max_history)
    return made


def spoil(folder: Path) -> None:
    """Make every weight of a bundle NaN."""
    weights = read_tensors(folder / bundle.WEIGHTS)
    spoiled = {name: torch.full_like(value, torch.nan) for name, value in weights.items() if value.is_floating_point()}
    write_tensors(folder / bundle.WEIGHTS, weights | spoiled)


class Folders:
    """A ``Source`` of bundle folders by version: (bundle, catalogue). ``alias`` is the champion."""

    model = "gensr-tiny"

    def __init__(self, folders: dict[str, tuple[Path, Path | None]], alias: str) -> None:
        self.folders, self.alias = folders, alias
        self.loaded: list[str] = []

    def champion(self) -> str | None:
        return self.alias

    def load(self, version: str) -> Served:
        if version not in self.folders:
            raise UnknownVersion(f"{self.model} has no version {version}.")
        self.loaded.append(version)
        return Served.open(self.model, version, *self.folders[version], f"http://127.0.0.1:5000/#/{version}")

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"version": version, "aliases": ["champion"] * (version == self.alias), "created": None, "outcome": None,
             "run_url": None}
            for version in self.folders
        ]  # fmt: skip
