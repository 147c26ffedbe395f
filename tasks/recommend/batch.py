"""Answers to many users and searches by one version of a registered model, shard by shard."""

from __future__ import annotations

import functools
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gensr_model.config.base import digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.recommend import RecommendConfig
from gensr_model.errors import DataError
from gensr_model.serving.bulk import Answers, BulkService
from gensr_model.serving.service import Service
from tasks.core.state_dir import state_dir
from tasks.core.tracking import Tracked
from tasks.promote.model_registry import CHAMPION, served_name, serving_folders
from tasks.recommend.destination import Destination, open_destination
from tasks.recommend.requests import Kind, Requests, Shard, write_requests
from tasks.recommend.rows import SCHEMA, Counts

_LAYOUT = 1  # of the written answers; part of a batch's name


class Batch(NamedTuple):
    """The requests of a batch, and the model that answers them."""

    name: str  # the same model, requests and settings give the same name
    model: str
    version: str
    bundle: Path
    catalogue: Path | None
    requests: Requests


def find_batch(run: Tracked, config: PipelineConfig) -> Batch:
    """The batch that the config describes, with model and requests on this machine.

    Raises:
        DataError: there is no such version, or a file of requests cannot be used.
        ConfigError: there is nobody to answer.
    """
    name, settings = served_name(config), config.recommend
    version = _version(run, name, settings.version)
    bundle, catalogue = serving_folders(version)
    return make_batch(settings, name, str(version.version), bundle, catalogue)


def make_batch(settings: RecommendConfig, model: str, version: str, bundle: Path, catalogue: Path | None) -> Batch:
    """The batch of a model's folders. Raises as ``find_batch``."""
    folders = [bundle.name, catalogue.name if catalogue else None]  # they are named by their content
    rule = [_LAYOUT, model, version, folders, settings.top_n, settings.leave_out_met, settings.shard_size]

    def key(digests: dict[Kind, str]) -> str:
        return f"{model}-version{version}-{digest([*rule, digests], length=12)}"

    requests = write_requests(settings, bundle, state_dir().root / "recommend", key)
    return Batch(requests.folder.name, model, version, bundle, catalogue, requests)


def _version(run: Tracked, name: str, number: str | None) -> ModelVersion:
    try:
        if number is not None:
            return run.client.get_model_version(name, number)
        return run.client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        wanted = f"version {number}" if number else "champion"
        raise DataError(
            f"recommend.version: MLflow has no {wanted} of the model {name}. Check name and recommend.version, or make "
            "a first champion with gensr run --deployment retrain/nightly."
        ) from error


def write_shard(batch: Batch, shard: Shard, settings: RecommendConfig) -> Counts:
    """Answer the requests of a shard and write them. Returns what was written."""
    requests = shard.read(batch.requests.folder)
    answers = _answers(batch, shard, requests, settings)
    counts = _counts(answers)
    open_destination(settings, batch.name).write(str(shard), _rows(batch, requests, answers), counts)
    return counts


def _answers(batch: Batch, shard: Shard, requests: pa.Table, settings: RecommendConfig) -> Answers:
    service = _service(batch.bundle, batch.catalogue, settings.leave_out_met)
    users = requests["user"].combine_chunks()
    if shard.kind == "recommendations":
        return service.recommend(users, settings.top_n)
    return service.search(users, requests["query"].combine_chunks(), settings.top_n)


@functools.lru_cache(maxsize=1)
def _service(bundle: Path, catalogue: Path | None, leave_out_met: bool) -> BulkService:
    """The model, loaded once in this process."""
    service = Service.load(bundle, catalogue)
    service.leave_out_met = leave_out_met
    return BulkService(service)


def _rows(batch: Batch, requests: pa.Table, answers: Answers) -> pa.Table:
    """The answers as rows of ``SCHEMA``."""
    total = len(answers.items)
    owner = pa.array(np.repeat(np.arange(len(answers.counts)), answers.counts))
    first = np.repeat(np.cumsum(answers.counts) - answers.counts, answers.counts)
    empty = pa.repeat(pa.scalar(""), total)
    columns = {
        "user": requests["user"].take(owner),
        "query": requests["query"].take(owner) if "query" in requests.column_names else empty,
        "rank": pa.array(np.arange(total) - first + 1),
        "item": answers.items,
        "score": pa.array(answers.scores),
        "source": answers.sources.take(owner),
        "version": pa.repeat(pa.scalar(batch.version), total),
    }
    return pa.table(columns).cast(SCHEMA)


def _counts(answers: Answers) -> Counts:
    sources = Counter(answers.sources.to_pylist())
    return {
        "answers": len(answers.counts),
        "rows": len(answers.items),
        "unknown": int((~answers.known).sum()),
        "sources": dict(sorted(sources.items())),
    }


def use_cores(share: int) -> None:
    """Let this process compute on one of ``share`` equal parts of the machine's cores."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))


def finish(batch: Batch, settings: RecommendConfig, destination: Destination) -> dict[str, Any]:
    """Write and return the manifest of a batch whose shards are all written."""
    done = destination.done()
    wanted = [str(shard) for shard in batch.requests.shards]
    assert done.keys() >= set(wanted), sorted(set(wanted) - done.keys())
    manifest: dict[str, Any] = {
        "batch": batch.name,
        "model": batch.model,
        "version": batch.version,
        "top_n": settings.top_n,
        "leave_out_met": settings.leave_out_met,
        "shards": wanted,
    }
    for kind, requested in batch.requests.counts.items():
        parts = [done[str(shard)] for shard in batch.requests.shards if shard.kind == kind]
        totals = {name: sum(part[name] for part in parts) for name in ("answers", "rows", "unknown")}
        assert totals["answers"] == requested, (kind, totals["answers"], requested)
        sources: Counter[str] = Counter()
        for part in parts:
            sources.update(part["sources"])
        manifest[kind] = totals | {"sources": dict(sources.most_common())}
    destination.finish(manifest)
    return manifest


def sentence(manifest: dict[str, Any]) -> str:
    """What a finished batch holds, for people."""
    words: dict[Kind, str] = {"recommendations": "users", "searches": "searches"}
    parts = []
    for kind, what in words.items():
        if kind in manifest:
            part = manifest[kind]
            by = ", ".join(f"{count:,} {source}" for source, count in part["sources"].items())
            parts.append(f"{part['answers']:,} {what} ({by}; {part['unknown']:,} by unknown users)")
    return f"{' and '.join(parts)} answered by version {manifest['version']} of {manifest['model']}"
