"""``gensr serve``: answers requests for recommendations and searches over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.local import installation, servers

if TYPE_CHECKING:
    from gensr_model.serving.http.versions import Served


def serve(
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Registered model, such as gensr-mine. Left out: the only one.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of a trained model, instead of one in MLflow.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="N", help="Serve this version. Left out: the champion, also when it changes.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address. Other machines need the API key of the variable GENSR_API_KEY.")
    ] = "127.0.0.1",
    demo: Annotated[bool, typer.Option("--demo", help="Serve the champion of the demo, and open its page.")] = False,
    events: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write what was shown and clicked into this folder.")
    ] = None,
) -> None:
    """Answer requests for recommendations and searches over HTTP, and show a page to try the model.

    Serves the champion of a registered model, or with --model and --demo the newest run's model where nothing was
    promoted yet. Starts MLflow's server where it is not up, unless MLFLOW_TRACKING_URI names one. When the champion
    changes, the new version answers as soon as it is loaded and tested.

    Example: gensr serve --model gensr-mine --events /data/events
    """
    if sum((model is not None, bundle is not None, demo)) > 1:
        raise typer.BadParameter("--model, --bundle and --demo exclude each other. Give one of them.")
    if bundle is not None and version is not None:
        raise typer.BadParameter("--version names a version in MLflow. Leave it out with --bundle.")
    named = os.environ.get("MLFLOW_TRACKING_URI")
    here = installation.enter()
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # libraries write more
    logging.basicConfig(format="gensr: %(message)s", handlers=[handler])
    from tasks.serve import serve as served  # PyTorch and MLflow: seconds

    place = served.Place(host, port, os.environ.get(served.KEY))
    place.access()  # before anything is started
    started = _opened if demo else _started
    if bundle is not None:
        served.serve_folder(bundle, place, events, started)
        return
    mlflow = servers.mlflow_up(here, named)
    from tasks.serve.newest import Newest, newest
    from tasks.serve.registry import Registry, model_with_champion

    name = _demo() if demo else model or model_with_champion()
    registry = Registry(name, mlflow)

    def unpromoted() -> Newest | None:
        found = newest(registry, mlflow)
        if found:
            typer.echo(f"gensr: {name} has no champion yet. The model of the newest run serves, which is not promoted.")
        return found

    served.serve_model(registry, version, place, events, started, unpromoted)


def _started(served: Served, address: str) -> None:
    typer.echo(f"gensr: serving {served.model}, version {served.version}")
    typer.echo(f"  page     {address}/")
    if served.run_url:
        typer.echo(f"  made by  {served.run_url}")
    typer.echo("  stop     Ctrl-C")


def _opened(served: Served, address: str) -> None:
    _started(served, address)
    if sys.stdout.isatty():
        typer.launch(address)


def _demo() -> str:
    from gensr_model.config.pipeline import PipelineConfig
    from tasks.promote.model_registry import served_name

    return served_name(PipelineConfig.model_validate({"preset": "demo"}))
