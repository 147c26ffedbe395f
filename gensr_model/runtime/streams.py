"""Output of the commands in UTF-8."""

from __future__ import annotations

import io
import sys


def use_utf8() -> None:
    """Make stdout and stderr UTF-8 for any locale: names and numbers contain characters that a locale may lack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
