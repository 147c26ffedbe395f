"""The tools of a stage's function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gensr_model.runtime.progress import Report


class Work(NamedTuple):
    """The tools of a stage function: an empty folder to fill, a folder that survives a crash, and a listener."""

    out: Path
    checkpoints: Path
    report: Report


# The function of a stage: (work, config, *input folders, [option]) -> metrics or None.
Builder = Callable[..., dict[str, float] | None]
