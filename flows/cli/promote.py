"""``gensr promote``: lists the versions of the registered models, and moves the alias ``champion``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.local import installation, servers, stores
from flows.local.stores import MLFLOW_DATABASE
from gensr_model.errors import DataError


def promote(
    version: Annotated[int | None, typer.Option(metavar="N", help="Version that becomes champion.")] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Return to the version that was champion before.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Registered model, if there are several, such as gensr-mine.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record of the decision.")] = "",
) -> None:
    """Choose which version of a registered model serves; without a version, list them.

    The alias champion moves, and the alias previous names the version that served before. The decision is recorded as
    that of a retraining is.

    Example: gensr promote --version 3
    """
    if previous and version is not None:
        raise typer.BadParameter("--previous chooses the version itself. Give --version or --previous.")
    _use_mlflow()
    from tasks.promote import rollback  # MLflow: seconds

    if version is None and not previous:
        typer.echo("\n".join(rollback.table(rollback.models(model))))
        return
    name = rollback.only_model(model)
    typer.echo("\n".join(rollback.move(name, rollback.previous(name) if previous else str(version), reason).lines()))


def _use_mlflow() -> None:
    """Use MLflow's local server, which is started where it is not up. Raises DataError where no run has used it yet.

    Where it is down, the MLflow that the environment names comes first.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    here = installation.enter()
    own = named is None and MLFLOW_DATABASE not in stores.remembered(here.where) | here.stores.given
    if own and not Path(here.where.mlflow_store.removeprefix("sqlite:///")).is_file():
        raise DataError(
            f"no model is registered in {here.where.root}. Make the first by `gensr run --deployment retrain/nightly`."
        )
    servers.mlflow_up(here, named)
