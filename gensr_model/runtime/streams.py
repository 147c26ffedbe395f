"""What the commands print is UTF-8."""

from __future__ import annotations

import io
import sys


def use_utf8() -> None:
    """Let stdout and stderr be UTF-8, whatever the locale says: names and figures have letters that it may lack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
