"""Our baselines beside RecBole's systems of the same names: same training events, same frozen lists.

python -m benchmarks.peers ../shared/data/amazon-scientific [--systems sasrec ...] [--again]

The raw files are prepared (preset ``laptop``, seed 0). A system without saved ranks is trained in RecBole's own
environment, which is made from ``requirements.txt`` at its first use. Where that fails, the row says so and the exit
status is 0. Per-sample ranks go to ``docs/results/peers``. The table needs only these and our saved ranks, so a second
call needs no RecBole. The last line is one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.common import prepared
from benchmarks.peers import exchange
from benchmarks.sides import arguments
from gensr_model.errors import GensrError
from gensr_model.evaluation.compare import paired_bootstrap
from gensr_model.evaluation.metrics import per_sample
from gensr_model.evaluation.results import Results

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "docs" / "results"
ALLOWED = 0.005  # largest N@10 by which our baseline may be below its peer
# RecBole's defaults except for these values. Batches of 256 in place of 2,048: the same training in fewer epochs.
SMALL = {"train_batch_size": 256, "stopping_step": 5}
CATALOGUE = {**SMALL, "loss_type": "CE", "train_neg_sample_args": None}
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sasrec": ("SASRec", CATALOGUE),
    "gru4rec": ("GRU4Rec", CATALOGUE),
    "bert4rec": ("BERT4Rec", CATALOGUE),
    "din": ("DIN", SMALL),
    "lightgcn": ("LightGCN", {}),
    "item_knn": ("ItemKNN", {"k": 100}),
}


class NoPeerError(GensrError):
    """RecBole cannot be installed here. A row of the table shows the reason."""


def environment(folder: Path, requirements: Path) -> Path:
    """The Python of an environment with ``requirements``, which is made in ``folder`` if it is missing.

    Raises NoPeerError with one sentence where pip cannot install them, or the folder is that of this process.
    """
    python = folder / "bin" / "python"
    stamp, wanted = folder / "requirements.sha256", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    if folder == Path(sys.prefix).resolve():
        raise NoPeerError(f"{folder} is gensr's own environment, which would be emptied. Give --venv another folder.")
    venv.create(folder, clear=(folder / "pyvenv.cfg").is_file(), with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--requirement"]
    done = subprocess.run([*command, str(requirements)], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[
            -1:
        ]
        raise NoPeerError(f"{requirements.name} cannot be installed: {''.join(errors[-1:]).removeprefix('ERROR: ')}")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def train(
    name: str, dataset: Any, python: Path, seed: int, threads: int, max_history: int
) -> tuple[pa.Table, dict[str, Any]]:
    """Train a peer in a separate process and rank the test lists. Returns its ranks and their circumstances.

    RuntimeError where that ends badly; what it says goes to standard error.
    """
    model, settings = PEERS[name]
    settings = {**settings, "seed": seed}
    given = exchange.lists(dataset, "test")
    with tempfile.TemporaryDirectory(prefix="gensr-peer-") as place:
        folder = Path(place)
        exchange.export(dataset, {"model": model, "settings": settings, "max_history": max_history}, folder)
        environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        environ.pop("PYTHONPATH", None)  # gensr's packages are not the peer's
        child = [str(python), str(HERE / "recbole_child.py"), str(folder)]
        done = subprocess.run(child, cwd=folder, env=environ)
        if done.returncode:
            raise RuntimeError(f"{model} ended with {done.returncode}, see above")
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        ranks = exchange.ranks_of(given, exchange.read_scores(folder / "scores.parquet", given.items.shape))
    return ranks, {"model": model, "settings": settings, "max_history": max_history, "threads": threads, **result}


def rows(
    names: list[str],
    saved: exchange.Saved,
    ours: dict[str, list[pa.Table]],
    missing: dict[str, str],
    users: pa.Table | None,
) -> list[dict[str, Any]]:
    """A row per system: both N@10 and ours − peer with its interval, or the reason of ``missing``."""
    made: list[dict[str, Any]] = []
    for name in names:
        if name in missing:
            made.append({"system": name, "skipped": missing[name]})
            continue
        peer, facts = saved.ranks[name], saved.facts[name]
        row = {"system": name, "peer": round(per_sample(peer, "ndcg_at_10").mean(), 4), "seconds": facts["seconds"]}
        if name in ours:
            compared = paired_bootstrap(ours[name], peer, users=users)
            row |= {"ours": round(row["peer"] + compared.mean_difference, 4), "seeds": len(ours[name])}
            row |= {"difference": round(compared.mean_difference, 4), "low": round(compared.low, 4)}
            row |= {"high": round(compared.high, 4), "below": compared.mean_difference < -ALLOWED}
        made.append(row)
    return made


def our_cells(dataset: str) -> list[Path]:
    """Our saved ranks of popularity, by which lists are compared, and of the systems that have a peer."""
    results = Results(RESULTS / "cells")
    return [cell.path for name in ("popularity", *PEERS) for cell in results.cells(dataset, "rerank", name)]


def markdown(made: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        f"| system | peer N@10 | ours N@10 (seeds) | ours − peer [95%] | below by more than {ALLOWED} |",
        "|---|---|---|---|---|",
    ]
    for row in made:
        peer = f"skipped: {row['skipped']}" if "skipped" in row else f"{row['peer']:.4f}"
        cells = [peer, "–", "–", "–"]
        if "ours" in row:
            interval = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
            cells[1:] = [f"{row['ours']:.4f} ({row['seeds']})", interval, "**yes**" if row["below"] else "no"]
        lines.append(f"| {row['system']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("raw", type=Path, help="folder of raw files")
    parser.add_argument("--systems", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--again", action="store_true", help="train systems that have saved ranks, too")
    parser.add_argument("--ours", nargs="+", type=Path, help="our saved ranks; the cells of docs/results if left out")
    parser.add_argument("--to", type=Path, help="file of the peers' ranks")
    parser.add_argument("--venv", type=Path, default=Path(os.environ.get("GENSR_HOME", ".gensr")) / "peers-venv")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    name = given.raw.resolve().name
    to = given.to or RESULTS / "peers" / f"{name}-recbole-seed0.parquet"
    dataset, config = prepared(0, 0, {"kind": "folder", "path": str(given.raw)})
    ours = exchange.ours(given.ours or our_cells(name), dataset)
    expected = exchange.digest(exchange.lists(dataset, "test"))
    saved, missing = exchange.read(to, expected), {}
    wanted = [system for system in given.systems if given.again or system not in saved.ranks]
    try:
        python = environment(given.venv.resolve(), HERE / "requirements.txt") if wanted else Path()
    except NoPeerError as error:
        missing, wanted = dict.fromkeys(wanted, str(error)), []
    failed = False
    for system in wanted:
        try:
            ranks, facts = train(system, dataset, python, config.seed, given.threads, config.model.max_history)
            exchange.save(to, system, ranks, facts, expected)
        except RuntimeError as error:
            missing[system], failed = str(error), True
    samples = dataset.table("samples_test").select(["sample_id", "user_idx"])
    made = rows(given.systems, exchange.read(to, expected), ours, missing, samples)
    print(markdown(made))
    print(json.dumps({"claim": f"no baseline below its RecBole peer by more than {ALLOWED} N@10", "rows": made}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
