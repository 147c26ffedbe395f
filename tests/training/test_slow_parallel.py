"""`accelerate launch` with two CPU processes trains as one process does: every step, every metric, the same weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_dataset import write_dataset, write_world

from gensr_model.config.training import TrainConfig
from gensr_model.errors import ConfigError
from gensr_model.training.trainer import TrainingData

HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def launch(root: Path, kind: str, processes: int) -> Path:
    out = root / f"{kind}-{processes}"
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # Accelerate's own way to several CPU processes wants MPI; its way to several GPUs works without any.
        options = {"num_processes": processes, "num_machines": 1, "main_process_port": port}
        options |= {"mixed_precision": "no", "dynamo_backend": "no"}
        command += ["-m", "accelerate.commands.launch", "--multi_gpu"]
        command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [*command, str(HERE / "parallel_process.py"), str(root), kind, str(out)],
        env=os.environ
        | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=400,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("parallel"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gensr", "listwise", "two_head"])
def test_two_processes_repeat_the_curve_of_one(root: Path, kind: str) -> None:
    one, two = launch(root, kind, 1), launch(root, kind, 2)
    alone = json.loads((one / "curve-0.json").read_text(encoding="utf-8"))
    curves = [json.loads((two / f"curve-{process}.json").read_text(encoding="utf-8")) for process in (0, 1)]
    assert [alone["processes"], *(curve["processes"] for curve in curves)] == [1, 2, 2]
    assert [(two / f"group-{process}.json").read_text("utf-8") for process in (0, 1)] == ["false", "false"]
    assert curves[0]["steps"] == curves[1]["steps"]
    assert len(alone["steps"]) == len(curves[0]["steps"]) == 22
    for expected, actual in zip(alone["steps"], curves[0]["steps"], strict=True):
        assert actual == pytest.approx(expected, rel=2e-4)
    results = [json.loads((out / "training.json").read_text(encoding="utf-8")) for out in (one, two)]
    for expected, actual in zip(*(result["validations"] for result in results), strict=True):
        assert actual == pytest.approx(expected, abs=0.02), "a pair of candidates may change places by rounding"
    weights = [load_file(out / "model.safetensors") for out in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-3, rtol=1e-2, msg=name)


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


def test_more_processes_than_samples_in_the_last_batch_is_refused(root: Path) -> None:
    dataset = write_dataset(root / "refused")
    with pytest.raises(ConfigError, match=r"batch_size 233 leaves 1 samples.*fewer than the 2 processes"):
        TrainingData(dataset, TrainConfig(batch_size=233), 5, seed=0, shard=(0, 2))
