"""The studies that gensr/full-pipeline runs after its own models, as ``studies`` in the config says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flows.ablation import ablate
from flows.shared.fan_out import FanOut
from flows.shared.system_table import check_systems, compare_systems
from flows.sweep import search
from flows.train_full_ranking import rank_catalogue
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.reporting.run_facts import ABLATION, FULL, RERANK, SWEEP
from tasks.compare.names import check_points
from tasks.compare.trials import check_ablation, check_sweep
from tasks.core.run_log import run_logger
from tasks.core.tracking import Tracked
from tasks.evaluate.run_data import Data
from tasks.publish.publish import headline, part_of_run


class Studies(NamedTuple):
    """The results of a run's studies, by name."""

    summaries: dict[str, dict[str, Any]]
    failed: dict[str, Exception]

    def entries(self) -> dict[str, Any]:
        """The entries of the run's summary."""
        if not (self.summaries or self.failed):
            return {}
        why = {name: str(error) or type(error).__name__ for name, error in self.failed.items()}
        return {"studies": self.summaries, "studies_failed": why}

    def raise_failure(self) -> None:
        """Fail the run where a study failed, after everything else is published."""
        for error in self.failed.values():
            raise error


def check_studies(config: PipelineConfig) -> FanOut | None:
    """Raise ConfigError, before any training, for an impossible study. Returns where systems run."""
    check_points(config)  # points of UniSAR, which the analyses may train
    if config.studies.ablation:
        check_ablation(config)
    if config.studies.sweep:
        check_sweep(config)
    return check_systems(config) if config.studies.rerank else None


def make_studies(run: Tracked, config: PipelineConfig, data: Data, fan: FanOut | None) -> Studies:
    """Run each study in a nested run. A study that fails is recorded, and later studies still run."""
    wanted, made = config.studies, Studies({}, {})
    bodies: dict[str, Callable[[Tracked], dict[str, Any]]] = {}
    if fan is not None:
        bodies[RERANK] = lambda child: compare_systems(child, config, data, fan).summary
    if wanted.full_ranking:
        bodies[FULL] = lambda child: rank_catalogue(child, config, data)[2]
    if wanted.ablation:
        bodies[ABLATION] = lambda child: ablate(child, config, data)
    if wanted.sweep:
        bodies[SWEEP] = lambda child: search(child, config, data)
    for name, body in bodies.items():
        try:
            with run.child(name) as child:
                summary = body(child)
                child.metrics(headline(summary))
        except Exception as error:
            run_logger().error("the study %s failed: %s", name, error)
            made.failed[name] = error
            continue
        made.summaries[name] = part_of_run(summary)
    return made
