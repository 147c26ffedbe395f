"""The command line ``gensr``: its commands, their options and help.

A command is a function here, or one of a module of this folder that ``app.command()`` takes. It imports what is slow
itself, and takes a config by the options of ``options.py``. An expected error (``GensrError``) ends any command with
its message last and exit status 1, wrong usage ends with 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli import options
from flows.cli.check import check
from flows.cli.init import init
from flows.local import installation, servers, watch
from gensr_model.errors import DataError
from tasks.core.error_log import end_with_message
from tasks.core.state_dir import run_folder, state_dir

REPORT = "report.html"


class _Commands(TyperGroup):
    """Commands that end an expected error with its message, the trace in a log file that is named as the command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            servers.print_message(
                "interrupted; the servers stay up and a run that was started goes on: `gensr down` ends them"
            )
            raise typer.Exit(130) from None
        except Exception as error:
            raise typer.Exit(end_with_message(error, ctx.invoked_subcommand or "gensr")) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show the values of variables, a password among them
    help="Train, compare and serve one generative model for search and recommendation on your own logs.",
    epilog="State lies in .gensr/ of the working folder, or in the folder that GENSR_HOME names. "
    "Ports: GENSR_PREFECT_PORT (4200) and GENSR_MLFLOW_PORT (5000).",
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
        str, typer.Option(metavar="FLOW/NAME", help="What to run: a deployment of prefect.yaml.")
    ] = watch.PIPELINE,
) -> None:
    """Train and compare on your data, show the table, and say where the report is.

    Starts the local servers where they are not up. Without options it runs on generated data.
    The options win over the file, --set wins over all. Unchanged stages are reused.

    Example: gensr run --data /data/mine --preset best --set train.epochs=3
    """
    tree = options.config_tree(config, data, data_format, preset, sets)
    here = installation.enter()
    tree, why = options.with_format(tree)
    if why:
        servers.print_message(f"reading format {tree['format']}{why}")
    raise typer.Exit(watch.run(here, tree, deployment))


app.command()(check)
app.command()(init)


@app.command()
def up() -> None:
    """Start the local servers and the worker, and deploy prefect.yaml."""
    servers.up(installation.enter())


@app.command()
def down() -> None:
    """End the servers and the runs that gensr started here, and nothing else."""
    servers.down(installation.enter())


@app.command()
def status() -> None:
    """Say which servers are up, what is running, and where the latest report is."""
    typer.echo("\n".join(servers.status(installation.enter())))


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A flow run's id, or the folder of a run.")] = "latest",
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Make the page once more, from what the run's stages left.")
    ] = False,
) -> None:
    """Print where the report of a run is: one page with its tables, curves and checks."""
    folder = run_folder(Path(run).resolve() if "/" in run or Path(run).is_dir() else state_dir().runs / run)
    if anew:
        from tasks.publish.report import rewrite  # Matplotlib and MLflow: seconds

        rewrite(folder)
    page = folder / REPORT
    if not page.is_file():
        raise DataError(f"{page}: there is no such report. Name a finished run, or make one with `gensr run`")
    typer.echo(page)
    if show:
        typer.launch(str(page))


@app.command()
def audit(
    folder: Annotated[
        Path, typer.Argument(envvar="GENSR_DATASET", show_envvar=False, help="A folder that prepare wrote.")
    ],
) -> None:
    """Audit a prepared folder for leaks and broken promises; exit status 1 if one is broken."""
    from tasks.validate import audit as audits

    results, figures = audits.audit_by_itself(folder)
    typer.echo(audits.report(results, figures))
    raise typer.Exit(int(any(result.violations for result in results)))


@results.command()
def build(
    docs: Annotated[Path, typer.Option(metavar="FOLDER", help="Has templates, and saved ranks in results.")] = Path(
        "docs"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit status 1 where a page differs.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete saved ranks that are on no page.")] = False,
) -> None:
    """Write the results pages from saved ranks."""
    if check and prune:
        raise typer.BadParameter("--check writes nothing: give it without --prune")
    from tasks.publish.results_pages import update  # SciPy and pyarrow: seconds

    raise typer.Exit(update(docs, check, prune))
