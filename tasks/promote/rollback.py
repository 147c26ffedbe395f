"""A person moves the alias ``champion``: to an earlier version, back again, or to any other that can serve.

The move is recorded as a ``Decision``, as every retraining's is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from mlflow.exceptions import MlflowException

from gensr_model.config.base import TASKS
from gensr_model.errors import DataError
from tasks.core.tracking import Tracked, plain_run
from tasks.promote.record import Decision, log_decision, save_decision
from tasks.promote.versions import CHAMPION, PREVIOUS, Version, move_champion, served_models, versions

_COLUMNS = ("version", "registered (UTC)", "outcome", *(f"{task} NDCG@10" for task in TASKS), "alias")


def move(name: str, number: str, reason: str = "") -> Decision:
    """Make a version the champion of the registered model ``name``. Returns the decision, which is recorded.

    Raises:
        DataError: there is no such model or version, it cannot serve, or it is the champion. Nothing has changed then.
    """
    from tasks.promote.model_registry import tag_outcome  # torch: seconds

    reader = Tracked.reader()
    known = versions(reader, name)
    version = _can_serve(reader, name, number, known)
    over = _named(known, CHAMPION)
    now = datetime.now(UTC)
    from_where = f"from version {over.number} " if over else ""
    decision = Decision(
        model=name,
        outcome="promoted",
        new_version=number,
        champion_version=over.number if over else None,
        tasks=version.tasks,
        delta=None,
        max_psi=None,
        metrics=version.metrics,
        reason=f"Moved by hand {from_where}to version {number}, with gensr promote. {reason}".strip(),
        flow_run_id=f"promote-{now:%Y%m%d-%H%M%S}-{uuid4().hex[:6]}",
        ended=now.isoformat(timespec="seconds"),
    )
    with plain_run(f"{name}-to-{number}", "gensr promote", {"registered_model": name}) as run:
        move_champion(run, name, number, over.number if over else None)
        decision = decision.model_copy(update={"mlflow_run_id": run.run_id})
        save_decision(decision, None)
        tag_outcome(run, name, number, decision.outcome, decision.reason)
        log_decision(decision)
    return decision


def previous(name: str) -> str:
    """The number of the version that served before. Raises DataError where there is none."""
    known = versions(Tracked.reader(), name)
    version = _named(known, PREVIOUS)
    if version is None:
        raise DataError(f"{name} has no previous version: its champion has not changed. `gensr promote` lists all.")
    return version.number


def models(name: str | None) -> list[str]:
    """``[name]``, or all registered models that serve. Raises DataError where there is none."""
    names = [name] if name else served_models(Tracked.reader())
    if not names:
        raise DataError("no model is registered. Make the first by `gensr run --deployment retrain/nightly`.")
    return names


def only_model(name: str | None) -> str:
    """``name``, or the registered model that serves. Raises DataError where there is none, or more than one."""
    names = models(name)
    if len(names) > 1:
        raise DataError(f"there are the models {', '.join(names)}. Name one by --model.")
    return names[0]


def table(names: list[str]) -> list[str]:
    """The versions of these models for a terminal, the newest first. Raises DataError for an unknown model."""
    lines: list[str] = []
    for name in names:
        known = versions(Tracked.reader(), name)
        if not known:
            raise DataError(f"there is no registered model {name}. Known are {_models()}.")
        rows = [_COLUMNS, *map(_row, known)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", name] if lines else [name]
        for row in rows:
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return lines


def _can_serve(run: Tracked, name: str, number: str, known: list[Version]) -> Version:
    """The version, after its models were fetched to this machine."""
    if not known:
        raise DataError(f"there is no registered model {name}. Known are {_models()}.")
    version = next((each for each in known if each.number == number), None)
    if version is None:
        raise DataError(f"{name} has no version {number}. Choose one of {_numbers(known)}.")
    if CHAMPION in version.aliases:
        then = f"Choose one of {_numbers(known, number)}" if len(known) > 1 else "There is no other version"
        raise DataError(f"version {number} of {name} is the champion already. {then}.")
    if version.bundle_key is None:
        raise DataError(
            f"version {number} of {name} has no model bundle, as gensr did not register it. Choose one of "
            f"{_numbers([each for each in known if each.bundle_key], number)}."
        )
    from tasks.promote.model_registry import serving_folders

    try:
        serving_folders(run.client.get_model_version(name, number))
    except (MlflowException, OSError) as error:
        message = str(error).partition("\n")[0]
        raise DataError(
            f"the files of version {number} of {name} cannot be read: {message}. Choose another version."
        ) from error
    return version


def _named(known: list[Version], alias: str) -> Version | None:
    return next((each for each in known if alias in each.aliases), None)


def _numbers(known: list[Version], without: str = "") -> str:
    return ", ".join(each.number for each in known if each.number != without) or "none"


def _models() -> str:
    return ", ".join(served_models(Tracked.reader())) or "none"


def _row(version: Version) -> tuple[str, ...]:
    registered = f"{version.registered:%Y-%m-%d %H:%M}"
    outcome = "no bundle" if version.bundle_key is None else version.outcome or "-"
    figures = [version.metrics.get(f"{task}/ndcg_at_10") for task in TASKS]
    shown = ("-" if figure is None else f"{figure:.4f}" for figure in figures)
    return (version.number, registered, outcome, *shown, ", ".join(version.aliases))
