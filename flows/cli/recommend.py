"""``gensr recommend``: the deployment recommend/batch with its settings as options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options
from flows.cli.config_tree import read_config
from flows.local import installation, watch
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError

DEPLOYMENT = "recommend/batch"


def recommend(
    config: options.Config = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CSV or Parquet file with a column user, or the word all or none."),
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help="CSV or Parquet file with the columns user and query.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Folder, s3://bucket/prefix, URL of a database, or env:NAME."),
    ] = None,
    top_n: Annotated[int | None, typer.Option(metavar="N", help="Largest number of items for each user.")] = None,
    version: Annotated[str | None, typer.Option(metavar="N", help="Version of the model; else the champion.")] = None,
    sets: options.Sets = None,
) -> None:
    """Write the best items for all users, or those of a file, by the champion.

    Starts the local servers where they are not up, and runs the deployment recommend/batch. The config names the data,
    and so the model. A killed run goes on where it stopped.

    Example: gensr recommend --config mine.yaml --output /data/recommendations
    """
    given = {"users": users, "queries": queries, "output": output, "top_n": top_n, "version": version}
    wanted = {name: value for name, value in given.items() if value is not None}
    tree = read_config(config, {"recommend": wanted} if wanted else {}, sets or ())
    for name, (_, path) in PipelineConfig.model_validate(tree).recommend.paths().items():
        if name != "output" and not Path(path).is_file():  # said here, before servers are started
            raise DataError(f"recommend.{name}: {path} is no file. Give the path of a CSV or Parquet file.")
    raise typer.Exit(watch.run(installation.enter(), tree, DEPLOYMENT))
