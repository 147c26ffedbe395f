"""Generated data of the paper's sizes through every stage: seconds, peak memory, the extrapolated whole, and growth.

python -m benchmarks.paper_size [--data kindle kuaisar] [--parts lightgcn sasrec ...] [--shares 0.25 0.5 1]
                                [--to lines.jsonl] [--place FOLDER] [--table]

kindle has the size of the paper's Kindle Store, kuaisar of KuaiSAR-full. The part `serve` has a catalogue of a million
items. Each part is a child process and adds one JSON line to `--to`. A line that is there is not measured again, so a
killed run goes on where it was. A part that fails is a line with its error, and the next call tries it again. `score`
and `full-ranking` take the models that are trained by then: delete their line to measure them with more. The output of
the parts stays in `--place`.

A model trains 300 steps, validates once and saves its bundle; `whole` has the epochs of the preset, without early
stopping. `score` and `full-ranking` rank 2,000 and 500 test samples; `whole` has all of them. LightGCN trains 2 epochs.
Exponents are least squares over the shares, of CPU seconds, with n = rows after the filter. `--table` measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.paper_size import lines, table
from benchmarks.paper_size.lines import Job, Line
from benchmarks.sides import arguments, in_child

DATA = ("kindle", "kuaisar")
PLACE = Path("build/paper_size")


def folder_of(place: Path, job: Job) -> Path:
    """The folder of a data set at a share."""
    return place / f"{job.data}-{job.share:g}"


def is_made(place: Path, job: Job) -> bool:
    """Whether the output of a job is complete."""
    return (folder_of(place, job) / "made" / job.part).is_file()


def run(place: Path, preset: str, threads: int, job: Job) -> Line:
    """Run a job in a child. An error is the last line that the child wrote; all of it is in a log beside the output."""
    folder = folder_of(place, job)
    made, log = folder / "made" / job.part, folder / "logs" / f"{job.part}.log"
    made.unlink(missing_ok=True)
    for needed in (made.parent, log.parent):
        needed.mkdir(parents=True, exist_ok=True)
    words = ("--child", job.part, "--data", job.data, "--shares", job.share, "--place", folder.resolve())
    command = [sys.executable, "-m", "benchmarks.paper_size", *words, "--preset", preset, "--threads", threads]
    with log.open("wb") as stream:
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=stream)
    written = done.stdout.decode().splitlines()
    if done.returncode or not written:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"ended with {done.returncode}"
        return job._asdict() | {"error": f"{how}: {said[-1][:300]}" if said else how}
    made.touch()
    return job._asdict() | {"preset": preset, "threads": threads} | json.loads(written[-1])


def show(file: Path) -> None:
    """Print the table, what failed, and the goals."""
    known = lines.read(file)
    stages = table.rows(known)
    print("\n".join(("", *table.markdown(stages), "", *table.failures(known), *table.verdicts(stages))))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), help="of kindle and kuaisar")
    parser.add_argument("--parts", nargs="+", help="all where none is given; an unknown one prints them")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 0.5, 1.0])
    parser.add_argument("--to", type=Path, default=PLACE / "lines.jsonl")
    parser.add_argument("--place", type=Path, default=PLACE)
    parser.add_argument("--preset", default="best")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--table", action="store_true", help="print the table of --to")
    parser.add_argument("--child", help="be the process of this part")
    given = parser.parse_args()
    if given.child:
        from benchmarks.paper_size import stages  # PyTorch, whose memory a child would begin with if this had it

        if given.child == "plan":
            print(json.dumps(stages.plan()))
        else:
            settings = (given.data[0], given.shares[0], given.preset, given.place, given.threads)
            print(json.dumps(stages.run_part(given.child, *settings)))
        return
    if not given.table:
        needs = {part: tuple(of) for part, of in in_child("paper_size", "--child", "plan").items()}
        for kind, wanted, known in (("data", given.data, DATA), ("part", given.parts or [], needs)):
            if unknown := [name for name in wanted if name not in known]:
                parser.error(f"no {kind} is called {', '.join(unknown)}; choose from {', '.join(known)}")
        given.to.parent.mkdir(parents=True, exist_ok=True)
        wanted = lines.jobs(given.data, given.shares, given.parts or list(needs))
        how = (partial(is_made, given.place), partial(run, given.place, given.preset, given.threads))
        for line in lines.measure(wanted, given.to, needs, *how):
            print(json.dumps(line), flush=True)
    show(given.to)


if __name__ == "__main__":
    main()
