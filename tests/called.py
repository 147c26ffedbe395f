"""The command line, called in this process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from flows.cli.app import app


def gensr(*arguments: object) -> Any:
    """What ``gensr ...`` ends with: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="gensr")
