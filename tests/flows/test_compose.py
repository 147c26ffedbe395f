"""docker/compose.yaml: its commands, variables, ports and secrets. Docker itself checks it where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from flows.cli.app import app
from flows.local.installation import ROOT, Local
from flows.local.stores import Stores
from tasks.core.state_dir import StateDir

COMPOSE = ROOT / "docker" / "compose.yaml"
CONTENT = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "gensr"}
BY_LIBRARIES = {"PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}


def test_there_are_the_servers_of_a_team() -> None:
    assert SERVICES.keys() >= {"postgres", "prefect", "mlflow", "worker"}
    assert OURS.keys() == SERVICES.keys() - {"postgres"}


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_of_ours(name: str) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("gensr", list(OURS[name]["command"]), resilient_parsing=True)
    command, *arguments = OURS[name]["command"]
    found = group.get_command(context, command)  # type: ignore[attr-defined]
    given = found.make_context(command, arguments, parent=context).params
    if command == "up":
        assert given["only"] == name


def test_each_variable_is_one_that_the_code_reads() -> None:
    sources = [path for room in ("flows", "tasks", "gensr_model") for path in (ROOT / room).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for service in OURS.values():
        for name in service["environment"].keys() - BY_LIBRARIES:
            assert f'"{name}"' in code, name


def test_the_servers_get_the_databases_that_postgresql_makes(tmp_path: Path) -> None:
    made = {SERVICES["postgres"]["environment"]["POSTGRES_DB"]}
    made |= set(re.findall("create database (\\w+);", (ROOT / "docker" / "databases.sql").read_text(encoding="utf-8")))
    for name in ("prefect", "mlflow"):
        given = {key: str(value) for key, value in OURS[name]["environment"].items() if "${" not in str(value)}
        here = Local(StateDir(tmp_path), 4200, 5000, {}, Stores.of(given))
        server = {"prefect": here.prefect_server, "mlflow": here.mlflow_server}[name]
        (url,) = [value for value in here.of_server(server).values() if value.startswith("postgresql+")]
        assert url.partition("://")[2] == f"gensr@postgres/{name}"
        assert name in made


def test_services_wait_for_services_that_say_when_they_are_ready() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]


def test_every_volume_is_declared_and_every_port_is_of_this_machine_only() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert place.startswith((".", "$")) or place in CONTENT["volumes"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_no_secret_stands_in_the_files_or_in_the_image() -> None:
    secret = re.compile("password|secret|key|token", re.IGNORECASE)
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if secret.search(name):
                assert re.fullmatch(r"\$\{[A-Z_]+:[?-][^}]*\}", value), name
                assert ":?" in value or value.endswith(":-}"), f"{name} has a default"
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), name
    docker = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", docker, re.MULTILINE)[-1] == "gensr"
    assert not re.findall(r"^(?:ENV|ARG).*(?:password|secret|token)", docker, re.MULTILINE | re.IGNORECASE)
    ignored = (ROOT / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", docker, re.MULTILINE) for name in line.split()}
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_docker_itself_accepts_it() -> None:
    compose = [shutil.which("docker") or "docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*compose, "version"], capture_output=True).returncode:
        pytest.skip("no docker compose on this machine")
    done = subprocess.run(
        [*compose, "--file", COMPOSE, "--profile", "*", "config", "--quiet"],
        env=os.environ | {"POSTGRES_PASSWORD": "of-a-test"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
