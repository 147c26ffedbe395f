"""Tune, train, probe, save and rank a baseline with the trainer, sampler, early stopping and evaluator of GenSR."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gensr_model.baselines.base import Baseline, BaselineSpec
from gensr_model.baselines.inputs import READS_WORDS, TEXT, BaselineBatch, Collator
from gensr_model.baselines.words import Lexicon
from gensr_model.config.base import Split, Task, digest
from gensr_model.config.model import TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import Builder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.scoring import Lists, lists_of, rank_samples
from gensr_model.models import losses
from gensr_model.models.base import ProbedModel
from gensr_model.runtime import distributed
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.files import load_module_tensors, module_tensors, read_tensors, write_json, write_tensors
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training import tuning
from gensr_model.training.fitting import GradientLog, fit_metrics, validation_metrics
from gensr_model.training.hyperparameters import MIN_HISTORY, OF_TRAINER
from gensr_model.training.trainer import FitResult, TrainingData, fit, make_accelerator

CONFIG, WEIGHTS, WORDS, ITEMS = "config.json", "model.safetensors", "words.json", "items.parquet"
_SCORED_TOGETHER = 256  # samples
_CHECKPOINT_EVERY = 1_000  # steps; a baseline's are short


Needs = dict[str, Any]  # values by the names in ``Baseline.needs``, for ``Baseline.receive``


class Loaded(NamedTuple):
    """A baseline that is ready to score samples of its training dataset."""

    model: Baseline
    collator: Collator


class Validation(ABC):
    """Metrics of a model on fixed validation samples.

    ``metric`` is the mean of ``chosen_by`` over the model's tasks.
    """

    chosen_by: ClassVar[str]  # the metric that chooses weights and hyperparameters

    def __init__(
        self,
        model: Baseline,
        dataset: PreparedDataset,
        collator: Collator,
        tasks: tuple[Task, ...],
        config: PipelineConfig,
    ) -> None:
        self.model, self.dataset, self.collator, self.tasks, self.config = model, dataset, collator, tasks, config

    @abstractmethod
    def ranks(self) -> pa.Table:
        """Ranks of the samples by the model's current weights."""

    def __call__(self) -> dict[str, float]:
        return validation_metrics(self.ranks(), self.chosen_by)


class CandidateValidation(Validation):
    """Validation among the frozen candidates of each sample."""

    chosen_by = "ndcg_at_5"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.lists = _lists(self.dataset, "valid", self.tasks, self.config.train.valid_samples, self.config)

    def ranks(self) -> pa.Table:
        return rank_samples(self.model, self.collator, self.lists, _SCORED_TOGETHER, NullReport())


def tune(
    spec: BaselineSpec,
    dataset: PreparedDataset,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
    needs: Needs | None = None,
    validation: type[Validation] = CandidateValidation,
) -> dict[str, float]:
    """Try ``rerank.trials`` points of the baseline's grid for ``rerank.trial_epochs`` each, with the configured seed.

    ``validation`` measures each trial. The function writes ``tuning.json``: the chosen point and all trials. A finished
    trial does not run again after a crash.
    """
    lexicon, tried = lexicon_of(spec, dataset, config.model.text), checkpoints / "trials"
    tried.mkdir(parents=True, exist_ok=True)

    def run(number: int, point: tuning.Point) -> float:
        known = tried / f"{number}.json"
        if known.is_file():
            metric: float = json.loads(known.read_text(encoding="utf-8"))["metric"]
        else:
            folder = checkpoints / f"trial-{number}"
            epochs = config.rerank.trial_epochs
            given = (spec, point, dataset, lexicon, config, epochs, folder, NullReport())
            metric = fit_baseline(*given, needs=needs, validation=validation)[1].best_metric
            if not distributed.shard()[0]:
                write_json(known, {"metric": metric})
        report.metrics({"tuning/metric": metric}, number)
        report.progress(number + 1, config.rerank.trials, f"tuning, {point}: {metric:.4f}")
        return metric

    best, trials = tuning.choose(spec.grid, config.rerank.trials, run)
    shown = [t._asdict() | {"metric": t.metric if np.isfinite(t.metric) else None} for t in trials]
    if not distributed.shard()[0]:
        write_json(out / "tuning.json", {"chosen": best.point, "trials": shown})
    return {f"best_valid_{validation.chosen_by}": best.metric, "trials": float(len(trials))}


def chosen(folder: Path) -> tuning.Point:
    """Read the point that ``tune`` wrote."""
    point: tuning.Point = json.loads((folder / "tuning.json").read_text(encoding="utf-8"))["chosen"]
    return point


def train(
    spec: BaselineSpec,
    point: tuning.Point,
    dataset: PreparedDataset,
    config: PipelineConfig,
    checkpoints: Path,
    out: Path,
    report: Report,
    needs: Needs | None = None,
    validation: type[Validation] = CandidateValidation,
) -> dict[str, float]:
    """Train with the hyperparameters of ``point``, resuming from ``checkpoints``.

    Writes the bundle and ``training.json``. A model with a gradient probe also gets ``gradients.json``: a probe every
    ``analysis.gradient_every`` steps (§6.5), which does not change training. The file is empty without probes.
    """
    lexicon = lexicon_of(spec, dataset, config.model.text)
    every = config.analysis.gradient_every if can_be_probed(spec.model) else 0
    model, result, probes = fit_baseline(
        spec, point, dataset, lexicon, config, config.rerank.epochs, checkpoints, report, every, needs, validation
    )
    if not distributed.shard()[0]:
        save(out, spec, point, model, dataset, lexicon, config.model.max_history)
        write_json(out / "training.json", result.repeatable() | {"point": point, "chosen_by": validation.chosen_by})
        if probes is not None:
            write_json(out / "gradients.json", probes.entries())
    return fit_metrics(validation.chosen_by, model, result)


def can_be_probed(model: type[Baseline]) -> bool:
    """Whether a baseline has the methods of the gradient probe."""
    return issubclass(model, ProbedModel)


def fit_baseline(
    spec: BaselineSpec,
    point: tuning.Point,
    dataset: PreparedDataset,
    lexicon: Lexicon | None,
    config: PipelineConfig,
    epochs: int,
    folder: Path,
    report: Report,
    gradient_every: int = 0,
    needs: Needs | None = None,
    validation: type[Validation] = CandidateValidation,
) -> tuple[Baseline, FitResult, GradientLog | None]:
    """Train a new model with the hyperparameters of ``point``, phase by phase.

    Training resumes from the checkpoints in ``folder``. Inputs that the model needs and ``needs`` lacks are random.

    Raises:
        ConfigError: the scores of a loss over the catalogue do not fit into memory.
    """
    collator = Collator(dataset, spec.reads, config.model.max_history, lexicon)
    torch.manual_seed(config.seed)
    model = build(spec, point, collator)
    for name, value in (needs or {}).items():
        model.receive(name, value)
    settings = training_settings(config, point, spec.model.negatives)
    make_accelerator(settings.precision)
    shard = distributed.shard() if spec.model.in_parts else (0, 1)

    def training_data(builder: Builder) -> TrainingData:
        return TrainingData(
            dataset,
            settings,
            collator.max_history,
            config.seed,
            shard,
            builder,
            tasks=spec.tasks,
            by_length=not spec.model.fixed_length,
            min_history=point.get(MIN_HISTORY, 0),
        )

    data = training_data(collator)
    if getattr(model, "item_loss", "") == "catalogue":
        check_memory(spec.title, dataset.n_items, settings.batch_size)
    probes = None
    if isinstance(model, ProbedModel):
        probes = GradientLog(model, data, gradient_every, folder / "gradients", report)
    for phase in model.phases:
        model.enter(phase.name, config.seed)
        buckets = model.buckets()
        rate = settings.learning_rate if phase.learning_rate is None else phase.learning_rate
        result = fit(
            model,
            data if buckets is None else training_data(_ByBucket(collator, buckets)),
            settings.model_copy(update={"learning_rate": rate}),
            seed=config.seed,
            epochs=max(1, round(epochs * phase.share)) if phase.epochs is None else phase.epochs,
            folder=folder / phase.name,
            validate=validation(model, dataset, collator, spec.tasks, config),
            report=report,
            probe=probes,
            accelerator=make_accelerator(settings.precision),
            keep="best" if phase is model.phases[-1] else "last",
        )
    return model, result, probes


class _ByBucket:
    """A builder that sorts samples by a number of their positive (I,) instead of by the length of their history."""

    def __init__(self, collator: Collator, buckets: IntArray) -> None:
        self.collator, self.buckets, self.max_history = collator, buckets, collator.max_history

    def lengths(self, samples: Samples) -> IntArray:
        """(N,) numbers by which samples are grouped into batches."""
        return self.buckets[samples.item]

    def build(self, samples: Samples, candidates: IntArray) -> BaselineBatch:
        """See ``Collator``."""
        return self.collator.build(samples, candidates)


def build(spec: BaselineSpec, point: tuning.Point, collator: Collator) -> Baseline:
    """The model of a baseline with a point's hyperparameters, without those of the trainer."""
    return spec.model(collator.domain, **{k: v for k, v in point.items() if k not in (*OF_TRAINER, MIN_HISTORY)})


def check_memory(title: str, items: int, batch_size: int, free: int | None = None) -> None:
    """Raise ConfigError where a batch's scores over the catalogue need more than the ``free`` bytes of memory."""
    free = psutil.virtual_memory().available if free is None else free
    scored = losses.SAMPLED if items > losses.SAMPLED_ABOVE else items
    needed = 3 * 4 * batch_size * scored  # scores, softmax and gradient in fp32
    if needed > free:
        raise ConfigError(
            f"{title}: a loss over {items} items in batches of {batch_size} needs "
            f"{needed / 2**30:.1f} GiB of memory, but only {free / 2**30:.1f} are free. Choose a "
            "smaller rerank.batch_size."
        )


def training_settings(config: PipelineConfig, point: tuning.Point, negatives: int | None = None) -> TrainConfig:
    """``train`` with the settings of ``rerank`` for baselines, the model's ``negatives``, and the values of the
    point.
    """
    rerank = config.rerank
    changes = {"learning_rate": rerank.learning_rate, "batch_size": rerank.batch_size, "patience": rerank.patience}
    changes |= {} if negatives is None else {"negatives": negatives}
    changes |= {"accumulation": 1, "validations_per_epoch": 1, "checkpoint_every": _CHECKPOINT_EVERY}
    chosen_values = {name: value for name, value in point.items() if name in OF_TRAINER}
    # Only a T5 has blocks to compile.
    return config.train.model_copy(update={"compile": "no"} | changes | chosen_values)


def lexicon_of(spec: BaselineSpec, dataset: PreparedDataset, text: TextConfig) -> Lexicon | None:
    """The words that a baseline reads. None for a baseline without words."""
    if not spec.reads & READS_WORDS:
        return None
    return Lexicon.build(dataset, text if TEXT in spec.reads else None)


def rank(
    folder: Path, spec: BaselineSpec, dataset: PreparedDataset, split: Split, config: PipelineConfig, report: Report
) -> pa.Table:
    """Per-sample ranks of a trained baseline on the frozen candidates of its tasks."""
    loaded = load(folder, spec, dataset)
    loaded.model.to(default_device())
    lists = _lists(dataset, split, spec.tasks, config.evaluation.max_test_samples, config)
    return rank_samples(loaded.model, loaded.collator, lists, _SCORED_TOGETHER, report)


def _lists(
    dataset: PreparedDataset, split: Split, tasks: tuple[Task, ...], most: int | None, config: PipelineConfig
) -> Lists:
    lists = lists_of(dataset, split, config.evaluation.protocol, tasks, most)
    if not len(lists.samples):
        raise DataError(
            f"{dataset.folder}: the protocol {config.evaluation.protocol!r} has no {split} candidates "
            f"for {' or '.join(tasks)}, the only tasks of this model. Choose another "
            "evaluation.protocol, or leave the model out."
        )
    return lists


def save(
    out: Path,
    spec: BaselineSpec,
    point: tuning.Point,
    model: Baseline,
    dataset: PreparedDataset,
    lexicon: Lexicon | None,
    max_history: int,
) -> None:
    """Write the bundle into an existing folder: JSON, safetensors, and the raw ids of the items. No pickle."""
    content: dict[str, Any] = {
        "kind": "baseline",
        "title": spec.title,
        "reads": sorted(spec.reads),
        "tasks": spec.tasks,
        "point": point,
        "max_history": max_history,
        "users": _users(dataset),
        "text": None if lexicon is None or lexicon.fields is None else lexicon.fields.model_dump(mode="json"),
    }
    write_json(out / CONFIG, content)
    write_tensors(out / WEIGHTS, module_tensors(model))
    if lexicon is not None:
        write_json(out / WORDS, lexicon.words)
    pq.write_table(dataset.items.select(["raw_id"]), out / ITEMS)


def load(folder: Path, spec: BaselineSpec, dataset: PreparedDataset) -> Loaded:
    """Load a saved baseline over its training dataset.

    Raises:
        DataError: the folder is no bundle, or belongs to another dataset. A baseline's items and users are parameters.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} has no {CONFIG}, so it is no model bundle. Give the folder of a trained baseline.")
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if content["kind"] != "baseline" or content["reads"] != sorted(spec.reads):
        raise DataError(
            f"{folder} is a bundle of {content.get('title', content['kind'])}, not of {spec.title}. Give "
            f"the folder of {spec.title}."
        )
    trained = pq.read_table(folder / ITEMS)
    if trained["raw_id"].to_pylist() != dataset.items["raw_id"].to_pylist() or content["users"] != _users(dataset):
        raise DataError(f"{folder} was trained on other items or users than {dataset.folder} has. Train it again.")
    lexicon = None
    if (folder / WORDS).is_file():
        fields = None if content["text"] is None else TextConfig.model_validate(content["text"])
        lexicon = Lexicon.from_words(json.loads((folder / WORDS).read_text(encoding="utf-8")), dataset, fields)
    collator = Collator(dataset, spec.reads, content["max_history"], lexicon)
    model = build(spec, content["point"], collator)
    load_module_tensors(model, read_tensors(folder / WEIGHTS))
    model.eval()
    return Loaded(model, collator)


def _users(dataset: PreparedDataset) -> str:
    return digest(dataset.table("users")["raw_id"].to_pylist())
