"""Layouts of logs that are known by name: each is a part of the config section ``logs``."""

from __future__ import annotations

from typing import Any

LAYOUTS: dict[str, dict[str, Any]] = {}
