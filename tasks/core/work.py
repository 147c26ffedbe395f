"""What a stage's function works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gensr_model.runtime.progress import Report


class Work(NamedTuple):
    """What a stage function works with: an empty folder to fill, a folder that outlives a crash, a listener."""

    out: Path
    checkpoints: Path
    report: Report


# The function of a stage: (work, config, *input folders, [option]) -> metrics or None.
Builder = Callable[..., dict[str, float] | None]
