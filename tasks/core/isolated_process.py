"""Runs a stage's function in a process of its own.

Training seeds torch's global random generator, so two trainings cannot share a process. A separate process also has a
memory peak of its own, and its crash ends no other training. Only JSON-like values and picklable arguments cross, in
memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.child_errors import SubprocessError, described, how_it_died, restored
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import peak_of_this_process
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.processes import process_context
from gensr_model.runtime.progress import Report
from tasks.core.code_version import must_be, versions
from tasks.core.source_files import only_this_version
from tasks.core.work import Work

Metrics = dict[str, float]


class _PipeReport:
    """Sends metrics and progress to the parent."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.pipe.send(("metrics", values, step))

    def progress(self, done: int, total: int, note: str) -> None:
        self.pipe.send(("progress", done, total, note))


def run_in_subprocess(
    module: str, name: str, folders: tuple[Path, Path], report: Report, arguments: tuple[Any, ...], share: int
) -> Metrics:
    """Run ``module.name`` of a stage in a new process. Returns its metrics and ``peak_memory_mb``.

    Args:
        folders: the output and the checkpoints of its Work.
        arguments: the arguments after Work: the config, the input folders, the option.
        share: number of such processes that share the cores.
    Raises:
        GensrError: the function raised this error, of a class in gensr_model/errors.py.
        SubprocessError: the function raised another error or was killed, or the sources changed after this process
            began.

    The trace of the function's error is a note of the error that this function raises.
    """
    context = process_context("tasks.compare.baselines")
    # A Dask worker is a daemon, and daemons may have no children, which could outlive them. Our children end with it.
    multiprocessing.current_process().daemon = False
    ours, theirs = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // share)
    process = context.Process(
        target=_child,
        args=(theirs, dict(os.environ), versions(), module, name, folders, arguments, threads),
        daemon=True,
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # frees memory that a training in this process has reserved
    only_this_version()
    process.start()
    theirs.close()
    try:
        while True:
            try:
                kind, *message = ours.recv()
            except EOFError:
                process.join()
                raise SubprocessError(f"{module}.{name}: {how_it_died(process.exitcode)}") from None
            if kind == "done":
                return dict(message[0])
            if kind == "failed":
                raise restored(**message[0])
            getattr(report, kind)(*message)
    finally:
        if process.is_alive():
            process.join(timeout=10)
            process.terminate()
        process.join()
        ours.close()


def _child(
    pipe: Connection,
    environment: dict[str, str],
    code: dict[str, str],
    module: str,
    name: str,
    folders: tuple[Path, Path],
    arguments: tuple[PipelineConfig, ...],
    threads: int,
) -> None:
    os.environ.clear()  # a fork server has the environment of its first process
    os.environ.update(environment)

    keep_freed_memory()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        must_be(code)
        function = getattr(importlib.import_module(module), name)
        build = getattr(function, "build", function)  # for a stage, the function that fills its folder
        with deterministic():
            metrics = build(Work(*folders, _PipeReport(pipe)), *arguments) or {}
    except Exception as error:
        pipe.send(("failed", described(error, f"{module}.{name}")))
        sys.exit(1)  # quietly: the parent raises the error
    pipe.send(("done", metrics | peak_of_this_process()))


def _die_with_parent() -> None:
    """End this child when its parent has ended: a killed parent ends no child, and nobody would read the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
