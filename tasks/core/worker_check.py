"""Checks that every process of a flow run has the flow's state folder and code."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from gensr_model.errors import ConfigError
from tasks.core.source_files import all_code
from tasks.core.state_dir import state_dir
from tasks.core.tracking import tracking_uri


class WorkerEnvironment(NamedTuple):
    """The values that all processes of one flow run share."""

    home: str
    tracking: str
    code: str  # digest of the sources


def here() -> WorkerEnvironment:
    """The environment of this process."""
    return WorkerEnvironment(str(state_dir().root), tracking_uri(), all_code())


def check(flow: WorkerEnvironment) -> None:
    """Raise ConfigError where this process differs from the flow: the flow would not find its stages."""
    ours = here()
    named = zip(("GENSR_HOME", "MLFLOW_TRACKING_URI", "the digest of the code"), ours, flow, strict=True)
    if wrong := [f"{name} is {mine}, the flow's is {theirs}" for name, mine, theirs in named if mine != theirs]:
        raise ConfigError(
            f"process {os.getpid()} on {socket.gethostname()}: {'; '.join(wrong)}. Start Dask with "
            "the flow's environment and code, and restart it after an update."
        )
