"""Every system of the comparison by name, tuned, trained and ranked: GenSR, two heads, references, baselines.

A baseline's stages depend on its module and on that module's imports, not on the registry. So a new baseline retrains
no other.
"""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gensr_model.baselines.base import BaselineSpec, Grid
from gensr_model.baselines.inputs import TEXT
from gensr_model.config.model import TextConfig
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.evaluation.evaluate import write_ranks
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.training import baseline as training
from gensr_model.training import tuning
from gensr_model.training.fitting import GradientLog
from gensr_model.training.needs import READERS
from tasks.compare.names import OURS, every_system, find_baseline, not_made, spec_at
from tasks.core.code_version import Code, foreign, name_of
from tasks.core.definitions import exists
from tasks.core.run_log import run_logger
from tasks.core.stage import Stage, StageResult, stage
from tasks.core.tracking import Tracked
from tasks.core.work import Builder, Work
from tasks.evaluate.rank import rank_model, rank_reference
from tasks.train.finetune import finetune, how_it_ended
from tasks.train.semantic_ids import semantic_ids


class Trained(NamedTuple):
    """A trained baseline."""

    result: StageResult
    tuned: StageResult | None  # None for an untuned baseline
    point: tuning.Point  # chosen hyperparameters

    @property
    def stages(self) -> list[StageResult]:
        """The stages that ran, in order."""
        return [stage for stage in (self.tuned, self.result) if stage is not None]


class Ranked(NamedTuple):
    """A system with one seed: its ranks and its stages."""

    name: str
    seed: int
    ranks: StageResult
    trained: StageResult | None  # None for a reference
    point: tuning.Point  # chosen hyperparameters


# --- stages of a baseline -------------------------------------------------------------------------------------------
# Module-level functions, so that a new process can import them by name.


def tune_baseline(
    work: Work,
    config: PipelineConfig,
    prepared: Path,
    *folders_and_name: Any,
    validation: type[training.Validation] = training.CandidateValidation,
) -> dict[str, float]:
    """Reads the prepared dataset and the baseline's needs; writes the point of the grid that is best on valid."""
    *folders, name = folders_and_name
    dataset, spec = PreparedDataset.open(prepared), spec_at(config, name)
    given = (work.checkpoints, work.out, work.report, read_needs(spec, folders, dataset))
    return training.tune(spec, dataset, config, *given, validation)


def train_baseline(
    work: Work,
    config: PipelineConfig,
    prepared: Path,
    *folders_and_name: Any,
    validation: type[training.Validation] = training.CandidateValidation,
) -> dict[str, float]:
    """Reads the prepared dataset, the baseline's needs and the point of a tuning; writes the bundle."""
    *folders, name = folders_and_name
    spec = find_baseline(name)
    tuned = folders[len(needs_of(spec)) :]
    point = training.chosen(tuned[0]) if tuned else tuning.default(spec_at(config, name).grid)
    dataset = PreparedDataset.open(prepared)
    given = (work.checkpoints, work.out, work.report, read_needs(spec, folders, dataset))
    return training.train(spec, point, dataset, config, *given, validation)


def needs_of(spec: BaselineSpec) -> tuple[str, ...]:
    """The needs of a baseline that a stage makes. The baseline draws other needs at random."""
    return tuple(need for need in spec.model.needs if need in READERS)


def read_needs(spec: BaselineSpec, folders: Sequence[Path], dataset: PreparedDataset) -> training.Needs:
    """The value of each need, from the folders of the stages that make them, in the order of ``needs_of``."""
    return {need: READERS[need](folder, dataset) for need, folder in zip(needs_of(spec), folders, strict=False)}


def rank_baseline(work: Work, config: PipelineConfig, prepared: Path, bundle: Path, name: str) -> dict[str, float]:
    """Reads the prepared dataset and a baseline's bundle; writes the rank of every test positive of its tasks."""
    began = time.monotonic()
    dataset = PreparedDataset.open(prepared)
    ranks = training.rank(bundle, find_baseline(name), dataset, "test", config, work.report)
    return write_ranks(work.out, ranks) | {"seconds_to_score": time.monotonic() - began}


class SystemTable(NamedTuple):
    """How the systems of a table are chosen and ranked: by the frozen candidates, or by the whole catalogue."""

    suffix: str  # suffix of the names of a baseline's stages
    tune: Builder
    train: Builder
    rank: Builder
    chosen_by: tuple[str, ...]  # fields of the config that validation reads
    ranked_by: tuple[str, ...]  # fields of the config that ranking reads
    ours: dict[str, Grid]  # our models in it, with what is tuned for each
    trial: tuple[str, ...]  # fields with the epochs of these
    metric: str  # of a trial of these
    finetune: Callable[..., StageResult]
    rank_ours: Callable[..., StageResult]
    rank_reference: Callable[..., StageResult]
    every: Callable[[], tuple[str, ...]]  # systems that it has where the config names none
    takes: Callable[[str], bool]  # whether a system can be in it

    def names(self, config: PipelineConfig) -> tuple[str, ...]:
        """The systems of ``rerank.systems`` that the table can have."""
        return tuple(filter(self.takes, config.rerank.systems)) if config.rerank.systems else self.every()


RERANKED = SystemTable(
    suffix="",
    tune=tune_baseline,
    train=train_baseline,
    rank=rank_baseline,
    chosen_by=("train.valid_samples", "evaluation.protocol"),
    ranked_by=("evaluation.protocol", "evaluation.max_test_samples"),
    ours=OURS,
    trial=("train.epochs", "train.two_head_epochs"),
    metric="best_valid_ndcg_at_5",
    finetune=finetune,
    rank_ours=rank_model,
    rank_reference=rank_reference,
    every=every_system,
    takes=lambda name: True,
)


class Stages(NamedTuple):
    tune: Stage
    train: Stage
    rank: Stage


def stages_of(name: str, table: SystemTable = RERANKED) -> Stages:
    """The stages of a baseline. Raises ConfigError for an unknown name."""
    spec = find_baseline(name)
    file = Path(inspect.getfile(spec.model)).resolve()
    facts: dict[str, Any] = {"model": name_of(spec.model)}
    code: Code = (BaselineSpec, spec.model)
    if not exists(name_of(spec.model)):
        source = foreign(file)
        code, facts["source"] = (BaselineSpec, *source.roots), source.code
    fit = tuple(f"rerank.{field}" for field in ("batch_size", "patience", "learning_rate", "points"))
    fit += tuple(f"train.{field}" for field in ("weight_decay", "warmup_share", "clip_norm", "negatives", "precision"))
    fit += ("model.max_history", "model.text", "seed", *table.chosen_by)
    grid = {"grid": json.loads(json.dumps(spec.grid))}
    probed = training.can_be_probed(spec.model)
    until = (*fit, "rerank.epochs", *(("analysis.gradient_every",) if probed else ()))
    unused: Code = (find_baseline,) if probed else (find_baseline, GradientLog)
    code += tuple(READERS[need] for need in needs_of(spec))
    unused += ("gensr_model.training.needs:READERS",)
    make = functools.partial(stage, code=code, skip={"": unused})
    return Stages(
        make(f"tune{table.suffix}", config=(*fit, "rerank.trials", "rerank.trial_epochs"), artifacts=("*.json",),
             facts=lambda _: facts | grid, splits=("train", "valid"), trains=True,
             tags=lambda folder: {"chosen": json.dumps(training.chosen(folder))})(table.tune),
        make(f"train-baseline{table.suffix}", config=until, artifacts=("*.json",),
             facts=lambda _: facts | {"default": tuning.default(spec.grid)}, splits=("train", "valid"), trains=True,
             tags=lambda folder: {"stopped": how_it_ended(folder)["stopped"]})(table.train),
        make(f"evaluate{table.suffix}", config=table.ranked_by, artifacts=("*",),
             facts=lambda _: facts, splits=("test",))(table.rank),
    )  # fmt: skip


# --- one system --------------------------------------------------------------------------------------------------


def run_system(
    run: Tracked,
    config: PipelineConfig,
    prepared: StageResult,
    cf: StageResult,
    name: str,
    seed: int,
    table: SystemTable = RERANKED,
) -> Ranked:
    """Tune, train and rank one system with one seed, where the store lacks the result.

    Raises ConfigError where the system needs other texts than the format has.
    """
    if reason := not_made(config, name):
        raise ConfigError(reason)
    config = config.model_copy(update={"seed": seed})
    if name in REFERENCES:
        return Ranked(name, seed, table.rank_reference(run, config, prepared, cf, option=name), None, {})
    share, note = config.rerank.concurrency, f"seed{seed}"
    tune = config.rerank.tune is not False
    if name in table.ours:
        first = config.model_copy(update={"seed": config.rerank.seeds[0]})
        point, trials = _tune_ours(run, first, prepared, cf, name, table) if tune else ({}, [])
        if trials and seed == first.seed:
            metric = table.metric.removeprefix("best_")
            run.table(f"tuning_{name}.json", [{**t.point, metric: t.metric} for t in trials])
        final = at_point(config, point)
        trained = table.finetune(run, final, prepared, cf, option=name, parallel_jobs=share, note=note)
        ranks = table.rank_ours(run, final, prepared, trained, option=name, parallel_jobs=share, note=note)
        return Ranked(name, seed, ranks, trained, point)
    how: dict[str, Any] = {"share": share, "note": note, "table": table}
    made = _made(run, config, prepared, cf, name)
    outcome = train_baseline_stages(run, config, prepared, name, tune=tune, made=made, **how)
    ranks = rank_baseline_stage(run, config, prepared, outcome.result, name, **how)
    return Ranked(name, seed, ranks, outcome.result, outcome.point)


def _made(
    run: Tracked, config: PipelineConfig, prepared: StageResult, cf: StageResult, name: str
) -> dict[str, StageResult]:
    """The stages that a baseline may need. All seeds use the codes of the first seed, which tunes the baseline."""
    if "codes" not in find_baseline(name).model.needs:
        return {"cf": cf}
    first = config.model_copy(update={"seed": config.rerank.seeds[0]})
    vectors = [cf] if config.semantic_ids.vectors == "cf" else []
    codes = semantic_ids(run, first, prepared, *vectors, parallel_jobs=config.rerank.concurrency)
    return {"cf": cf, "codes": codes}


def train_baseline_stages(
    run: Tracked,
    config: PipelineConfig,
    prepared: StageResult,
    name: str,
    *,
    tune: bool,
    share: int = 0,
    note: str = "",
    made: Mapping[str, StageResult] | None = None,
    table: SystemTable = RERANKED,
) -> Trained:
    """Train a baseline with the config's seed. With ``tune``, it is tuned first, on the first seed of ``rerank``.

    The stages run in this process, or each in a process of its own, one of ``share`` that share the cores.

    Args:
        made: the stage of each value of ``needs_of``. Raises ConfigError where a needed one is missing.
    """
    config, spec = _own(config, name), find_baseline(name)
    if missing := [need for need in needs_of(spec) if need not in (made or {})]:
        raise ConfigError(
            f"{spec.title} needs {', '.join(missing)}, which this flow does not make. Leave {name!r} out."
        )
    inputs = [prepared, *((made or {})[need] for need in needs_of(spec))]
    stages, tuned, point = stages_of(name, table), None, tuning.default(spec_at(config, name).grid)
    if tune:
        first = config.model_copy(update={"seed": config.rerank.seeds[0]})
        tuned = stages.tune(run, first, *inputs, option=name, parallel_jobs=share)
        point = training.chosen(tuned.path)
        inputs.append(tuned)
    result = stages.train(run, config, *inputs, option=name, parallel_jobs=share, note=note)
    return Trained(result, tuned, point)


def rank_baseline_stage(
    run: Tracked,
    config: PipelineConfig,
    prepared: StageResult,
    trained: StageResult,
    name: str,
    *,
    share: int = 0,
    note: str = "",
    table: SystemTable = RERANKED,
) -> StageResult:
    """Rank the test positives of a trained baseline's tasks, in the same kind of process as its training."""
    config = _own(config, name)
    return stages_of(name, table).rank(run, config, prepared, trained, option=name, parallel_jobs=share, note=note)


def _own(config: PipelineConfig, name: str) -> PipelineConfig:
    """The config without fields of other baselines: their points, and the text where this baseline reads none."""
    points = {each: point for each, point in config.rerank.points.items() if each == name}
    config = config.model_copy(update={"rerank": config.rerank.model_copy(update={"points": points})})
    if TEXT in find_baseline(name).reads:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"text": TextConfig()})})


def _tune_ours(
    run: Tracked, config: PipelineConfig, prepared: StageResult, cf: StageResult, name: str, table: SystemTable
) -> tuple[tuning.Point, list[tuning.Trial]]:
    """The config fields that are best on valid, with a baseline's budget, and all trials."""
    short = {path: min(config.rerank.trial_epochs, _value(config, path)) for path in table.trial}

    def trial(number: int, point: tuning.Point) -> float:
        trained = table.finetune(
            run, at_point(config, point | short), prepared, cf,
            option=name, parallel_jobs=config.rerank.concurrency, note=f"trial{number}",
        )  # fmt: skip
        return trained.metrics[table.metric]

    best, trials = tuning.choose(table.ours[name], config.rerank.trials, trial)
    for tried in trials:
        run_logger().info("tuning %s: %s gives %.4f on valid", name, tried.point, tried.metric)
    return {field: value for field, value in best.point.items() if value is not None}, trials


def _value(config: PipelineConfig, path: str) -> int:
    section, field = path.split(".")
    value: int = getattr(getattr(config, section), field)
    return value


def at_point(config: PipelineConfig, point: tuning.Point) -> PipelineConfig:
    """The config with some fields (``train.learning_rate``) replaced. None leaves a field unchanged."""
    changes: dict[str, dict[str, Any]] = {}
    for path, value in point.items():
        if value is not None:
            section, field = path.split(".")
            changes.setdefault(section, {})[field] = value
    return with_changes(config, changes)
