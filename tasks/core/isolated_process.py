"""A stage's function in a process of its own.

Training seeds torch's one random generator, so two trainings cannot share a process; and a process of its own gives a
system its own peak of memory, and dies alone. Only JSON-like values and picklable arguments cross, in memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
import traceback
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from gensr_model import errors
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import GensrError, TrainingError
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import peak_of_this_process
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.processes import process_context
from gensr_model.runtime.progress import Report
from tasks.core.code_version import must_be, versions
from tasks.core.source_files import only_this_version
from tasks.core.work import Work

Metrics = dict[str, float]


class SubprocessError(TrainingError):
    """The function failed, or its process died; the message describes how."""


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
    """Run ``module.name`` of a stage in a new process; its metrics and ``peak_memory_mb``.

    Args:
        folders: the output and the checkpoints of its Work.
        arguments: what follows Work: the config, the input folders, the option.
        share: how many such processes share the cores.
    Raises:
        GensrError: it raised that, of a class in gensr_model/errors.py.
        SubprocessError: it raised another error, or was killed, or the sources have changed since this process began.
    The trace of an error that it raised is a note of the error here.
    """
    context = process_context("tasks.compare.baselines")
    # A Dask worker is a daemon, which may have no children: they might outlive it. Ours die with it, however it ends.
    multiprocessing.current_process().daemon = False
    ours, theirs = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // share)
    process = context.Process(
        target=_child,
        args=(theirs, dict(os.environ), versions(), module, name, folders, arguments, threads),
        daemon=True,
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # frees what a training in this process left reserved
    only_this_version()
    process.start()
    theirs.close()
    try:
        while True:
            try:
                kind, *message = ours.recv()
            except EOFError:
                process.join()
                raise SubprocessError(f"{module}.{name}: {_how_it_died(process.exitcode)}") from None
            if kind == "done":
                return dict(message[0])
            if kind == "failed":
                raise _error(*message)
            getattr(report, kind)(*message)
    finally:
        if process.is_alive():
            process.join(timeout=10)
            process.terminate()
        process.join()
        ours.close()


def _error(kind: str, message: str, ours: bool, trace: str) -> GensrError:
    """The error of the other process, with its trace as a note. One that is not ours is no expected error."""
    known = getattr(errors, kind, None) if ours else None
    error: GensrError = known(message) if known else SubprocessError(message if ours else f"{kind}: {message}")
    error.expected = ours
    error.add_note(trace)
    return error


def _how_it_died(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; signal 9 is often the system's answer to too little memory" if code == -9 else ""
        return f"its process was killed by signal {-code}{hint}"
    return f"its process ended with code {code} and without a result"


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
    os.environ.clear()  # a server's is that of the first of its processes
    os.environ.update(environment)

    keep_freed_memory()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        must_be(code)
        function = getattr(importlib.import_module(module), name)
        build = getattr(function, "build", function)  # of a stage, what fills its folder
        with deterministic():
            metrics = build(Work(*folders, _PipeReport(pipe)), *arguments) or {}
    except Exception as error:
        message = error.full_message if isinstance(error, GensrError) else str(error)
        trace = f"in the process of {module}.{name}:\n{traceback.format_exc()}"
        pipe.send(("failed", type(error).__name__, message, isinstance(error, GensrError), trace))
        sys.exit(1)  # quietly: the parent raises the error
    pipe.send(("done", metrics | peak_of_this_process()))


def _die_with_parent() -> None:
    """Ends this child once its parent is gone: a killed parent ends no child, and nobody would read the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
