"""Two fresh processes with two threads train and rank everything from one seed, and agree to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_dataset import write_dataset

from gensr_model.baselines.registry import BASELINES

HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
# Threads that wait without spinning leave a busy machine's cores to others.
TWO_THREADS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": PATHS}


def digests(root: Path, name: str) -> dict[str, str]:
    process = subprocess.run(
        [sys.executable, HERE / "repeat_process.py", root, root / name],
        env=os.environ | TWO_THREADS,
        capture_output=True,
        text=True,
        timeout=500,
        encoding="utf-8",
    )
    assert process.returncode == 0, process.stderr[-4000:]
    result: dict[str, str] = json.loads((root / name / "digests.json").read_text(encoding="utf-8"))
    return result


@pytest.mark.slow
@pytest.mark.timeout(1_000)
def test_two_processes_agree_to_the_bit(tmp_path: Path) -> None:
    write_dataset(tmp_path / "prepared")
    first, second = (digests(tmp_path, name) for name in ("first", "second"))
    assert set(BASELINES) | {"lightgcn.safetensors", "gensr", "two_head", "full_ranking", "mine"} <= set(first)
    assert len(set(first.values())) == len(first), "two results have one digest"
    assert [name for name in first if first[name] != second[name]] == []
