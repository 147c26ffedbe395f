"""The command line as it is typed: help, exit status, the last line of stderr, and what reaches a run."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from called import gensr
from typer.testing import CliRunner

from flows.cli import app
from flows.local import watch
from flows.local.installation import ROOT
from gensr_model.errors import DataError

COMMANDS = ("run", "recommend", "up", "down", "status", "report", "audit", "results", "promote")
# A locale without UTF-8, which Python would else mend by itself.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that nobody has made."""
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def started(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What ``gensr run`` would have run: config, deployment and the command of the next run."""
    runs: list[tuple[Any, ...]] = []
    monkeypatch.setattr(app.installation, "enter", lambda: None)
    monkeypatch.setattr(watch, "run", lambda here, config, *more: runs.append((config, *more)) or 0)
    return runs


def shell(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``gensr`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=os.environ | {"GENSR_HOME": str(home)} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def test_every_command_says_what_it_does() -> None:
    overview = gensr("--help").stdout
    for command in COMMANDS:
        done = gensr(command, "--help")
        assert done.exit_code == 0
        assert f"gensr {command}" in done.stdout
        assert f" {command} " in overview


def test_options_of_a_run_reach_it(started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine.yaml").write_text("name: mine\nseed: 4\n", encoding="utf-8")
    done = gensr("run", "--config", "mine.yaml", "--data", "mine", "--preset", "small", "--format", "kuaisar",
                 "--set", "train.epochs=3", "--set", "seed=5", "--deployment", "ablation/paper")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert started == [
        (
            {"name": "mine", "seed": 5, "source": str(tmp_path / "mine"), "format": "kuaisar", "preset": "small",
             "train": {"epochs": 3}},
            "ablation/paper",
            "run --config mine.yaml --data mine --format kuaisar --set train.epochs=3 --set seed=5 --preset best",
        )
    ]  # fmt: skip
    assert gensr("run").exit_code == 0
    assert gensr("run", "--data", "generated").exit_code == 0
    assert [each[:2] for each in started[1:]] == [
        ({}, "gensr/full-pipeline"),
        ({"source": "generated"}, "gensr/full-pipeline"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--preset", "huge"],
        ["run", "--set", "train.epochs"],
        ["run", "--set", "=3"],
        ["run", "--epochs", "3"],
        ["run", "mine.yaml"],
        ["go"],
        ["run", "--data", ""],
        ["audit"],
        ["results", "build", "--check", "--prune"],
        ["serve", "--demo", "--model", "gensr-mine"],
        ["serve", "--bundle", ".", "--version", "2"],
        ["serve", "--port", "65536"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_where_help_is(started: list[Any], arguments: list[str]) -> None:
    done = gensr(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--help" in done.stderr
    assert not started


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["run", "--set", "epochs=3"], "gensr: ConfigError: --set epochs: no such field. The nearest are "),
        (["run", "--config", "none.yaml"], "gensr: ConfigError: none.yaml: No such file or directory"),
        (["run", "--data", "./none/of them"], "gensr: DataError: ./none/of them: there is no such folder, seen from "),
        (["report"], "gensr: DataError: "),
        (["audit", "/none"], "gensr: DataError: /none/manifest.json is missing"),
        (["serve", "--host", "0.0.0.0"], "gensr: ConfigError: other machines can reach 0.0.0.0, so requests need an"),
        (["serve", "--bundle", "/none"], "gensr: DataError: /none has no config.json, so it is no"),
    ],
)
def test_an_expected_error_is_the_last_line_and_its_trace_is_in_a_file(
    started: list[Any], home: Path, arguments: list[str], last: str
) -> None:
    done = gensr(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(last)
    assert "Traceback" not in done.stderr
    log = home / "logs" / "errors" / f"{arguments[0]}.log"
    assert "Trace: " not in done.stderr, "the message is enough"
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")
    assert not started


@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_a_wrong_port_ends_any_command_that_way(home: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSR_PREFECT_PORT", "http")
    done = gensr(command)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("gensr: ServiceError: GENSR_PREFECT_PORT='http' is no port")


def test_an_unexpected_error_keeps_its_trace_and_shows_no_values(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        secret = "hunter2"
        raise ZeroDivisionError(len(secret))

    monkeypatch.setattr(watch, "run", fail)
    done = gensr("run")
    assert isinstance(done.exception, ZeroDivisionError)
    assert "hunter2" not in done.output


def test_report_prints_where_the_page_is(home: Path) -> None:
    run = home / "runs" / "one"
    run.mkdir(parents=True)
    (run / "report.html").write_text("<p>−</p>", encoding="utf-8")
    (home / "runs" / "latest").symlink_to("one")
    for given in ([], ["one"], [str(run)]):
        done = gensr("report", *given)
        assert done.exit_code == 0
        assert Path(done.stdout.strip()).resolve() == run / "report.html"


def test_status_of_a_machine_without_servers(tmp_path: Path) -> None:
    done = shell(tmp_path / "home", "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [
        str(tmp_path / "home"), "down", "down", "down", "folder", "folder", "folder", "none"
    ]  # fmt: skip
    assert not (tmp_path / "home").exists()


def test_text_is_utf8_whatever_the_locale_says(tmp_path: Path) -> None:
    home = tmp_path / "Bücher −1"
    done = shell(home, "report", "läuft", **ASCII)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"gensr: DataError: {home}/runs/läuft/report.html: ")
    (tmp_path / "mine.yaml").write_text("preset: größer", encoding="utf-8")
    done = shell(home, "run", "--config", str(tmp_path / "mine.yaml"), **ASCII)
    assert "Input should be 'demo'" in done.stderr


def test_completion_offers_commands_presets_and_fields() -> None:
    def offered(words: str) -> str:
        count = str(len(words.split(" ")) - 1)
        asked = {"_GENSR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
        return str(CliRunner().invoke(app.app, prog_name="gensr", env=asked).stdout)

    assert set(offered("gensr ").split()) >= set(COMMANDS)
    assert offered("gensr run --preset be").split() == ["best"]
    assert "train.epochs=" in offered("gensr run --set train.ep").split()


def test_the_console_script_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["gensr"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


SCRIPT = f"""#!{sys.executable}
import json, os
from flows.cli import app, main
app.installation.enter = lambda: None
app.options.check_folder = lambda tree, data: None
app.watch.run = lambda here, config, *more: print(json.dumps([os.environ["GENSR_HOME"], config])) or 0
main()
"""


def make(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A target of the Makefile, with a command line that starts nothing."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "gensr").write_text(SCRIPT, encoding="utf-8")
    (venv / "bin" / "gensr").chmod(0o755)
    (venv / "installed.stamp").touch()
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", "--no-print-directory", f"VENV={venv}", f"GENSR_HOME={tmp_path}/ho'me $x", *arguments],
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize(
    ("place", "name", "source"),
    [
        ("argument", 'men\'s "new" shoes', "/data/$new/$$x/$(shell echo no)/100 %s"),
        ("environment", 'men\'s "new" shoes', "/data/$new/$$x/$(shell echo no)/100 %s"),
        ("argument", "två ord, 帽子 # no comment\\ ", "/data/`id`;a & b|c/~!*"),
        ("file", "men's", "/data/$new"),
    ],
)
def test_make_passes_its_config_as_typed(tmp_path: Path, place: str, name: str, source: str) -> None:
    text = json.dumps({"name": name, "source": source}, indent=1, ensure_ascii=False)  # several lines
    if place == "file":
        (tmp_path / "it's $mine.json").write_text(text, encoding="utf-8")
        text = str(tmp_path / "it's $mine.json")
    done = make(tmp_path, "run", CONFIG=text) if place == "environment" else make(tmp_path, "run", f"CONFIG={text}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"{tmp_path}/ho'me $x", {"name": name, "source": source}]


def test_make_audits_the_folder_as_typed(tmp_path: Path) -> None:
    done = make(tmp_path, "audit", "DATASET=/no/it's $here")
    assert "gensr: DataError: /no/it's $here/manifest.json is missing" in done.stderr
    assert done.returncode != 0
    assert "name a prepared folder" in make(tmp_path / "again", "audit").stderr


def test_no_expected_error_is_taken_for_a_fault(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise DataError("/data/reviews: line 3 is cut short. Copy the file again.")

    monkeypatch.setattr(watch, "run", fail)
    done = gensr("run")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "gensr: DataError: /data/reviews: line 3 is cut short. Copy the file again."


def test_recommend_runs_its_deployment_and_names_a_missing_file_before(
    started: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.csv").write_text("user\nu1\n", encoding="utf-8")
    done = gensr("recommend", "--users", "users.csv", "--output", "env:RECS", "--top-n", "3", "--set", "name=shop")
    assert done.exit_code == 0, done.stderr
    wanted = {"users": str(tmp_path / "users.csv"), "output": "env:RECS", "top_n": 3}
    assert started == [({"name": "shop", "recommend": wanted}, "recommend/batch")]
    done = gensr("recommend", "--queries", "gone.csv")
    assert done.exit_code == 1
    assert f"recommend.queries: {tmp_path}/gone.csv is no file. Give the path" in done.stderr
    assert len(started) == 1
