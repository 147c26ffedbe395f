"""Models in MLflow: logged once as pyfunc, registered by dataset, and the alias ``champion``."""

from __future__ import annotations

import json
import logging
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, DataType

import gensr_model
from gensr_model.config import digest
from gensr_model.errors import DataError
from tasks import pyfunc_model
from tasks.home import home
from tasks.profile import BINS
from tasks.stage import StageResult
from tasks.tracking import Tracked, tracking_uri

CHAMPION = "champion"
_REQUIRED = ("bm25s", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "scipy", "tokenizers", "torch",
             "torch-geometric", "transformers")  # fmt: skip
_TEXT, _TEXTS = DataType.string, Array(DataType.string)
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(_TEXT, "user", required=False),
            ColSpec(_TEXTS, "history", required=False),
            ColSpec(_TEXTS, "behaviors", required=False),
            ColSpec(_TEXT, "query", required=False),
            ColSpec(_TEXTS, "candidates", required=False),
            ColSpec(DataType.double, "top_n", required=False),  # an integer column could hold no null
        ]
    ),
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


class Champion(NamedTuple):
    """The model that serves now: its version, and the bundle and the bins of its data as inputs of stages."""

    version: str
    bundle: StageResult
    data: StageResult | None  # None where the run that registered the version logged none


def log_model(run: Tracked, bundle: StageResult) -> str:
    """The MLflow model of this bundle, logged unless an earlier run did; its URI, also as the run's tag."""
    known = run.client.search_runs(
        [run.experiment_id],
        f"tags.bundle_key = '{bundle.key}' and tags.model_uri LIKE 'models:/%'",
        max_results=1,
    )
    uri = str(known[0].data.tags["model_uri"]) if known else None
    with run.child("model") as child:
        uri = uri or _log(child, bundle.path)
        child.tags(bundle_key=bundle.key, model_uri=uri)
    return uri


def register(run: Tracked, name: str, model_uri: str, bundle: StageResult, note: str) -> str:
    """A new version of the registered model ``name``; its number."""
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {"bundle_key": bundle.key, "decision": note}
    version = run.client.create_model_version(
        name, model_uri, run.run_id, tags=tags, model_id=model_uri.removeprefix("models:/")
    )
    return str(version.version)


def crown(run: Tracked, name: str, version: str) -> None:
    """Move the alias ``champion`` to this version."""
    run.client.set_registered_model_alias(name, CHAMPION, version)


def champion(run: Tracked, name: str) -> Champion | None:
    """The current champion, its bundle fetched to this machine; None before the first promotion."""
    try:
        version = run.client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise
    key = version.tags.get("bundle_key")
    if key is None:
        raise DataError(
            f"version {version.version} of the model {name} has the alias {CHAMPION} but was not registered by "
            f"retrain/nightly: move the alias to a version with the tag bundle_key, or delete it and run again"
        )
    folder = home().root / "champions" / f"{name}-{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            source = f"models:/{name}/{version.version}"
            mlflow.set_tracking_uri(tracking_uri())  # `models:/` asks the global registry, whatever is passed
            fetched = mlflow.artifacts.download_artifacts(source, dst_path=aside)
            found = sorted(Path(fetched).glob("artifacts/*/config.json"))
            if len(found) != 1:
                raise DataError(f"{source}: {len(found)} model bundles among its artifacts, expected one")
            found[0].parent.rename(folder)
    data = _data_of(run, str(version.run_id), folder.with_name(f"{name}-data-{version.run_id}"))
    return Champion(str(version.version), StageResult("champion", key, folder, {}, 0.0, True), data)


def _data_of(run: Tracked, run_id: str, folder: Path) -> StageResult | None:
    """The bins that ``retrain/nightly`` logged to the run that registered a version, fetched into ``folder``."""
    if not folder.is_dir():
        if BINS not in {file.path for file in run.client.list_artifacts(run_id)}:
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            inner = Path(aside) / "data"
            inner.mkdir()
            run.client.download_artifacts(run_id, BINS, str(inner))
            inner.rename(folder)
    key = digest(json.loads((folder / BINS).read_text(encoding="utf-8")))
    return StageResult("champion-data", key, folder, {}, 0.0, True)


def _log(run: Tracked, bundle: Path) -> str:
    ids = pq.read_table(bundle / "items.parquet", columns=["raw_id"])["raw_id"].slice(0, 6).to_pylist()
    user = pq.read_table(bundle / "users.parquet", columns=["raw_id"])["raw_id"][0].as_py()
    example = pd.DataFrame(
        {
            "user": [None, user],
            "history": [ids[:2], None],
            "behaviors": [["rec", "src"], None],
            "query": ["blue", None],
            "candidates": [ids[2:], None],
            "top_n": [None, 3.0],
        }
    )
    logging.getLogger("mlflow.models.model").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(tracking_uri())
    mlflow.set_experiment(experiment_id=run.experiment_id)
    with mlflow.start_run(run_id=run.run_id, log_system_metrics=False):
        info = mlflow.pyfunc.log_model(
            name="gensr",
            python_model=str(Path(pyfunc_model.__file__)),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(Path(gensr_model.__file__).parent)],
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=[f"{p}=={metadata.version(p).split('+')[0]}" for p in ("mlflow", *_REQUIRED)],
        )
    return str(info.model_uri)
