"""A model that serves before anything was promoted: the one that the newest run on its data logged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from gensr_model.serving.http.versions import Served
from tasks.core.state_dir import tracking_uri
from tasks.core.tracking import experiment_id, run_page
from tasks.promote.model_registry import logged_folders
from tasks.serve.registry import Registry

_LOOKED_AT = 100  # runs on the data; those of studies log no model
NOT_PROMOTED = "not promoted"


@dataclass
class Newest:
    """A ``Source`` of versions: a model that a run logged, beside the versions of ``registry``.

    Its version is the name of the run. A server that follows the registry leaves it for the first champion.
    """

    registry: Registry
    model: str
    version: str
    created: str
    run_url: str
    logged: Run  # the nested run with the model's tags

    def load(self, version: str) -> Served:
        """Fetch, load and test a version. Raises UnknownVersion, or any error of loading."""
        if version != self.version:
            return self.registry.load(version)
        return Served.open(self.model, version, *logged_folders(self.model, self.logged.data.tags), self.run_url)

    def listing(self) -> list[dict[str, Any]]:
        """Those of the registry, and last the run's model."""
        own = {"version": self.version, "aliases": [], "created": self.created, "outcome": NOT_PROMOTED,
               "run_url": self.run_url}  # fmt: skip
        return [*self.registry.listing(), own]


def newest(registry: Registry, server: str) -> Newest | None:
    """The model that the newest run on the registered model's data logged. None where no run logged one."""
    client = MlflowClient(tracking_uri())
    experiment = experiment_id(client)
    dataset = registry.model.removeprefix("gensr-").replace("'", "")
    for run in client.search_runs([experiment], f"tags.dataset = '{dataset}'", max_results=_LOOKED_AT):
        inside = f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and tags.model_uri LIKE 'models:/%'"
        for logged in client.search_runs([experiment], inside, max_results=1):
            created = datetime.fromtimestamp(logged.info.start_time / 1000, UTC).isoformat(timespec="seconds")
            page = run_page(server, {"experiment_id": experiment, "run_id": run.info.run_id})
            return Newest(registry, registry.model, f"run-{run.info.run_id[:8]}", created, page, logged)
    return None
