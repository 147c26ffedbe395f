"""Takes part, on a further machine, in the trainings of a pipeline with ``train.accelerate``.

python -m gensr_model.runtime.join GENSR_HOME ACCELERATE_CONFIG

GENSR_HOME is the pipeline's state folder, or a worker's job bundle, which all machines share. ACCELERATE_CONFIG is this
machine's file, with its own machine_rank. The command waits for trainings until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from gensr_model.errors import GensrError
from gensr_model.runtime import launch
from gensr_model.runtime.child_errors import how_it_died
from gensr_model.runtime.files import write_json
from gensr_model.runtime.streams import use_utf8

_EVERY = 0.5  # seconds between two looks


def join(home: Path, config_file: Path) -> None:
    """Take part in each training that begins, until an interruption. Raises ConfigError as ``launch.of_file`` does."""
    machine = launch.of_file(config_file)
    done: set[str] = set()
    print(f"machine {machine.rank} waits for trainings in {home / 'checkpoints'}", flush=True)
    while True:
        for job in sorted((home / "checkpoints").glob(f"*/{launch.FOLDER}/{launch.JOB}")):
            number = _id(job)
            if number and number not in done:
                done.add(number)
                _take_part(job, number, machine)
        time.sleep(_EVERY)


def _take_part(job: Path, number: str, machine: launch.Machine) -> None:
    """Run this machine's processes of a job until they end, or until the job has another number."""
    name = job.parent.parent.name
    print(f"{name}: begun", flush=True)
    threads = json.loads(job.read_text(encoding="utf-8"))["threads"]
    command = [*launch.command(machine.options, threads), str(job), "--listened-to"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=launch.environment(), start_new_session=True) as process:
        try:
            while process.poll() is None and _id(job) == number:
                time.sleep(_EVERY)
            process.wait(launch.PATIENCE)  # the first machine may be done before this one
        except subprocess.TimeoutExpired:
            pass
        finally:
            launch.end(process)
    if process.returncode and _id(job) == number and not any(job.parent.glob("failed-*.json")):
        why = f"machine {machine.rank} of several: {how_it_died(process.returncode)}. Its terminal says why."
        failed = {"kind": "TrainingError", "message": why, "expected": True, "trace": "in gensr_model.runtime.join"}
        write_json(job.with_name(f"failed-machine-{machine.rank}.json"), failed)
    print(f"{name}: ended with status {process.returncode}", flush=True)


def _id(job: Path) -> str:
    """The number of a job; "" where there is none any more."""
    try:
        number: str = json.loads(job.read_text(encoding="utf-8"))["id"]
    except FileNotFoundError:
        return ""
    return number


if __name__ == "__main__":
    use_utf8()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("config", type=Path)
    given = parser.parse_args()
    try:
        join(given.home, given.config)
    except GensrError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
