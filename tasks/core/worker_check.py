"""Checks that every process of a flow run has the flow's state folder and code."""

from __future__ import annotations

import os
import socket
from importlib import metadata
from platform import python_version
from typing import NamedTuple

from gensr_model.errors import ConfigError
from tasks.core.source_files import all_code
from tasks.core.state_dir import state_dir, tracking_uri


class WorkerEnvironment(NamedTuple):
    """The values that all processes of one flow run share."""

    home: str
    tracking: str
    code: str  # digest of the sources
    libraries: str  # versions of what writes the files of a dataset


def here() -> WorkerEnvironment:
    """The environment of this process."""
    libraries = [f"{name} {metadata.version(name)}" for name in ("duckdb", "numpy", "pyarrow")]
    versions = ", ".join([f"Python {python_version()}", *libraries])
    return WorkerEnvironment(str(state_dir().root), tracking_uri(), all_code(), versions)


def check(flow: WorkerEnvironment) -> None:
    """Raise ConfigError where this process differs from the flow: the flow would not find its stages."""
    ours = here()
    names = ("GENSR_HOME", "MLFLOW_TRACKING_URI", "the digest of the code", "the set of versions")
    named = zip(names, ours, flow, strict=True)
    if wrong := [f"{name} is {mine}, the flow's is {theirs}" for name, mine, theirs in named if mine != theirs]:
        raise ConfigError(
            f"process {os.getpid()} on {socket.gethostname()}: {'; '.join(wrong)}. Start Dask with "
            "the flow's environment, code and libraries, and restart it after an update."
        )
