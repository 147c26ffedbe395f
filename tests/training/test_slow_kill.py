"""Training in real processes: killed at a random moment, or on a full disk, it ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_dataset import write_world
from training_process import STEPS

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def start(root: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, HERE / "training_process.py", root, *more],
        env=os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def finish(root: Path, *more: str) -> tuple[int, str, list[int]]:
    """Exit status, stderr, and the steps it took."""
    process = start(root, *more)
    said, wrong = process.communicate(timeout=300)
    return process.returncode, wrong, [int(line.split()[1]) for line in said.splitlines()]


def kill_at(root: Path, step: int, delay: float) -> None:
    process = start(root)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[1]) == step:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"


def outcome(root: Path) -> dict[str, object]:
    """Everything a training leaves."""
    return {path.name: path.read_bytes() for path in (root / "bundle").iterdir()}


def fresh(place: Path, whole: Path) -> Path:
    """The same input in a folder of its own."""
    for name in ("prepared", "cf"):
        shutil.copytree(whole / name, place / name)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    root = write_world(tmp_path_factory.mktemp("whole"))
    status, wrong, steps = finish(root)
    assert status == 0, wrong
    assert steps == list(range(STEPS))
    return root


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_killed_process_goes_on_bit_for_bit(whole: Path, tmp_path: Path, seed: int) -> None:
    """Twice each: before step 20 and after, at any moment within a step, checkpoints and validation included."""
    root = fresh(tmp_path, whole)
    rng = np.random.default_rng(seed)
    for first, last in ((3, 20), (20, STEPS - 2)):
        kill_at(root, int(rng.integers(first, last)), delay=float(rng.uniform(0, 0.05)))
    status, wrong, steps = finish(root)
    assert status == 0, wrong
    assert 0 < steps[0] < STEPS
    assert outcome(root) == outcome(whole)


def test_a_full_disk_is_one_sentence_and_the_last_good_checkpoint_stays(whole: Path, tmp_path: Path) -> None:
    root = fresh(tmp_path, whole)
    kill_at(root, 9, delay=0.0)
    before = {path: path.read_bytes() for path in (root / "steps" / "last").iterdir()}
    status, wrong, steps = finish(root, "20000")
    assert status == 1
    assert "the checkpoint of step 10 cannot be written" in wrong
    assert "File too large" in wrong
    assert "last good checkpoint" in wrong
    assert "Traceback" not in wrong
    assert steps == [8, 9]
    assert {path: path.read_bytes() for path in (root / "steps" / "last").iterdir()} == before
    assert not list((root / "steps").glob("*.tmp-*")), "half a checkpoint keeps no space"
    status, wrong, _ = finish(root)
    assert status == 0, wrong
    assert outcome(root) == outcome(whole)
