"""What is measured: parts of a run, one JSON line each, and which of them are still to be measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

INDEX = "index"  # the data of the part ``serve``: a catalogue of a million items
SERVE = "serve"
Line = dict[str, Any]


class Job(NamedTuple):
    """A part at a share of a data set's size."""

    data: str
    share: float
    part: str


def jobs(data: list[str], shares: list[float], parts: list[str]) -> list[Job]:
    """The wanted jobs: the smallest share first, and each data set's parts in their order."""
    own = [part for part in parts if part != SERVE]
    found = [Job(name, share, part) for share in sorted(shares) for name in data for part in own]
    return found + [Job(INDEX, share, SERVE) for share in sorted(shares) if SERVE in parts]


def read(file: Path) -> dict[Job, Line]:
    """The last line of each job. A line that a killed run left incomplete is ignored."""
    known: dict[Job, Line] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        known[Job(line["data"], line["share"], line["part"])] = line
    return known


def append(file: Path, line: Line) -> None:
    """Add a line. It starts on a line of its own, also after a line that a killed run left incomplete."""
    with file.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, 2)
            stream.write(b"" if stream.read(1) == b"\n" else b"\n")
        stream.write(f"{json.dumps(line)}\n".encode())


def measure(
    wanted: list[Job],
    file: Path,
    needs: Mapping[str, tuple[str, ...]],
    is_made: Callable[[Job], bool],
    run: Callable[[Job], Line],
) -> Iterator[Line]:
    """Measure what has no good line in ``file`` yet, and append its line. Gives the new lines.

    A job runs after those that it needs. One of these that has a line, but whose output is gone, runs again and keeps
    its line. A failure is a line with ``error``. It is tried again by the next call, not by this one.
    """
    failed: dict[Job, str] = {}

    def made(job: Job) -> Iterator[Line]:
        """Run a job whose needs are not met last. Afterwards it is made, or in ``failed``."""
        lacking = [job._replace(part=part) for part in needs.get(job.part, ())]
        for need in lacking:
            if need not in failed and not is_made(need):
                yield from made(need)
        if missing := [need.part for need in lacking if need in failed]:
            line = job._asdict() | {"error": f"it needs {', '.join(missing)}, which failed"}
        else:
            line = run(job)
        if "error" in line:
            failed[job] = line["error"]
        earlier = read(file).get(job)
        if "error" in line or earlier is None or "error" in earlier:
            append(file, line)
            yield line

    for job in wanted:
        earlier = read(file).get(job)
        if job not in failed and (earlier is None or "error" in earlier):
            yield from made(job)
