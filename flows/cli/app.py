"""The command line ``gensr``: its commands, their options and help.

A command is a function here, or one of a module of this folder that ``app.command()`` registers. It imports slow
modules itself, and gets a config by the options of ``options.py``. After an expected error (``GensrError``) any command
prints the message last and exits with status 1. Wrong usage exits with status 2.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli import options
from flows.cli.check import check
from flows.cli.init import init
from flows.cli.promote import promote
from flows.cli.recommend import recommend
from flows.cli.serve import serve
from flows.local import installation, servers, watch
from gensr_model.errors import DataError
from tasks.core.error_log import end_with_message
from tasks.core.state_dir import run_folder, state_dir

REPORT = "report.html"


class _Commands(TyperGroup):
    """Commands that print the message of an expected error last, with the trace in a log file named after the
    command.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            servers.print_message("interrupted; servers and started runs go on, and `gensr down` ends them")
            raise typer.Exit(130) from None
        except Exception as error:
            raise typer.Exit(end_with_message(error, ctx.invoked_subcommand or "gensr")) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show values of variables, such as a password
    help="Train, compare and serve one generative model for search and recommendation on your own logs.",
    epilog="The folder .gensr/ in the working folder, or the folder in GENSR_HOME, holds all state. Ports: "
    "GENSR_PREFECT_PORT (4200) and GENSR_MLFLOW_PORT (5000).",
)


results = typer.Typer(no_args_is_help=True, help="The results pages of this repository.")
app.add_typer(results, name="results")


@app.command()
def run(
    config: options.Config = None,
    data: options.Data = None,
    data_format: options.Format = None,
    preset: options.Preset = None,
    sets: options.Sets = None,
    deployment: Annotated[
        str, typer.Option(metavar="FLOW/NAME", help="Deployment of prefect.yaml to run.")
    ] = watch.PIPELINE,
) -> None:
    """Train and compare on your data, show the table, and print the path of the report.

    Starts the local servers where they are not up. Without options it runs on generated data. Options override the
    file, and --set overrides both. Unchanged stages are reused.

    Example: gensr run --data /data/mine --preset best --set train.epochs=3
    """
    tree = options.config_tree(config, data, data_format, preset, sets)
    options.check_folder(tree, data)
    here = installation.enter()
    tree, why = options.with_format(tree)
    if why:
        servers.print_message(f"reading format {tree['format']}{why}")
    raise typer.Exit(watch.run(here, tree, deployment, options.better(config, data, data_format, sets)))


app.command()(check)
app.command()(init)
app.command()(serve)
app.command()(promote)
app.command()(recommend)


class Process(StrEnum):
    """What ``gensr up`` starts."""

    prefect = servers.PREFECT_SERVER
    mlflow = servers.MLFLOW_SERVER
    worker = servers.WORKER


@app.command()
def up(
    only: Annotated[
        Process | None,
        typer.Option(metavar="NAME", help="Be this one process until it ends: prefect, mlflow or worker."),
    ] = None,
    host: Annotated[str, typer.Option(help="With --only, the address where the server listens.")] = "127.0.0.1",
) -> None:
    """Start the local servers and the worker, and deploy prefect.yaml.

    PREFECT_SERVER_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION name PostgreSQL
    and S3 in place of files. With --only worker, PREFECT_API_URL and MLFLOW_TRACKING_URI name the servers.
    """
    names = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI") if only is Process.worker else ()
    addresses = {name: os.environ[name] for name in names if os.environ.get(name)}
    here = installation.enter()
    if only is None:
        servers.up(here)
    else:
        servers.foreground(here, only, host, addresses)


@app.command()
def down() -> None:
    """End the servers and runs that gensr started here, and nothing else."""
    servers.down(installation.enter())


@app.command()
def status() -> None:
    """Show which servers are up, where their data is, what runs, the latest report and the last decision."""
    typer.echo("\n".join(servers.status(installation.enter())))


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Id of a flow run, or the folder of a run.")] = "latest",
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Write the page anew, from the run's stages.")] = False,
) -> None:
    """Print the path of a run's report: one page with its tables, curves and checks."""
    folder = run_folder(Path(run).resolve() if "/" in run or Path(run).is_dir() else state_dir().runs / run)
    if anew:
        from tasks.publish.report import rewrite  # Matplotlib and MLflow: seconds

        rewrite(folder)
    page = folder / REPORT
    if not page.is_file():
        raise DataError(f"{page}: there is no such report. Name a finished run, or make one with `gensr run`.")
    typer.echo(page)
    if show:
        typer.launch(str(page))


@app.command()
def audit(
    folder: Annotated[
        Path, typer.Argument(envvar="GENSR_DATASET", show_envvar=False, help="Folder that prepare wrote.")
    ],
) -> None:
    """Check a prepared folder for leaks and violated rules; exit status 1 if there are any."""
    from tasks.validate import audit as audits

    results, figures = audits.audit_by_itself(folder)
    typer.echo(audits.report(results, figures))
    raise typer.Exit(int(any(result.violations for result in results)))


@results.command()
def build(
    docs: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder with templates, and with saved ranks in results.")
    ] = Path("docs"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing, and exit with status 1 where a page differs.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete saved ranks that are on no page.")] = False,
) -> None:
    """Write the results pages from saved ranks."""
    if check and prune:
        raise typer.BadParameter("--check writes nothing and cannot delete. Give --check or --prune.")
    from tasks.publish.results_pages import update  # SciPy and pyarrow: seconds

    raise typer.Exit(update(docs, check, prune))
