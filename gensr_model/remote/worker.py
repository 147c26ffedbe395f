"""Train and rank on a machine that has only this package, such as a lent GPU.

python -m gensr_model.remote.worker JOBS [--at-once 4]

JOBS is a folder that ``python -m tasks.remote.export out`` packed. The worker writes results into this folder, and
``python -m tasks.remote.export back`` brings them into the store. Each model trains in a process of its own,
``--at-once`` of them in parallel. A second call skips finished work, and a killed training resumes from its last
checkpoint. Traces of errors are in ``JOBS/errors.log``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, GensrError, append_trace
from gensr_model.evaluation import evaluate
from gensr_model.remote import job_bundle
from gensr_model.remote.job_bundle import Job
from gensr_model.runtime import launch
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import default_device, peak_of_this_process
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.processes import process_context
from gensr_model.runtime.progress import NullReport, Report, TerminalReport
from gensr_model.runtime.stage_folder import atomic_dir, is_complete, write_manifest
from gensr_model.runtime.streams import use_utf8
from gensr_model.training import cross_fit, finetune

Metrics = dict[str, float]
ERRORS = "errors.log"


def run(folder: Path, at_once: int = 1) -> list[str]:
    """Do all unfinished jobs. Returns one line per failed job.

    Raises:
        ConfigError: the folder is no job bundle, or other code wrote it, or another process works on it.
    """
    jobs = job_bundle.read(folder).jobs
    try:
        lock = FileLock(folder / "lock").acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{folder}: another process works on this job bundle. Wait for it, or pack another bundle."
        ) from None
    with lock:
        return _work(folder, jobs, at_once)


def _work(folder: Path, jobs: tuple[Job, ...], at_once: int) -> list[str]:
    threads = max(1, (os.cpu_count() or 1) // at_once)
    # Jobs share tables, so all tables come first.
    tables: dict[str, Job] = {}
    for job in jobs:
        if not is_complete(job_bundle.place(folder, "pretrain", job.pretrain)):
            tables.setdefault(job.pretrain, job)
    failed = _side_by_side(_table, folder, tables.values(), at_once, threads)
    lost = {job.pretrain: name for name in failed for job in tables.values() if job.name == name}
    for job in jobs:
        if job.pretrain in lost:
            failed.setdefault(job.name, f"its LightGCN table failed, see {lost[job.pretrain]}")
    ready = [job for job in jobs if job.pretrain not in lost]
    failed |= _side_by_side(_model, folder, ready, at_once, threads)
    return [f"{name}: {why}" for name, why in failed.items()]


def _side_by_side(
    work: Callable[[Path, Job, int, bool], list[str]], folder: Path, jobs: Iterable[Job], at_once: int, threads: int
) -> dict[str, str]:
    """The error of each failed job, by name. A killed process ends all jobs; finished work stays."""
    context = process_context("gensr_model.remote.worker")
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        job_names: dict[Future[list[str]], str] = {
            pool.submit(work, folder, job, threads, at_once == 1): job.name for job in jobs
        }
        failed = {}
        for done in as_completed(job_names):
            if (error := done.exception()) is not None:
                append_trace(error, folder / ERRORS)
                failed[job_names[done]] = f"{type(error).__name__}: {error}"
                continue
            for line in done.result():
                print(f"{job_names[done]}: {line}", flush=True)
    return failed


def _table(folder: Path, job: Job, threads: int, bar: bool) -> list[str]:
    config, dataset = job.config, _begin(folder, threads)

    def fill(out: Path, _: Path, report: Report) -> Metrics:
        return cross_fit.pretrain(dataset, config, out, report)

    return _once(folder, "pretrain", job.pretrain, fill, _report(job, bar))


def _model(folder: Path, job: Job, threads: int, bar: bool) -> list[str]:
    config, dataset = job.config, _begin(folder, threads)
    model = job_bundle.place(folder, "finetune", job.finetune)

    def train(out: Path, checkpoints: Path, report: Report) -> Metrics:
        given = {"folder": str(folder), "name": job.name, "checkpoints": str(checkpoints), "out": str(out)}
        plan = launch.plan(config.train)
        if plan is None:
            return train_job(report, **given)
        share = max(1, threads // plan.processes)
        place = checkpoints / launch.FOLDER
        return launch.run("gensr_model.remote.worker:train_job", given, place, plan.options, share, report)

    def rank(out: Path, _: Path, report: Report) -> Metrics:
        return evaluate.write_ranks(out, evaluate.rank_bundle(model, dataset, job.split, config, report))

    lines = _once(folder, "finetune", job.finetune, train, _report(job, bar))
    return lines + _once(folder, job.ranking, job.evaluate, rank, _report(job, bar))


def train_job(report: Report, folder: str, name: str, checkpoints: str, out: str) -> Metrics:
    """Train the model of a job, alone or as one of several processes (``train.processes``)."""
    bundle = job_bundle.read(Path(folder))
    job = next(each for each in bundle.jobs if each.name == name)
    prepared, cf = (
        job_bundle.place(Path(folder), stage, key)
        for stage, key in (("prepare", bundle.prepared), ("pretrain", job.pretrain))
    )
    dataset = PreparedDataset.open(prepared)
    made = finetune.TRAIN[job.model](dataset, cf, job.config, Path(checkpoints), Path(out), report)
    return made | peak_of_this_process()


def _begin(folder: Path, threads: int) -> PreparedDataset:
    keep_freed_memory()
    torch.set_num_threads(threads)
    return PreparedDataset.open(job_bundle.place(folder, "prepare", job_bundle.read(folder).prepared))


def _report(job: Job, bar: bool) -> Report:
    return TerminalReport(job.name) if bar else NullReport()


def _once(
    folder: Path, stage: str, key: str, fill: Callable[[Path, Path, Report], Metrics], report: Report
) -> list[str]:
    """Fill the stage's folder under a temporary name and rename it. Does nothing where the folder is complete."""
    out = job_bundle.place(folder, stage, key)
    if is_complete(out):
        return []
    checkpoints = folder / "checkpoints" / f"{stage}-{key}"
    device = torch.cuda.get_device_name() if default_device().type == "cuda" else "another machine's CPU"
    with atomic_dir(out) as aside, deterministic():
        begun = time.monotonic()
        metrics = fill(aside, checkpoints, report)
        seconds = time.monotonic() - begun
        write_manifest(aside, stage, key, metrics, seconds, (0, 0), device)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return [f"{stage} in {seconds:.0f} s"]


def main() -> None:
    use_utf8()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--at-once", type=int, default=1, help="number of models that train in parallel")
    given = parser.parse_args()
    if given.at_once < 1:
        parser.error("--at-once must be 1 or more")
    log = (given.jobs if given.jobs.is_dir() else Path.cwd()) / ERRORS
    try:
        failed = run(given.jobs, given.at_once)
    except (GensrError, OSError) as error:
        append_trace(error, log)
        sys.exit(f"Trace: {log}\n{type(error).__name__}: {error}")
    if failed:
        sys.exit("\n".join([*failed, "Run the same command again: it skips finished work.", f"Traces: {log}"]))


if __name__ == "__main__":
    main()
