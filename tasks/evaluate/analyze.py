"""Stage 8: the information in the trained models' answers, and the conflict and distance of their tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gensr_model.analysis import gradients, information, space, theorem
from gensr_model.analysis.subjects import Subject, load, name_of
from gensr_model.baselines.base import BaselineSpec
from gensr_model.baselines.unisar import UniSAR
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.known_pairs import KnownPairs
from gensr_model.models.view_ranking import ViewRanking
from tasks.core.stage import stage
from tasks.core.work import Work

_FIGURES = ("*.json", "*.png")
_REGISTRY = ("gensr_model.baselines.registry:BASELINES",)  # only looks up UniSAR, the only analysed baseline
_MODELS: dict[str, Any] = {
    "artifacts": _FIGURES, "code": (BaselineSpec, UniSAR),
    "skip": {"": (*_REGISTRY, FullRanking, ViewRanking, KnownPairs)},
}  # fmt: skip
# Config fields that decide test samples, input features and scores, besides the inputs.
_SAMPLES = (
    "analysis.negatives_per_positive",
    "model",
    "seed",
    "train.tasks",
    "evaluation.protocol",
    "evaluation.batch_size",
)


@stage(
    "analyze-information",
    config=("analysis.mine_samples", "analysis.mine_steps", "analysis.mine_seeds", "statistics.confidence", *_SAMPLES),
    **_MODELS,
)
def analyze_information(
    work: Work, config: PipelineConfig, prepared: Path, cf: Path, *bundles: Path
) -> dict[str, float]:
    """Reads the prepared dataset, the LightGCN table and model bundles; writes their mutual information (Table 5)."""
    dataset = PreparedDataset.open(prepared)
    subjects = _subjects(dataset, bundles)
    return information.analyze_information(dataset, cf, subjects, config, work.out, work.report)


@stage("analyze-gradients", config=("statistics.confidence", "seed"), artifacts=_FIGURES, skip={"": _REGISTRY})
def analyze_gradients(work: Work, config: PipelineConfig, *bundles: Path) -> dict[str, float]:
    """Reads the gradient probes in model bundles; writes the conflict of their tasks' gradients (Fig. 4)."""
    models = {name_of(folder): folder for folder in bundles}
    return gradients.analyze_gradients(models, work.out, config.statistics.confidence, config.seed)


@stage("analyze-space", config=("analysis.space_samples", *_SAMPLES), **_MODELS)
def analyze_space(work: Work, config: PipelineConfig, prepared: Path, cf: Path, *bundles: Path) -> dict[str, float]:
    """Reads the prepared dataset, the LightGCN table and model bundles; writes the distance of their tasks (Fig. 3)."""
    dataset = PreparedDataset.open(prepared)
    return space.analyze_space(dataset, cf, _subjects(dataset, bundles), config, work.out, work.report)


@stage("analyze-theorem", config=("analysis.theorem_trials", "seed"), artifacts=_FIGURES)
def analyze_theorem(work: Work, config: PipelineConfig) -> dict[str, float]:
    """Reads nothing; writes the simulation of Theorem 4.1."""
    return theorem.analyze_theorem(config.analysis.theorem_trials, config.seed, work.out, work.report)


def _subjects(dataset: PreparedDataset, bundles: tuple[Path, ...]) -> dict[str, Subject]:
    return {name_of(folder): load(folder, dataset) for folder in bundles}
