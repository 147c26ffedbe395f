"""TIGER on Beauty, by training budget.

The learning rate is constant, then falls with one over the square root of the step, as published. No step depends on
the budget, so a budget resumes from the checkpoint of a smaller one. Because the rate does not fall to zero, the
running mean of the weights is ranked. Of the means up to a budget's end, the best one on some valid samples counts.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.published.protocol import Row, catalogue_metrics, rounded, state_folder
from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import Collator
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.base import Frozen
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.models.dropout import use_fast_dropout
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.progress import NullReport
from gensr_model.semantic_ids.codes import FILE, read_codes
from gensr_model.training import baseline, checkpoint
from gensr_model.training.checkpoint import Progress
from gensr_model.training.semantic_ids import make_semantic_ids
from gensr_model.training.trainer import Loss, TrainingData, make_accelerator, make_optimizer, train_step

_SPEC = BASELINES["tiger"]


class Settings(Frozen):
    """Sizes for two cores: 1.8M weights.

    The published model has 4 + 4 layers, 6 heads of 64, and 1,024 inner units.
    """

    vectors: str = Field("tfidf", description="as semantic_ids.vectors: tfidf, or the folder of a T5")
    method: str = Field("rq_vae", description="as semantic_ids.method")
    codes: int = 256
    dim: int = 128
    layers: int = Field(3, description="of the encoder, and of the decoder")
    dropout: float = 0.1
    latest: int = Field(20, description="items of the history that are read")
    batch_size: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    constant_steps: int = Field(10_000, description="after them the learning rate falls")
    mean: float = Field(0.999, description="decay of the running mean of the weights")
    validate_every: int = Field(2_000, description="steps")
    valid_samples: int = Field(4_000, description="on which the best mean is chosen")

    def shown(self) -> dict[str, Any]:
        """As a line of results has it: a T5's folder by its name alone."""
        return self.model_dump() | {"vectors": Path(self.vectors).name}

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        falling = (self.constant_steps / max(step, self.constant_steps)) ** 0.5
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * falling


class Run(nn.Module):
    """The weights, their running mean, the best mean, and the CPU seconds: one checkpoint has all of them."""

    cpu_s: Tensor

    def __init__(self, model: Baseline, decay: float) -> None:
        super().__init__()
        self.model = model
        self.mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.best = copy.deepcopy(model)
        self.register_buffer("cpu_s", torch.zeros((), dtype=torch.float64))


class Training:
    """A training that ``advance`` takes to a step, from the last checkpoint in the folder."""

    def __init__(self, dataset: PreparedDataset, settings: Settings, folder: Path) -> None:
        self.dataset, self.settings, self.folder, config = dataset, settings, folder, PipelineConfig()
        codes = item_codes(dataset, settings, folder)
        self.collator = Collator(dataset, _SPEC.reads, settings.latest, None)
        layers = {"layers": settings.layers, "decoder_layers": settings.layers}
        point = settings.model_dump(include={"dim", "dropout", "latest", "batch_size", "learning_rate"}) | layers
        torch.manual_seed(config.seed)
        model = baseline.build(_SPEC, point, self.collator)
        model.receive("codes", codes)
        use_fast_dropout(model)
        self.seed, self.config = config.seed, baseline.training_settings(config, point, _SPEC.model.negatives)
        self.data = TrainingData(
            dataset, self.config, settings.latest, self.seed, builder=self.collator, tasks=_SPEC.tasks, min_history=1
        )
        self.run, self.loss, self.accelerator = Run(model, settings.mean), Loss(model), make_accelerator("no")
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(self.parameters, self.config)
        self.progress = checkpoint.restore(folder / "training", self.run, self.optimizer) or Progress()

    @deterministic()
    def advance(self, budget: int) -> None:
        """Train until ``budget`` steps are done, with a checkpoint at every validation and between them."""
        every, losses, since = self.settings.validate_every, [], time.process_time()
        while self.progress.step < budget:
            step = self.progress.step
            self.run.model.train()
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.rate(step)
            given = (self.loss, self.optimizer, self.parameters, self.data, self.config, self.seed, step)
            losses.append(train_step(*given, self.accelerator, None)["loss"])
            self.run.mean.update_parameters(self.run.model)
            self.progress = self.progress._replace(step=step + 1)
            if valid := self.progress.step % every == 0:
                self._validate(float(np.mean(losses)))
                losses = []
            if valid or self.progress.step % max(1, every // 4) == 0:
                self.run.cpu_s += time.process_time() - since
                since = time.process_time()
                checkpoint.save(self.folder / "training", self.run, self.optimizer, self.progress)

    def _validate(self, loss: float) -> None:
        metrics = self.metrics(self.run.mean.module, "valid", self.settings.valid_samples)
        entry = {"step": float(self.progress.step), "loss": loss, **metrics}
        self.progress = self.progress._replace(validations=[*self.progress.validations, entry])
        if metrics["ndcg_at_10"] > self.progress.best_metric:
            self.progress = self.progress._replace(best_metric=metrics["ndcg_at_10"])
            self.run.best.load_state_dict(self.run.mean.module.state_dict())
        print(json.dumps(rounded(entry)), f"{float(self.run.cpu_s):.0f} s", flush=True)

    def metrics(self, model: Baseline, split: Any, most: int | None = None) -> dict[str, float]:
        """Metrics over the catalogue; nothing is masked."""
        return catalogue_metrics(model, self.collator, self.dataset, split, False, most)


def item_codes(dataset: PreparedDataset, settings: Settings, folder: Path) -> Tensor:
    """(I, 4) semantic ids, made once: 3 codes and a number. Their text has the categories, as in the paper."""
    codes, steps = folder / "codes", folder / "codes-steps"
    if not (codes / FILE).is_file():
        codes.mkdir(parents=True, exist_ok=True)
        steps.mkdir(exist_ok=True)
        asked = settings.model_dump(include={"vectors", "method", "codes"})
        config = {"semantic_ids": asked, "model": {"text": {"include_category": True}}}
        make_semantic_ids(dataset, None, PipelineConfig.model_validate(config), steps, codes, NullReport())
    return torch.from_numpy(read_codes(codes, dataset))


def measure(dataset: PreparedDataset, settings: Settings, budgets: Sequence[int], state: Path) -> Iterator[Row]:
    """A row for each budget of steps, smallest first: whole valid and test splits at the best mean so far.

    Raises:
        ConfigError: a budget ends between two validations, or the checkpoint is beyond it.
    """
    if uneven := [budget for budget in budgets if budget % settings.validate_every]:
        raise ConfigError(
            f"--budget {uneven[0]}: give a multiple of {settings.validate_every} steps, which are validated"
        )
    training = Training(dataset, settings, state_folder(state, "tiger", settings.shown()))
    for budget in sorted(budgets):
        if training.progress.step > budget:
            raise ConfigError(
                f"--budget {budget}: the checkpoint in {training.folder} has {training.progress.step} steps, and its "
                "best weights may be later ones. Give a larger budget, or another --state"
            )
        training.advance(budget)
        validations = training.progress.validations
        yield {
            "system": "tiger", "of": "tiger", "settings": settings.shown(), "budget": budget, "steps": budget,
            "best_step": round(max(validations, key=lambda entry: entry["ndcg_at_10"])["step"]),
            "cpu_s": round(float(training.run.cpu_s)),
            **{split: training.metrics(training.run.best, split) for split in ("valid", "test")},
        }  # fmt: skip
