"""One of several processes that train together. ``gensr_model.runtime.launch`` starts them.

accelerate launch ... -m gensr_model.runtime.launched JOB.json [--listened-to]

With ``--listened-to`` the process writes to the pipe that is its stdout, and ends when its stdin does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from gensr_model.runtime.child_errors import described
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.files import write_json
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.progress import NullReport, Report

_EVERY = 1.0  # seconds between two looks for errors of others


class _LineReport:
    """Writes each call as a line of JSON."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def say(self, *message: Any) -> None:
        """One line."""
        print(json.dumps(message), file=self.stream, flush=True)

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.say("metrics", values, step)

    def progress(self, done: int, total: int, note: str) -> None:
        self.say("progress", done, total, note)


def main(file: Path, listened_to: bool) -> None:
    """Run the job's function. An error becomes a file beside the job."""
    rank = int(os.environ["RANK"])
    # The pipe is for messages alone: what else writes to stdout writes to stderr.
    listener = _LineReport(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    if listened_to:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    threading.Thread(target=_end_with_others, args=(file.parent,), daemon=True).start()
    job = json.loads(file.read_text(encoding="utf-8"))
    # It has a new name in some versions of PyTorch, and none of the names is in all of them.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    keep_freed_memory()
    torch.set_num_threads(job["threads"])
    report: Report = listener if listened_to and not rank else NullReport()
    module, _, name = job["function"].partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        with deterministic():
            metrics = function(report, **job["arguments"])
    except Exception as error:
        write_json(file.with_name(f"failed-{rank}.json"), described(error, job["function"]))  # see _end_with_others
        sys.stderr.flush()
        os._exit(1)  # at once: the others may wait for this process
    if not rank:
        listener.say("done", metrics)


def _end_with_stdin() -> None:
    """End this process when nobody holds the other end of stdin: the one that reads its results has ended."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _end_with_others(folder: Path) -> None:
    """End this process when another has failed: one of another machine may have failed before they were a group."""
    while not any(folder.glob("failed-*.json")):
        time.sleep(_EVERY)
    os._exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--listened-to", action="store_true", help="the first process writes to a pipe")
    given = parser.parse_args()
    main(given.job, given.listened_to)
