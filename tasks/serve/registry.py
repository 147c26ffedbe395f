"""The versions of a registered model as a server reads them from MLflow."""

from __future__ import annotations

from typing import Any

from mlflow.exceptions import MlflowException

from gensr_model.errors import DataError
from gensr_model.serving.http.versions import Served, UnknownVersion
from tasks.core.tracking import Tracked, experiment_id, run_page
from tasks.promote.model_registry import saved_examples, serving_folders
from tasks.promote.versions import CHAMPION, alias, served_models, versions

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class Registry:
    """A ``Source`` of versions: the registered model ``model``.

    Args:
        server: address of the MLflow server, for links to runs.
    """

    def __init__(self, model: str, server: str) -> None:
        self.model, self._server = model, server
        self._mlflow = Tracked.reader()
        self._experiment = experiment_id(self._mlflow.client)

    def champion(self) -> str | None:
        """The version with the alias ``champion``."""
        version = alias(self._mlflow, self.model)
        return None if version is None else str(version.version)

    def load(self, version: str) -> Served:
        """Fetch, load and test a version. Raises UnknownVersion, or any error of loading."""
        try:
            found = self._mlflow.client.get_model_version(self.model, version)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise UnknownVersion(f"{self.model} has no version {version}.") from error
        folder, catalogue = serving_folders(found)
        return Served.open(self.model, version, folder, catalogue, self._page(found.run_id), saved_examples(found))

    def listing(self) -> list[dict[str, Any]]:
        """``version``, ``aliases``, ``created``, ``outcome`` and ``run_url`` of each version, newest first."""
        return [
            {
                "version": each.number,
                "aliases": each.aliases,
                "created": each.registered.isoformat(timespec="seconds"),
                "outcome": each.outcome or None,
                "run_url": self._page(each.run_id),
            }
            for each in versions(self._mlflow, self.model)
        ]

    def _page(self, run_id: str | None) -> str | None:
        return run_page(self._server, {"experiment_id": self._experiment, "run_id": run_id}) if run_id else None


def model_with_champion() -> str:
    """The name of the only serving model that has a champion. Raises DataError where there is none, or several."""
    mlflow = Tracked.reader()
    names = [name for name in served_models(mlflow) if alias(mlflow, name)]
    if not names:
        raise DataError(
            f"no model in MLflow has the alias {CHAMPION}. Make a model with `gensr run --deployment "
            "retrain/nightly`, or name a bundle with --bundle."
        )
    if len(names) > 1:
        raise DataError(f"several models have a champion: {', '.join(sorted(names))}. Name one with --model.")
    return names[0]
