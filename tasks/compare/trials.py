"""The models that the ablation study and the search over τ and β train."""

from __future__ import annotations

import json
from typing import NamedTuple

from gensr_model.config.base import SEARCH_ONLY
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.variants import VARIANTS
from gensr_model.errors import ConfigError


class Trial(NamedTuple):
    """A variant trained with a seed. The first seed's trial has the variant's name; others add their seed."""

    name: str
    variant: str
    seed: int


class Point(NamedTuple):
    """Hyper-parameters of the contrastive loss."""

    tau: float
    beta: float

    @property
    def name(self) -> str:
        return f"tau={self.tau:g}-beta={self.beta:g}"


def check_ablation(config: PipelineConfig) -> None:
    """Raise ConfigError for variants that cannot be compared, before any training."""
    if config.train.tasks != "both":
        raise ConfigError(
            f"train.tasks is {config.train.tasks!r}, but the ablation has variants for single tasks. "
            "Set train.tasks to both."
        )
    if config.evaluation.protocol in SEARCH_ONLY and "recommendation_only" in config.ablation.variants:
        raise ConfigError(
            f"evaluation.protocol is {config.evaluation.protocol!r}, whose candidates are only for "
            "search. Leave recommendation_only out of ablation.variants."
        )
    others = [name for name in config.ablation.variants if name != "gensr"]
    same = [name for name in others if with_changes(config, VARIANTS[name].changes) == config]
    if not config.model.departures.searches_in_text.enabled:  # then no text has searches to leave out
        same = [name for name in others if name in (*same, "no_leave_one_out")]
    if same:
        changes = json.dumps({name: VARIANTS[name].changes for name in same})
        raise ConfigError(
            f"{', '.join(same)} would equal the configured GenSR, because the part to remove is off "
            f"({changes}). Leave the variant out of ablation.variants, or turn the part on."
        )


def check_sweep(config: PipelineConfig) -> None:
    """Raise ConfigError for a search without points."""
    if not points(config):
        raise ConfigError(
            "sweep.tau and sweep.beta are both empty, so there is nothing to try. Give at least one value."
        )


def trials(config: PipelineConfig) -> list[Trial]:
    """Every variant with every seed: gensr first, and all variants of a seed before the next seed."""
    seeds = list(dict.fromkeys(config.ablation.seeds))
    variants = list(dict.fromkeys(("gensr", *config.ablation.variants)))
    return [
        Trial(variant if seed == seeds[0] else f"{variant}-seed{seed}", variant, seed)
        for seed in seeds
        for variant in variants
    ]


def trial_config(config: PipelineConfig, trial: Trial) -> PipelineConfig:
    """The config of a trial's pretraining, training and ranking. The data are prepared with the study's config."""
    return with_changes(config, {"seed": trial.seed, **VARIANTS[trial.variant].changes})


def points(config: PipelineConfig) -> list[Point]:
    """τ's grid at the configured β, then β's grid at the configured τ, with each point once."""
    own = config.model
    grid = [Point(tau, own.beta) for tau in config.sweep.tau]
    return list(dict.fromkeys([*grid, *(Point(own.tau, beta) for beta in config.sweep.beta)]))
