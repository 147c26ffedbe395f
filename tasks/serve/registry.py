"""The versions of a registered model as a server reads them from MLflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from gensr_model.errors import DataError
from gensr_model.serving.http.versions import Served, UnknownVersion
from tasks.core.tracking import experiment_id, run_page, tracking_uri
from tasks.promote.model_registry import CHAMPION, serving_folders

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
_FULL_RANKING = "-full-ranking"


class Registry:
    """A ``Source`` of versions: the registered model ``model``.

    Args:
        server: address of the MLflow server, for links to runs.
    """

    def __init__(self, model: str, server: str) -> None:
        self.model, self._server = model, server
        self._client = MlflowClient(tracking_uri())
        self._experiment = experiment_id(self._client)

    def champion(self) -> str | None:
        """The version with the alias ``champion``."""
        try:
            return str(self._client.get_model_version_by_alias(self.model, CHAMPION).version)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise

    def load(self, version: str) -> Served:
        """Fetch, load and test a version. Raises UnknownVersion, or any error of loading."""
        try:
            found = self._client.get_model_version(self.model, version)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise UnknownVersion(f"{self.model} has no version {version}.") from error
        folder, catalogue = serving_folders(found)
        return Served.open(self.model, version, folder, catalogue, self._page(found.run_id))

    def listing(self) -> list[dict[str, Any]]:
        """``version``, ``aliases``, ``created``, ``outcome`` and ``run_url`` of each version, newest first."""
        aliases = self._client.get_registered_model(self.model).aliases
        found, page = [], None
        while page != "":
            part = self._client.search_model_versions(f"name = '{self.model}'", page_token=page)
            found += list(part)
            page = part.token or ""
        return [
            {
                "version": str(each.version),
                "aliases": sorted(name for name, version in aliases.items() if str(version) == str(each.version)),
                "created": datetime.fromtimestamp(each.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
                "outcome": each.tags.get("outcome"),
                "run_url": self._page(each.run_id),
            }
            for each in sorted(found, key=lambda each: -int(each.version))
        ]

    def _page(self, run_id: str | None) -> str | None:
        return run_page(self._server, {"experiment_id": self._experiment, "run_id": run_id}) if run_id else None


def model_with_champion() -> str:
    """The name of the only serving model that has a champion. Raises DataError where there is none, or several."""
    client, names, page = MlflowClient(tracking_uri()), [], None
    while page != "":
        part = client.search_registered_models("name LIKE 'gensr-%'", page_token=page)
        names += [each.name for each in part if CHAMPION in each.aliases and not each.name.endswith(_FULL_RANKING)]
        page = part.token or ""
    if not names:
        raise DataError(
            "MLflow has no champion of any model. Make one with `gensr run --deployment retrain/nightly`, or name a "
            "bundle with --bundle."
        )
    if len(names) > 1:
        raise DataError(f"several models have a champion: {', '.join(sorted(names))}. Name one with --model.")
    return str(names[0])
