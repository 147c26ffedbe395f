"""Shared code of all tasks. A process that imports any of it logs expected errors without their trace."""

from tasks.core import error_log

error_log.install()
