"""The versions of registered models as MLflow has them: their record, their aliases and their model cards."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gensr_model.config.base import TASKS, Task
from tasks.core.tracking import Tracked

CHAMPION = "champion"  # alias of the version that serves
PREVIOUS = "previous"  # alias of the version that served before the alias ``champion`` moved last
CARD = "card.md"  # the model card among a model's files
FULL_RANKING = "-full-ranking"  # end of the name of a registered full-ranking model
SHOWN_METRICS = tuple(f"{task}/{metric}" for task in TASKS for metric in ("ndcg_at_10", "recall_at_10"))
_LONGEST = 5_000  # characters of a description that MLflow's databases hold
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class Version(NamedTuple):
    """A version of a registered model."""

    number: str
    registered: datetime  # UTC
    outcome: str  # promoted, kept or failed; empty where no decision is recorded
    reason: str
    metrics: dict[str, float]  # those of SHOWN_METRICS that are recorded, on the test split of its data
    tasks: tuple[Task, ...]  # that it serves
    aliases: tuple[str, ...]
    bundle_key: str | None  # None: not registered by gensr, so it cannot serve
    run_id: str  # the MLflow run that registered it
    card: str  # Markdown; empty where there is none


def served_models(run: Tracked) -> list[str]:
    """The names of all registered models of gensr, without full-ranking models."""
    names, page = [], None
    while page != "":
        result = run.client.search_registered_models("name LIKE 'gensr-%'", page_token=page)
        names += [model.name for model in result if not model.name.endswith(FULL_RANKING)]
        page = result.token or ""
    return names


def versions(run: Tracked, name: str) -> list[Version]:
    """All versions of the registered model ``name``, the newest first. Empty where there is no such model."""
    try:
        aliases = run.client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return []
    entities, page = [], None
    while page != "":
        result = run.client.search_model_versions(f"name = '{name}'", page_token=page)
        entities += list(result)
        page = result.token or ""
    return [_version(each, aliases) for each in sorted(entities, key=lambda each: -int(each.version))]


def alias(run: Tracked, name: str, which: str = CHAMPION) -> ModelVersion | None:
    """The version that the alias names. None where there is no such alias or model."""
    try:
        return run.client.get_model_version_by_alias(name, which)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def move_champion(run: Tracked, name: str, version: str, over: str | None) -> None:
    """Move the alias ``champion`` from the version ``over``, which becomes ``previous``, to another version."""
    if over is not None:
        run.client.set_registered_model_alias(name, PREVIOUS, over)  # first: a killed process leaves both on ``over``
    run.client.set_registered_model_alias(name, CHAMPION, version)


def set_card(run: Tracked, name: str, version: str, model_uri: str, text: str) -> None:
    """Make ``text`` the description of a version, and the file ``card.md`` of its model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CARD
        file.write_text(text, encoding="utf-8")
        run.client.log_model_artifact(model_uri.removeprefix("models:/"), str(file))
    if len(text) > _LONGEST:
        end = f"\n\nThe rest is in `{CARD}` among the model's files.\n"
        text = text[: text.rindex("\n", 0, _LONGEST - len(end))] + end
    run.client.update_model_version(name, version, description=text)


def _version(entity: ModelVersion, aliases: dict[str, str]) -> Version:
    tags, number = entity.tags, str(entity.version)
    return Version(
        number=number,
        registered=datetime.fromtimestamp(entity.creation_timestamp / 1000, UTC),
        outcome=tags.get("outcome", ""),
        reason=tags.get("decision", ""),
        metrics={metric: float(tags[metric]) for metric in SHOWN_METRICS if metric in tags},
        tasks=tuple(task for task in TASKS if task in tags.get("tasks", ",".join(TASKS)).split(",")),
        aliases=tuple(name for name, where in sorted(aliases.items()) if str(where) == number),
        bundle_key=tags.get("bundle_key"),
        run_id=str(entity.run_id or ""),
        card=entity.description or "",
    )
