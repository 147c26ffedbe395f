"""Layouts of logs that are known by name: each is a part of the config section ``logs``."""

from __future__ import annotations

from typing import Any

#: What ``logs.<table>.lines`` may be: ``sql/tables/lines_<name>.sql`` turns JSON lines into lines of one row each.
LINE_STEPS: tuple[str, ...] = ()
LAYOUTS: dict[str, dict[str, Any]] = {}
