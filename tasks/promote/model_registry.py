"""Models in MLflow: logged once as pyfunc, registered by dataset, with the aliases ``champion`` and ``previous``.

``gensr-<name>`` is the serving model. ``gensr-<name>-full-ranking`` generates items (§6.3). A version of
``gensr-<name>`` holds that model's champion beside GenSR, and ranks the catalogue by it where a request has no
candidates. The answers of a version never change: a new full-ranking champion makes a new version.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import yaml
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, DataType

import gensr_model
from gensr_model.config.base import TASKS, Task, digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError, GensrError
from gensr_model.runtime.files import write_json
from gensr_model.runtime.stage_folder import folder_digest
from gensr_model.serving.self_test import Example
from gensr_model.serving.service import Request, Service
from tasks.core.definitions import walk
from tasks.core.run_log import error_context, run_logger
from tasks.core.stage import StageResult
from tasks.core.state_dir import state_dir, tracking_uri
from tasks.core.tracking import Tracked, source_tags
from tasks.promote import card, pyfunc_model
from tasks.promote.record import Outcome
from tasks.promote.versions import (
    CHAMPION,
    FULL_RANKING,
    SHOWN_METRICS,
    alias,
    move_champion,
    set_card,
    versions,
)
from tasks.validate.profile import BINS

EXAMPLES = "examples.json"  # answers of a version, among its files
_RETRIES = 3  # tries to serve a catalogue while champions change
NONE = "none"  # key in place of a missing full-ranking model
_TASKS = "tasks"  # tag with the tasks that a version serves
_REQUIRED = ("bm25s", "faiss-cpu", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "scipy", "tokenizers",
             "torch", "torch-geometric", "transformers")  # fmt: skip
Part = Literal["bundle", "catalogue"]  # models among an MLflow model's artifacts
_TEXT, _TEXTS = DataType.string, Array(DataType.string)
SIGNATURE = ModelSignature(  # no inputs: pyfunc_model says why
    outputs=Schema(
        [
            ColSpec(_TEXTS, "items"),
            ColSpec(Array(DataType.double), "scores"),
            ColSpec(_TEXT, "task"),
            ColSpec(_TEXT, "candidate_source"),
            ColSpec(_TEXT, "history_source"),
            ColSpec(_TEXTS, "notes"),
        ]
    ),
    params=ParamSchema([ParamSpec("top_n", DataType.integer, 0)]),
)


class ChampionMoved(GensrError):
    """Another run, or a person, moved the alias ``champion``."""


class Champion(NamedTuple):
    """The serving model: its version, its bundle and the bins of its data, as inputs of stages."""

    version: str
    bundle: StageResult
    data: StageResult | None  # None where the run that registered the version logged none
    catalogue_key: str  # of the full-ranking model in it, or NONE
    code: str  # digest of the code in it, which answers requests
    # For each task that the champion serves, the last version that was better. It bounds the sum of allowed losses.
    anchors: dict[Task, str]


def served_name(config: PipelineConfig) -> str:
    """The name of the registered model that serves."""
    return f"gensr-{config.name}"


def full_ranking_name(config: PipelineConfig) -> str:
    """The name of the registered full-ranking model."""
    return f"{served_name(config)}{FULL_RANKING}"


def full_ranking_bundle(run: Tracked, config: PipelineConfig, tasks: tuple[Task, ...]) -> StageResult | None:
    """The bundle of the full-ranking champion. None where there is none, or where it lacks one of ``tasks``."""
    current = champion(run, full_ranking_name(config))
    return None if current is None or not set(tasks) <= set(current.anchors) else current.bundle


def log_model(run: Tracked, bundle: StageResult, catalogue: StageResult | None = None) -> str:
    """The URI of the MLflow model of a bundle, with an optional full-ranking bundle. The URI is also a tag of the run.

    The model is logged unless an earlier run logged it.
    """
    keys = _keys(bundle, catalogue) | {"serving_code": serving_code()}
    wanted = " and ".join(f"tags.{name} = '{key}'" for name, key in keys.items())
    known = run.client.search_runs([run.experiment_id], f"{wanted} and tags.model_uri LIKE 'models:/%'", max_results=1)
    uri = str(known[0].data.tags["model_uri"]) if known else None
    with run.child("model") as child:
        uri = uri or _log(child, bundle.path, None if catalogue is None else catalogue.path)
        child.tags(**keys, model_uri=uri)
    return uri


def serving_code() -> str:
    """Digest of the code that an MLflow model contains and that answers requests."""
    return digest(walk(["tasks.promote.pyfunc_model:*"]))


def _keys(bundle: StageResult, catalogue: StageResult | None) -> dict[str, str]:
    return {"bundle_key": bundle.key, "catalogue_key": NONE if catalogue is None else catalogue.key}


def register(
    run: Tracked,
    name: str,
    model_uri: str,
    bundle: StageResult,
    anchors: Mapping[Task, str | None],
    catalogue: StageResult | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """Register a new version of the model ``name``. Returns its number. An anchor None is the version itself.

    The version serves the tasks that have an anchor, or both where none is given. Those of ``SHOWN_METRICS`` in
    ``metrics`` become tags.
    """
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tasks = tuple(anchors) or TASKS
    tags = {**_keys(bundle, catalogue), "serving_code": serving_code(), _TASKS: ",".join(tasks)}
    tags |= {name: f"{metrics[name]:.6f}" for name in SHOWN_METRICS if name in metrics}
    created = run.client.create_model_version(
        name, model_uri, run.run_id, tags=tags, model_id=model_uri.removeprefix("models:/")
    )
    version = str(created.version)
    for task in tasks:
        run.client.set_model_version_tag(name, version, _anchor_tag(task), anchors.get(task) or version)
    return version


def promote(run: Tracked, name: str, version: str, over: str | None) -> None:
    """Move the alias ``champion`` from version ``over``, with which this version was compared, to this version.

    The version ``over`` gets the alias ``previous``. A refused move tags the version. After a move the caller records
    it, then tags the version by ``tag_outcome``.

    Raises:
        ChampionMoved: another run, or a person, moved the alias meanwhile; the alias stays where it is.
    """
    aliased = alias(run, name)
    current = None if aliased is None else str(aliased.version)
    if current != over:
        error = ChampionMoved(
            f"the champion of {name} is now version {current or 'none'}, not {over or 'none'} as at "
            f"the comparison, so version {version} is registered but does not serve. Run again to "
            "compare it with the new champion."
        )
        with error_context(error):
            tag_outcome(run, name, version, "failed", str(error))
        raise error
    move_champion(run, name, version, over)


def tag_outcome(run: Tracked, name: str, version: str, outcome: Outcome, reason: str) -> None:
    """Tag a version with its outcome."""
    run.client.set_model_version_tag(name, version, "outcome", outcome)
    run.client.set_model_version_tag(name, version, "decision", reason)


def serve_catalogue(
    run: Tracked, config: PipelineConfig, catalogue: StageResult, tasks: tuple[Task, ...]
) -> str | None:
    """Make the serving model rank the catalogue by this full-ranking bundle, as a new champion with the old GenSR.

    Returns the new version. None where nothing serves yet, where this bundle already serves, or where the champion
    serves a task that is not one of ``tasks``, those of the full-ranking bundle. Where the champion changes meanwhile,
    the version is made again from the new champion.
    """
    for _ in range(_RETRIES):
        try:
            return _serve_catalogue(run, config, catalogue, tasks)
        except ChampionMoved as error:
            run_logger().warning("%s", error)
    return _serve_catalogue(run, config, catalogue, tasks)


def _serve_catalogue(
    run: Tracked, config: PipelineConfig, catalogue: StageResult, tasks: tuple[Task, ...]
) -> str | None:
    name = served_name(config)
    served = champion(run, name)
    if served is None or served.catalogue_key == catalogue.key or not set(served.anchors) <= set(tasks):
        return None
    if served.data is not None:  # the next retraining compares its data with these bins
        run.artifacts(served.data.path, (BINS,))
    uri = log_model(run, served.bundle, catalogue)
    (old,) = (each for each in versions(run, name) if each.number == served.version)
    version = register(run, name, uri, served.bundle, served.anchors, catalogue, old.metrics)
    reason = f"The GenSR of version {served.version}, with the new full-ranking champion."
    if old.card:
        set_card(run, name, version, uri, card.renumbered(old.card, name, old.number, version, reason))
    promote(run, name, version, served.version)
    tag_outcome(run, name, version, "promoted", reason)
    return version


def champion(run: Tracked, name: str) -> Champion | None:
    """The current champion, with its bundle fetched to this machine. None before the first promotion."""
    version = alias(run, name)
    if version is None:
        return None
    number, tags = str(version.version), version.tags
    bundle = _fetch_bundle(version)
    data = logged_data(run, str(version.run_id), bundle.path.with_name(f"{name}-data-{version.run_id}"))
    served = tags.get(_TASKS, ",".join(TASKS)).split(",")
    anchors = {task: tags.get(_anchor_tag(task), number) for task in TASKS if task in served}
    catalogue, code = tags.get("catalogue_key", NONE), tags.get("serving_code", NONE)
    return Champion(number, bundle, data, catalogue, code, anchors)


def version_bundle(run: Tracked, name: str, number: str) -> StageResult:
    """The bundle of a version, fetched to this machine. Raises DataError where the version was deleted."""
    try:
        version = run.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise DataError(
            f"version {number} of the model {name} is the anchor of its champion and was deleted. Set "
            "the champion's tags anchor_recommendation and anchor_search to a version that exists."
        ) from error
    return _fetch_bundle(version)


def serving_folders(version: ModelVersion) -> tuple[Path, Path | None]:
    """The folders of a version's bundle and of its full-ranking model, if it has one, fetched to this machine."""
    catalogue = version.tags.get("catalogue_key", NONE)
    return _fetch(version, "bundle")[1], None if catalogue == NONE else _fetch(version, "catalogue")[1]


def saved_examples(version: ModelVersion) -> list[Example]:
    """The requests with their answers that were saved with a version. A version of an earlier gensr has none."""
    mlflow.set_tracking_uri(tracking_uri())  # `models:/` asks the global registry, whatever is passed
    source = f"models:/{version.name}/{version.version}/artifacts"
    if EXAMPLES not in {Path(file.path).name for file in mlflow.artifacts.list_artifacts(source) or ()}:
        return []
    rows = json.loads(mlflow.artifacts.load_text(f"{source}/{EXAMPLES}"))
    return [Example(Request(*row["request"]), row["items"], row["scores"]) for row in rows]


def logged_folders(name: str, tags: Mapping[str, str]) -> tuple[Path, Path | None]:
    """The same folders of a model that a run logged for ``name``, by the tags that ``log_model`` gave its run."""
    keys: dict[Part, str] = {"bundle": tags["bundle_key"], "catalogue": tags.get("catalogue_key", NONE)}
    bundle, catalogue = (
        None if key == NONE else _fetch_part(tags["model_uri"], f"{name}-{key}", part) for part, key in keys.items()
    )
    assert bundle is not None
    return bundle, catalogue


def _anchor_tag(task: Task) -> str:
    return f"anchor_{task}"


def _fetch_bundle(version: ModelVersion) -> StageResult:
    key, folder = _fetch(version, "bundle")
    return StageResult("champion", key, folder, {}, 0.0, True, content=folder_digest(folder))


def _fetch(version: ModelVersion, part: Part) -> tuple[str, Path]:
    """The key of a part of a version, and its folder on this machine, fetched where it is not there."""
    key = version.tags.get(f"{part}_key")
    if key is None:
        raise DataError(
            f"version {version.version} of the model {version.name} was not registered by "
            f"retrain/nightly or train/full-ranking. Move the alias {CHAMPION} to a version with the "
            f"tag {part}_key, or delete the alias and run again."
        )
    return key, _fetch_part(f"models:/{version.name}/{version.version}", f"{version.name}-{key}", part)


def _fetch_part(source: str, name: str, part: Part) -> Path:
    folder = state_dir().root / "champions" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            mlflow.set_tracking_uri(tracking_uri())  # `models:/` asks the global registry, whatever is passed
            fetched = mlflow.artifacts.download_artifacts(source, dst_path=aside)
            # Not by Model.load, which reads the path as a URI and %20 in it as a blank.
            described = yaml.safe_load((Path(fetched) / MLMODEL_FILE_NAME).read_text(encoding="utf-8"))
            inside = described["flavors"].get("python_function", {}).get("artifacts", {})
            if part not in inside:
                raise DataError(
                    f"{source} has no model {part} among its artifacts. Move the alias {CHAMPION} to another version."
                )
            move_into_place(Path(fetched) / inside[part]["path"], folder)
    return folder


def logged_data(run: Tracked, run_id: str, folder: Path) -> StageResult | None:
    """The bins that ``retrain/nightly`` logged to the run that registered a version, fetched into ``folder``."""
    if not folder.is_dir():
        if BINS not in {file.path for file in run.client.list_artifacts(run_id)}:
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            inner = Path(aside) / "data"
            inner.mkdir()
            run.client.download_artifacts(run_id, BINS, str(inner))
            move_into_place(inner, folder)
    key = digest(json.loads((folder / BINS).read_text(encoding="utf-8")))
    return StageResult("champion-data", key, folder, {}, 0.0, True)


def move_into_place(fetched: Path, folder: Path) -> None:
    """Rename, unless another run that fetched the same version was faster."""
    try:
        fetched.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _log(run: Tracked, bundle: Path, catalogue: Path | None) -> str:
    ids = pq.read_table(bundle / "items.parquet", columns=["raw_id"])["raw_id"].slice(0, 6).to_pylist()
    user = pq.read_table(bundle / "users.parquet", columns=["raw_id"])["raw_id"][0].as_py()
    rows = [
        {"history": ids[:2], "behaviors": ["rec", "src"], "query": "blue", "candidates": ids[2:]},
        {"user": user, "top_n": 3},
    ]
    # Of objects: else a whole number beside a null becomes a float, and a null NaN, which JSON does not have.
    example = pd.DataFrame([{field: row.get(field) for field in Request._fields} for row in rows], dtype=object)
    logging.getLogger("mlflow.models.model").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(tracking_uri())
    mlflow.set_experiment(experiment_id=run.experiment_id)
    artifacts = {"bundle": bundle.as_uri()} | ({} if catalogue is None else {"catalogue": catalogue.as_uri()})
    with tempfile.TemporaryDirectory() as aside, mlflow.start_run(run_id=run.run_id, log_system_metrics=False):
        service, answers = Service.load(bundle, catalogue), Path(aside) / EXAMPLES
        write_json(answers, [Example.of(service, Request(**row))._asdict() for row in rows])
        info = mlflow.pyfunc.log_model(
            name="gensr",
            python_model=str(Path(pyfunc_model.__file__)),
            artifacts=artifacts | {"examples": answers.as_uri()},
            code_paths=[str(Path(gensr_model.__file__).parent)],
            signature=SIGNATURE,
            input_example=example,
            tags=source_tags("model"),
            pip_requirements=[f"{p}=={metadata.version(p).split('+')[0]}" for p in ("mlflow", *_REQUIRED)],
        )
    return str(info.model_uri)
