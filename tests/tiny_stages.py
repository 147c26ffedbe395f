"""What the tiny run does before its models, without Prefect; imported where it is built, as it imports the pipeline."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.stage import Stage, StageResult, build_folder
from tasks.core.state_dir import StateDir
from tasks.ingest.ingest import find_source, ingest
from tasks.prepare.prepare import prepare
from tasks.train.pretrain import pretrain
from tasks.validate.check import check_data
from tasks.validate.validate import check_prepared, check_raw


def empty_mlflow(database: Path) -> None:
    """MLflow's SQLite file with its tables and nothing in them: making them takes over a second."""
    database.parent.mkdir(parents=True, exist_ok=True)
    MlflowClient(f"sqlite:///{database}").search_experiments()


def build_stage(home: Path, stage: Stage, config: PipelineConfig, *inputs: StageResult) -> StageResult:
    """A stage in the store of a state folder, without Prefect and MLflow."""
    view, paths = stage.view(config), [given.path for given in inputs]
    return build_folder(
        StateDir(home), stage.name, stage.key(config, *inputs), lambda work: stage.build(work, view, *paths)
    )


def build_before_models(home: Path, config: PipelineConfig) -> None:
    """All that the flows do before they train a model: the data, their checks, and LightGCN's table."""
    raw = build_stage(home, ingest, config, find_source.fn(config))
    build_stage(home, check_data, config, raw)
    build_stage(home, check_raw, config, raw)
    prepared = build_stage(home, prepare, config, raw)
    build_stage(home, check_prepared, config, prepared)
    build_stage(home, pretrain, config, prepared)
