"""A dataset with a CF table and both trained models, made once for all analyses."""

from __future__ import annotations

from pathlib import Path

import torch
from small_dataset import write_dataset

from gensr_model.analysis import subjects
from gensr_model.config import PipelineConfig
from gensr_model.report import NullReport
from gensr_model.training import lightgcn
from gensr_model.training.finetune import finetune, train_two_head


class World:
    """Where everything is that an analysis reads."""

    def __init__(self, root: Path, config: PipelineConfig) -> None:
        torch.set_num_threads(1)
        self.config, self.dataset, self.cf = config, write_dataset(root / "prepared"), root / "cf"
        self.bundles = {"gensr": root / "gensr", "two_head": root / "two_head"}
        for folder in (self.cf, *self.bundles.values()):
            folder.mkdir()
        lightgcn.pretrain(self.dataset, config.lightgcn, config.seed, self.cf, NullReport())
        for name, train in (("gensr", finetune), ("two_head", train_two_head)):
            train(self.dataset, self.cf, config, root / f"{name}-steps", self.bundles[name], NullReport())

        self.subjects = {name: subjects.load(folder, self.dataset) for name, folder in self.bundles.items()}

    def with_analysis(self, **changes: float) -> PipelineConfig:
        """The config with some fields of its analysis replaced."""
        analysis = self.config.analysis.model_copy(update=changes)
        return self.config.model_copy(update={"analysis": analysis})
