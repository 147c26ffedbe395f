"""Batches of untrained models, and the rows that they wrote."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from served_model import save_bundle

from gensr_model.config.recommend import RecommendConfig
from gensr_model.serving.service import Request, Service
from tasks.core.state_dir import tracking_uri
from tasks.recommend.batch import Batch, finish, make_batch, write_shard
from tasks.recommend.destination import open_destination


class Made:
    """A batch of a bundle, its settings and its destination."""

    def __init__(self, bundle: Path, catalogue: Path | None = None, **settings: Any) -> None:
        self.settings = RecommendConfig(**settings)
        self.version = self.settings.version or "3"
        self.batch: Batch = make_batch(self.settings, "gensr-toy", self.version, bundle, catalogue)
        self.destination = open_destination(self.settings, self.batch.name)
        self.service = Service.load(bundle, catalogue)
        self.service.leave_out_met = self.settings.leave_out_met

    def write(self, limit: int | None = None) -> dict[str, Any] | None:
        """Write missing shards, at most ``limit``; the manifest where none is missing."""
        self.destination.prepare()
        done = self.destination.done()
        left = [shard for shard in self.batch.requests.shards if str(shard) not in done]
        for shard in left[:limit]:
            write_shard(self.batch, shard, self.settings)
        return None if limit is not None and limit < len(left) else finish(self.batch, self.settings, self.destination)

    def check(self, rows: list[dict[str, Any]], users: list[str], pairs: list[tuple[str, str]] | None = None) -> None:
        """The rows are the service's own answers, each once: ids equal, scores to 1e-5."""
        by_request: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["rank"]):
            by_request.setdefault((row["user"], row["query"]), []).append(row)
        requests = [(user, "") for user in users] + (pairs or [])
        assert by_request.keys() == set(requests)
        for user, query in requests:
            answer = self.service.answer(Request(user=user, query=query or None, top_n=self.settings.top_n))
            own = by_request[user, query]
            assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
            assert [row["item"] for row in own] == answer.items
            assert [row["score"] for row in own] == pytest.approx(answer.scores, abs=1e-5)
            assert {(row["source"], row["version"]) for row in own} == {(answer.candidate_source, self.version)}


def registered(home: Path, root: Path) -> MlflowClient:
    """A state folder with version 1 of gensr-toy, the champion, fetched from MLflow with its full-ranking model."""
    client = MlflowClient(tracking_uri())
    client.create_registered_model("gensr-toy")
    client.create_model_version("gensr-toy", str(root), tags={"bundle_key": "k1", "catalogue_key": "f1"})
    client.set_registered_model_alias("gensr-toy", "champion", "1")
    for kind, key in (("gensr", "k1"), ("full_ranking", "f1")):
        shutil.copytree(save_bundle(root, kind), home / "champions" / f"gensr-toy-{key}")
    return client


def folder_rows(root: Path, batch: Batch) -> list[dict[str, Any]]:
    files = sorted((root / batch.name).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def sqlite_rows(file: Path, table: str = "recommendations") -> list[dict[str, Any]]:
    con = sqlite3.connect(file)
    con.row_factory = sqlite3.Row
    rows = [dict(row) for row in con.execute(f"select * from {table}")]
    con.close()
    return rows


def all_users(bundle: Path) -> list[str]:
    names: list[str] = pq.read_table(bundle / "users.parquet")["raw_id"].to_pylist()
    return names


def write_users(path: Path, users: list[str]) -> str:
    pq.write_table(pa.table({"user": users}), path)
    return str(path)
