"""Train the missing cells of the results pages, one after another.

python -m benchmarks.tables --data FOLDER [--next] [--only WORD ...] [--minutes 120]

Every cell without saved ranks below ``--cells`` is trained in a separate process and saved when it ends. The command
can be killed and restarted anywhere: stages and checkpoints are in ``--home``. A second command in parallel takes the
cells that the first does not train. ``--next`` trains nothing: it lists the missing cells and their expected duration.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.sides import arguments
from benchmarks.tables.plan import PAPERS_TEXT, Cell, cells, is_finished
from benchmarks.tables.train import HELD
from gensr_model.evaluation.cells import read_cell
from gensr_model.evaluation.metrics import summarize

CELLS = Path("docs/results/cells")
# Training samples of a data set as a multiple of amazon-scientific's. The duration of a training grows with them.
SIZE = {"amazon-scientific": 1.0, "amazon-beauty": 2.6, "generated-kuaisar": 0.2}
TUNED = 3.0  # a training with its four short trials, as a multiple of the training


def finished_metrics(folder: Path) -> dict[Cell, dict[str, float]]:
    """NDCG@10 by task of every finished cell of one system."""
    known = {}
    for cell in cells({}):
        if len(cell.systems) == 1 and is_finished(cell, folder):
            by_task = summarize(read_cell(folder / cell.paths[cell.system]).ranks)
            known[cell] = {task: row["ndcg_at_10"] for task, row in by_task.items()}
    return known


def open_cells(folder: Path) -> list[Cell]:
    """The missing cells, in order."""
    return [cell for cell in cells(finished_metrics(folder)) if not is_finished(cell, folder)]


def can_start(cell: Cell, folder: Path) -> bool:
    """Whether the cell chooses its hyperparameters itself, or they are already chosen."""
    return cell.tunes or cell.chosen_in is None or is_finished(cell.chosen_in, folder)


def expected_seconds(cell: Cell, folder: Path) -> float | None:
    """Expected duration from the same system's epochs, on any data set. None where it was never trained."""
    presets, studies, datasets = (cell.preset, "best"), (cell.study, "rerank"), (cell.dataset, *SIZE)
    for preset, study, dataset in itertools.product(presets, studies, datasets):
        other = cell._replace(preset=preset, study=study, dataset=dataset, seed=0)
        took = _seconds_of_training(other, folder)
        if took is not None:
            return took * (TUNED if cell.tunes else 1.0) * SIZE[cell.dataset] / SIZE[dataset]
    return None


def _seconds_of_training(cell: Cell, folder: Path) -> float | None:
    """Epochs times seconds of an epoch, from this command or an older one. None where they are unknown."""
    path = folder / next(iter(cell.paths.values()))
    earlier = "@laptop-earlier" if cell.preset == PAPERS_TEXT else "@earlier"
    for saved in (path, path.with_name(f"{cell.system}{earlier}-seed{cell.seed}.parquet")):
        costs = read_cell(saved).record.costs if saved.is_file() else {}
        if {"epochs", "seconds_per_epoch"} <= costs.keys():
            return costs["epochs"] * costs["seconds_per_epoch"]
    return None


def tell(missing: list[Cell], folder: Path) -> None:
    """Print the missing cells and their expected duration."""
    if not missing:
        print("nothing")
        return
    known = {cell: expected_seconds(cell, folder) for cell in missing}
    for cell, seconds in known.items():
        about = "never trained" if seconds is None else f"about {seconds / 60:.0f} minutes"
        waits = "" if can_start(cell, folder) else ", after its hyperparameters are chosen"
        print(f"{cell.name}: {about}{waits}")
    timed = [seconds for seconds in known.values() if seconds is not None]
    print(f"{len(missing)} cells are missing. {len(timed)} of them take about {sum(timed) / 3600:.1f} hours.")


def run(cell: Cell, data: Path, folder: Path, home: Path) -> int:
    """Train one cell in a separate process. Returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="gensr-tables-") as prefect:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))} | {
            "GENSR_HOME": str(home),
            "PREFECT_HOME": prefect,
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",  # the server starts slowly at idle priority
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "results"),
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "benchmarks.tables.train", json.dumps(cell), str(data), str(folder)]
        child = subprocess.Popen(command, env=environment)
        try:
            return child.wait()
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="the folder with a folder of raw files for each data set")
    parser.add_argument("--cells", type=Path, default=CELLS, help=f"where ranks are saved ({CELLS})")
    parser.add_argument("--home", type=Path, default=Path(".gensr"), help="state folder (.gensr)")
    parser.add_argument("--next", action="store_true", help="say what is missing and end")
    parser.add_argument("--only", nargs="*", default=[], help="words that all stand in a cell's name")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so long")
    given = parser.parse_args()
    folder, begun = given.cells.resolve(), time.monotonic()
    if given.next:
        tell([cell for cell in open_cells(folder) if _named(cell, given.only)], folder)
        return 0
    if given.data is None:
        parser.error("--data is missing: give the folder that has a folder of raw files for each data set")
    failed = set()
    for cell in _until_done(folder, given.only):
        if time.monotonic() - begun > 60 * given.minutes:
            break
        print(f"{time.strftime('%H:%M:%S')} {cell.name}", flush=True)
        status = run(cell, given.data.resolve(), folder, given.home.resolve())
        if status not in (0, HELD):
            failed.add(cell)
            print(f"{cell.name}: failed with status {status}, see above", flush=True)
    tell([cell for cell in open_cells(folder) if _named(cell, given.only)], folder)
    return 1 if failed else 0


def _named(cell: Cell, words: list[str]) -> bool:
    return set(words) <= set(cell.name.split())


def _until_done(folder: Path, words: list[str]) -> Iterator[Cell]:
    """The cells that can start and have not, looked up again after each, because other commands save cells too."""
    seen: set[Cell] = set()
    while True:
        ready = [c for c in open_cells(folder) if c not in seen and can_start(c, folder) and _named(c, words)]
        if not ready:
            return
        seen.add(ready[0])
        yield ready[0]


if __name__ == "__main__":
    sys.exit(main())
