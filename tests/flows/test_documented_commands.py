"""The commands of README and docs: Prefect's server would take their parameters, and the config too."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from called import gensr
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools.validation import validate

from flows.cli import options
from flows.local import installation, watch
from gensr_model.config.pipeline import PipelineConfig

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"prefect deployment run ([a-z/-]+)(?: --watch)? --params '([^']*)'")
CONFIG = re.compile(r"make run CONFIG='([^']*)'")
GENSR = re.compile(r"(?:^|`)gensr (?:run|check)((?: [^`#\n]*)?)", re.MULTILINE)
YAML = re.compile(r"```yaml\n# (\S+\.yaml)\n(.*?)```", re.DOTALL)


def pages() -> str:
    return "\n".join(
        page.read_text(encoding="utf-8")
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/shop/README.md"]
    )


def commands() -> list[tuple[str, str]]:
    """Deployment and parameters of every command that is not cut short by dots or by words in brackets."""
    text = pages()
    result = [(name, params) for name, params in COMMAND.findall(text)]
    result += [("gensr/full-pipeline", f'{{"config": {config}}}') for config in CONFIG.findall(text)]
    return [(name, params) for name, params in dict.fromkeys(result) if "..." not in params and "[the" not in params]


@cache
def schema(deployment: str) -> dict[str, Any]:
    """What the server keeps of the flow's parameters."""
    flow, name = deployment.split("/")
    known = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (entrypoint,) = [one["entrypoint"] for one in known if one["name"] == name]
    result = import_object(entrypoint)
    assert result.name == flow
    return parameter_schema(result).model_dump_for_openapi()


def test_there_are_commands_of_most_kinds() -> None:
    assert len(commands()) > 10
    assert len({name for name, _ in commands()}) > 3


@pytest.mark.parametrize(
    ("deployment", "params"), commands(), ids=[f"{n}-{name}" for n, (name, _) in enumerate(commands())]
)
def test_a_documented_command_is_taken(deployment: str, params: str) -> None:
    given = json.loads(params.replace("FOLDER", "/folder"))
    validate(given, schema(deployment), raise_on_error=True)
    PipelineConfig.model_validate(given["config"])


def test_every_documented_run_of_the_command_line_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the YAML files that the pages print. ``gensr check`` takes the options of ``gensr run``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(watch, "run", lambda here, config, deployment, better: schema(deployment) is None)
    monkeypatch.setattr(options, "check_folder", lambda tree, data: None)  # the pages name folders of yours
    monkeypatch.setattr(installation, "enter", lambda: None)
    for name, text in YAML.findall(pages()):
        (tmp_path / name).write_text(text, encoding="utf-8")
    given = {line.strip() for line in GENSR.findall(pages()) if "--help" not in line}
    assert len(given) > 3
    for line in given:
        done = gensr("run", *shlex.split(line))
        assert done.exit_code == 0, f"{line}: {done.stderr}"
