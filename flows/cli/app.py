"""The command line ``gensr``: its commands, their options and help.

A command is a function here, or in a module of this folder that hands one to ``app.command()``; what is slow to import
it imports itself. An expected error (``GensrError``) ends any command with its message last and exit status 1, wrong
usage ends with 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli.assignments import paths
from flows.cli.config_tree import read_config
from flows.local import installation, servers, watch
from gensr_model.config.known_formats import FORMATS
from gensr_model.config.presets import PRESETS
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


def _known(names: list[str], what: str) -> Any:
    def check(given: str | None) -> str | None:
        if given is not None and given not in names:
            raise typer.BadParameter(f"{given!r} is no {what}: expected {', '.join(names)}")
        return given

    return check


def _is_assignment(given: list[str]) -> list[str]:
    for one in given:
        if not one.partition("=")[1]:
            raise typer.BadParameter(f"{one!r}: expected a field and a value, such as train.epochs=3")
    return given


def _source(data: str | None) -> str | None:
    """The config's ``source``, in which a path has a slash."""
    if data is not None and not data.strip():
        raise typer.BadParameter("expected the path of a folder")
    return data if data is None or "/" in data or data in ("generated", "download") else f"./{data}"


@app.command()
def run(
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            envvar="GENSR_CONFIG",
            show_envvar=False,
            metavar="FILE",
            help="YAML or JSON file with the fields that differ from the preset; or the JSON itself.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder with your raw files; or the word generated, or download."),
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help=f"Format of the raw files: {', '.join(FORMATS)}, or module:NAME of yours.",
            autocompletion=lambda: list(FORMATS),
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"What all other fields begin with: {', '.join(PRESETS)}.",
            callback=_known(list(PRESETS), "preset"),
            autocompletion=lambda: list(PRESETS),
        ),
    ] = None,
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="One field by its path, such as train.epochs=3. May be repeated.",
            callback=_is_assignment,
            autocompletion=lambda: [f"{path}=" for path in paths()],
        ),
    ] = [],  # noqa: B006 Typer's own copies
    deployment: Annotated[
        str, typer.Option(metavar="FLOW/NAME", help="What to run: a deployment of prefect.yaml.")
    ] = watch.PIPELINE,
) -> None:
    """Train and compare on your data, show the table, and say where the report is.

    Starts the local servers where they are not up. Without options it runs on generated data.
    The options win over the file, --set wins over all. Unchanged stages are reused.

    Example: gensr run --data /data/mine --preset best --set train.epochs=3
    """  # fmt: skip
    options = {"source": _source(data), "format": data_format, "preset": preset}
    tree = read_config(config, options, sets)
    raise typer.Exit(watch.run(installation.enter(), tree, deployment))


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
    from tasks.publish.results_pages import update  # SciPy and pyarrow: seconds

    if check and prune:
        raise typer.BadParameter("--check writes nothing: give it without --prune")
    raise typer.Exit(update(docs, check, prune))
