"""Runs a function in several processes that train together: starts `accelerate launch` and listens to it.

The function is named in a JSON file, and ``gensr_model.runtime.launched`` runs it in every process. The first process
writes its metrics and progress as lines to stdout, which is a pipe to this process. All hold the other end of stdin:
they end when this process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from accelerate.commands.config.config_args import load_config_from_file

from gensr_model.config.training import Processes, TrainConfig
from gensr_model.errors import ConfigError, GensrError, TrainingError
from gensr_model.runtime.child_errors import SubprocessError, how_it_died, restored
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

FOLDER, JOB, LOG = "launch", "job.json", "launch.log"  # the folder is beside the checkpoints
PATIENCE = 30.0  # seconds for the end of processes that were told to end
_LOG_LINES = 60  # of the log, in the trace of an error
_SIGTERM = 15


def processes_of(wanted: Processes) -> int:
    """The number of processes for ``train.processes``. Raises ConfigError for more than there are CUDA devices."""
    devices = torch.cuda.device_count() if default_device().type == "cuda" else 0
    if wanted == "auto":
        return max(1, devices)
    if devices and wanted > devices:
        raise ConfigError(
            f"train.processes is {wanted}, but this machine has {devices} CUDA device{'s'[: devices - 1]}, and each "
            f"process needs one. Set train.processes to {devices} or auto."
        )
    return wanted


class Machine(NamedTuple):
    """This machine's part of a training in several processes."""

    options: list[str]  # of `accelerate launch`
    rank: int  # number of this machine; the pipeline's is 0
    processes: int  # of this machine


def plan(train: TrainConfig) -> Machine | None:
    """What ``train.processes`` and ``train.accelerate`` ask for; None for one process.

    Raises ConfigError as ``processes_of`` and ``of_file`` do, and where the file is that of a further machine.
    """
    if train.accelerate is None:
        processes = processes_of(train.processes)
        return Machine(on_this_machine(processes), 0, processes) if processes > 1 else None
    machine = of_file(Path(train.accelerate))
    if machine.rank:
        raise ConfigError(
            f"{train.accelerate}: machine_rank is {machine.rank}, but the machine of the pipeline is 0. Give every "
            "machine its own file."
        )
    return machine


def on_this_machine(processes: int) -> list[str]:
    """Options of `accelerate launch` for so many processes here, at a free port."""
    # --multi_gpu serves CPUs too (ACCELERATE_USE_CPU): Accelerate's own way to several CPU processes wants MPI.
    options = {"num_processes": processes, "num_machines": 1, "main_process_port": 0}
    return ["--multi_gpu", *(f"--{name}={value}" for name, value in options.items())]


def of_file(file: Path) -> Machine:
    """Read Accelerate's own config file. Raises ConfigError where it is none, or where training cannot follow it."""
    try:
        config = load_config_from_file(str(file))
        machines, total = int(config.num_machines), int(config.num_processes)
    except Exception as error:  # of YAML or of Accelerate's classes, as the file's content has it
        raise ConfigError(
            f"{file} is no config file of Accelerate: {error}. Write it with `accelerate config --config_file {file}`."
        ) from error
    if config.distributed_type != "MULTI_GPU":
        raise ConfigError(
            f"{file}: distributed_type is {config.distributed_type}, but training needs MULTI_GPU, on CPUs too. "
            "Change distributed_type."
        )
    if machines < 2 or total < machines or total % machines:
        raise ConfigError(
            f"{file}: num_processes is {total} and num_machines is {machines}. Give two machines or more, and the same "
            "number of processes to each."
        )
    return Machine([f"--config_file={file}"], int(config.machine_rank), processes_of(total // machines))


def run(
    function: str, arguments: dict[str, Any], folder: Path, options: Sequence[str], threads: int, report: Report
) -> dict[str, float]:
    """Run a function in the processes of `accelerate launch`. Returns the metrics of the first process.

    Args:
        function: ``module:name``. It takes the report and the ``arguments``, which are JSON.
        folder: emptied first; holds the job, the log and the errors of the processes.
        options: those of `accelerate launch`.
        threads: of each process.
    Raises:
        GensrError: the function raised this error, of a class in gensr_model/errors.py.
        ConfigError: the port of the first machine is in use.
        SubprocessError: the function raised another error, or a process was killed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content = {"id": uuid.uuid4().hex, "function": function, "arguments": arguments, "threads": threads}
    write_json(folder / JOB, content)
    metrics = None
    with (
        (folder / LOG).open("wb") as log,
        subprocess.Popen(
            [*command(options, threads), str(folder / JOB), "--listened-to"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment(), start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            metrics = _listen(process, report)
        finally:
            end(process)
            (folder / JOB).unlink()  # other machines look for it
    said = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    if metrics is None:
        raise _error(function, folder, process.returncode, said)
    sys.stderr.write(said)  # warnings, as those of a single process
    return metrics


def command(options: Sequence[str], threads: int) -> list[str]:
    """`accelerate launch` of ``gensr_model.runtime.launched``, without the arguments of the latter."""
    fixed = [f"--num_cpu_threads_per_process={threads}", "--mixed_precision=no", "--dynamo_backend=no"]
    start = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*start, *options, *fixed, "-m", "gensr_model.runtime.launched"]


def environment() -> dict[str, str]:
    """The environment of the processes: the paths and the kind of device of this one."""
    # The paths are ours, so that the current folder adds none.
    paths = dict.fromkeys(str(Path(path).resolve()) for path in sys.path)
    ours = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    ours.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a warning that every parameter of a model is used
    if default_device().type == "cpu":
        ours["ACCELERATE_USE_CPU"] = "true"
    return ours


def _listen(process: subprocess.Popen[bytes], report: Report) -> dict[str, float] | None:
    """Pass on the lines of the first process until all have ended. Returns its metrics, None where there are none."""
    metrics = None
    for line in _stream(process.stdout):
        try:
            kind, *message = json.loads(line)
        except ValueError:
            continue  # a library's line
        if kind == "done":
            metrics = dict(message[0])
        else:
            getattr(report, kind)(*message)
    return metrics


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def end(process: subprocess.Popen[bytes]) -> None:
    """Close stdin, at whose end the processes end, and wait for `accelerate launch`."""
    _stream(process.stdin).close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _error(function: str, folder: Path, code: int, said: str) -> GensrError:
    """Why there is no result: an error of ours, a killed process, any other error, or `accelerate launch` itself."""
    failures = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("failed-*.json"))]
    if ours := [failure for failure in failures if failure["expected"]]:
        return restored(**ours[0])
    signals = [int(number) for number in re.findall(r"exitcode\s*: -(\d+)", said)]
    error: GensrError
    if killed := [number for number in signals if number != _SIGTERM]:  # the others of its group get SIGTERM
        error = SubprocessError(f"{function}, one of several processes: {how_it_died(-killed[0])}. Run it again: "
"training resumes from the last checkpoint.")  # fmt: skip
    elif failures:
        return restored(**failures[0])
    elif port := re.search(r"on port `(\d+)`, but another process is utilizing it", said):
        error = ConfigError(
            f"main_process_port {port[1]} of train.accelerate is in use on this machine. Choose another port in that "
            "file on every machine."
        )
    elif "EADDRINUSE" in said or "address already in use" in said:
        error = TrainingError(
            f"{function}: another program took the port of `accelerate launch` while it began. Run it again."
        )
    else:
        error = SubprocessError(f"{function}: `accelerate launch`: {how_it_died(code)}")
    error.add_note(f"{folder / LOG} ends with:\n" + "\n".join(said.splitlines()[-_LOG_LINES:]))
    return error
