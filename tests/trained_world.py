"""A dataset with a CF table and all three trained models, made once for all analyses."""

from __future__ import annotations

from pathlib import Path

import torch
from small_dataset import write_dataset

from gensr_model.analysis import subjects
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, cross_fit
from gensr_model.training.finetune import finetune, train_two_head


class World:
    """Where everything is that an analysis reads."""

    def __init__(self, root: Path, config: PipelineConfig) -> None:
        torch.set_num_threads(1)
        self.config, self.dataset, self.cf = config, write_dataset(root / "prepared"), root / "cf"
        self.bundles = {name: root / name for name in ("gensr", "two_head", "unisar")}
        for folder in (self.cf, *self.bundles.values()):
            folder.mkdir()
        cross_fit.pretrain(self.dataset, config, self.cf, NullReport())
        for name, train in (("gensr", finetune), ("two_head", train_two_head)):
            train(self.dataset, self.cf, config, root / f"{name}-steps", self.bundles[name], NullReport())
        out, steps = self.bundles["unisar"], root / "unisar-steps"
        baseline.train(BASELINES["unisar"], {}, self.dataset, config, steps, out, NullReport())
        self.subjects = {name: subjects.load(folder, self.dataset) for name, folder in self.bundles.items()}

    def with_analysis(self, **changes: float) -> PipelineConfig:
        """The config with some fields of its analysis replaced."""
        analysis = self.config.analysis.model_copy(update=changes)
        return self.config.model_copy(update={"analysis": analysis})
