"""Two CPU processes of `accelerate launch` train as one process does: every step, every metric, the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import parallel_process
import psutil
import pytest
import torch
from safetensors.torch import load_file
from small_dataset import write_dataset, write_world

from gensr_model.config.training import TrainConfig
from gensr_model.errors import ConfigError
from gensr_model.runtime import launch
from gensr_model.runtime.child_errors import SubprocessError
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training.trainer import TrainingData

LONG = {"train": {"epochs": 8, "patience": 100, "accumulation": 2}}


def together(root: Path, out: Path, report: Report, **more: Any) -> dict[str, float]:
    """Train in two processes."""
    arguments = {"root": str(root), "out": str(out), **more}
    where = out / "launch"
    return launch.run("parallel_process:train", arguments, where, launch.on_this_machine(2), 1, report)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("parallel"))


@pytest.fixture(scope="module")
def trained(root: Path) -> tuple[Path, Path]:
    """All kinds, one after the other, in this process and in two."""
    one, two, kinds = root / "one", root / "two", list(parallel_process.KINDS)
    torch.set_num_threads(1)
    parallel_process.train(NullReport(), str(root), kinds, str(one))
    assert together(root, two, NullReport(), kinds=kinds)["processes"] == 2
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize("kind", parallel_process.KINDS)
def test_two_processes_repeat_the_curve_of_one(trained: tuple[Path, Path], kind: str) -> None:
    one, two = (out / kind for out in trained)
    alone, *curves = (read(file) for file in (one / "curve-0.json", two / "curve-0.json", two / "curve-1.json"))
    assert [alone["processes"], *(curve["processes"] for curve in curves)] == [1, 2, 2]
    assert [read(trained[1] / f"group-{process}.json") for process in (0, 1)] == [False, False]
    assert curves[0]["steps"] == curves[1]["steps"]
    assert len(alone["steps"]) == len(curves[0]["steps"]) >= 22
    for expected, actual in zip(alone["steps"], curves[0]["steps"], strict=True):
        assert actual == pytest.approx(expected, rel=2e-4, abs=1e-6)
    for name in ("training.json", *(file.name for file in one.glob("gradients.json"))):
        results = [read(out / name) for out in (one, two)]
        rows = [result["validations"] if name == "training.json" else result for result in results]
        for expected, actual in zip(*rows, strict=True):
            assert actual == pytest.approx(expected, abs=0.02), "a pair of candidates may change places by rounding"
    weights = [load_file(out / "model.safetensors") for out in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-3, rtol=1e-2, msg=name)


class _Killer(NullReport):
    """Kills the second process after the first validation."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        del step
        if any(name.startswith("valid/") for name in values):
            for process in psutil.Process().children(recursive=True):
                if process.environ().get("RANK") == "1":
                    process.kill()


@pytest.mark.slow
def test_a_killed_process_ends_all_of_them_and_the_next_start_resumes(root: Path) -> None:
    two, one = root / "killed", root / "not killed"
    how: dict[str, Any] = {"kinds": ["gensr"], "overrides": LONG}
    with pytest.raises(SubprocessError, match=r"killed by signal 9; .*ran out of memory\. Run it again") as raised:
        together(root, two, _Killer(), **how)
    assert "exitcode" in raised.value.__notes__[0]
    assert [p for p in psutil.Process().children(recursive=True) if "RANK" in p.environ()] == []
    assert together(root, two, NullReport(), **how)["gensr_resumed_at"] >= 11
    parallel_process.train(NullReport(), str(root), out=str(one), **how)
    curves = [read(out / "gensr" / "training.json")["curve"] for out in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 88
    for expected, actual in zip(*curves, strict=True):
        assert actual == pytest.approx(expected, rel=2e-3, abs=1e-6)


def wait(report: Report, file: str) -> dict[str, float]:
    """Begin a file and wait for long."""
    del report
    Path(file).write_text("begun", encoding="utf-8")
    time.sleep(300)
    return {}


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_listens_to_it(tmp_path: Path) -> None:
    """Also where that one is killed: the system closes its end of the pipe."""
    begun, job = tmp_path / "begun", tmp_path / launch.JOB
    write_json(job, {"function": f"{__name__}:wait", "arguments": {"file": str(begun)}, "threads": 1})
    command = [sys.executable, "-m", "gensr_model.runtime.launched", str(job), "--listened-to"]
    environment = launch.environment() | {"RANK": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | environment) as process:
        while not begun.is_file():
            assert process.poll() is None
            time.sleep(0.05)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 1


def test_parts_of_a_batch_are_the_batch_in_its_order(root: Path) -> None:
    dataset = write_dataset(root / "again")
    config = TrainConfig(batch_size=33, negatives=2)
    whole = TrainingData(dataset, config, 5, seed=0)
    parts = [TrainingData(dataset, config, 5, seed=0, shard=(rank, 2)) for rank in (0, 1)]
    for number in (0, whole.batches_per_epoch - 1, whole.batches_per_epoch):
        samples, batch = whole.batch(number)
        actual = [part.batch(number) for part in parts]
        assert [*actual[0][0].sample_id, *actual[1][0].sample_id] == samples.sample_id.tolist()
        items = torch.cat([each.items[each.candidates] for _, each in actual])
        assert torch.equal(items, batch.items[batch.candidates])
    assert torch.equal(parts[1].random_batch(3).candidates, whole.random_batch(3).candidates), "a probe sees it whole"


def test_more_processes_than_samples_in_the_last_batch_is_refused(root: Path) -> None:
    dataset = write_dataset(root / "refused")
    with pytest.raises(ConfigError, match=r"batch_size 233 leaves 1 samples.*fewer than the 2 processes"):
        TrainingData(dataset, TrainConfig(batch_size=233), 5, seed=0, shard=(0, 2))
