"""Whether a process that takes part in a flow run keeps its state where the flow does, and has the flow's code."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from gensr_model.errors import ConfigError
from tasks.core.source_files import all_code
from tasks.core.state_dir import state_dir
from tasks.core.tracking import tracking_uri


class WorkerEnvironment(NamedTuple):
    """What all processes of one flow run have in common."""

    home: str
    tracking: str
    code: str  # digest of the sources


def here() -> WorkerEnvironment:
    """The place of this process."""
    return WorkerEnvironment(str(state_dir().root), tracking_uri(), all_code())


def check(flow: WorkerEnvironment) -> None:
    """Raise ConfigError where this process is not at the place of the flow: it would build stages that nobody finds."""
    ours = here()
    named = zip(("GENSR_HOME", "MLFLOW_TRACKING_URI", "the digest of the code"), ours, flow, strict=True)
    if wrong := [f"{name} is {mine}, the flow's is {theirs}" for name, mine, theirs in named if mine != theirs]:
        raise ConfigError(
            f"process {os.getpid()} on {socket.gethostname()}: {'; '.join(wrong)}. Start Dask with the flow's "
            "environment and code, and again after an update"
        )
