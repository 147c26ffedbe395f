"""Pack trainings for a machine without the pipeline, and import the results into the store.

    python -m tasks.remote.export out JOBS --config config.json --of models|ablation|sweep    here
    python -m gensr_model.remote.worker JOBS                                                  there, a lent GPU, say
    python -m tasks.remote.export back JOBS                                                   here

CONFIG is the tree that a deployment takes as ``config``. Afterwards the flow finds its trainings finished:
``gensr/full-pipeline`` those of ``models``, ``ablation/paper`` and ``sweep/tau-beta`` their own. The store must already
hold the prepared data. ``compare/rerank-table`` with only ``popularity`` makes them and little else.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from gensr_model.config.base import Split
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.errors import ConfigError
from gensr_model.remote import job_bundle
from gensr_model.remote.job_bundle import Job, JobBundle
from gensr_model.runtime.stage_folder import content_digest, is_complete, read_record
from tasks.compare import trials
from tasks.core.error_log import run_command
from tasks.core.stage import StageResult, adopt, stored
from tasks.core.state_dir import state_dir
from tasks.evaluate.rank import rank_model, rank_valid
from tasks.ingest.ingest import find_source, ingest
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.pretrain import pretrain

KINDS = ("models", "ablation", "sweep")


def out(folder: Path, config: PipelineConfig, kind: str) -> JobBundle:
    """Write the trainings of a flow that the store lacks. Returns the job bundle.

    Raises:
        ConfigError: the folder is not empty, the prepared data are not in the store, or the config is invalid.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty. Give a new folder.")
    prepared = _prepared(config)
    if prepared is None:
        raise ConfigError(
            f"the store {state_dir().store} has no data prepared with this config. First run "
            'compare/rerank-table with `"rerank": {"systems": ["popularity"]}`.'
        )
    jobs = [job for job in _jobs(config, kind, prepared.key) if len(_stored(job, prepared)) < len(stages_of(job))]
    bundle = JobBundle(library=job_bundle.library_digest(), prepared=prepared.key, jobs=tuple(jobs))
    if jobs:
        needed = {("prepare", prepared.key): prepared.path}
        for job in jobs:
            ready = _stored(job, prepared)
            needed |= {name: result.path for name, result in zip(stages_of(job), ready, strict=False)}
        for (stage, key), path in sorted(needed.items()):
            shutil.copytree(path, job_bundle.place(folder, stage, key))
        job_bundle.write(folder, bundle)
    return bundle


def back(folder: Path) -> list[str]:
    """Import each finished folder into the store. Returns one line per folder.

    A model's key depends on the content of its table, which did not exist before, so each folder gets its key here.

    Raises:
        ConfigError: the folder is no job bundle, the code has changed since the export, or the store has another result
            under a key.
    """
    packed, taken = job_bundle.read(folder), []
    for job in packed.jobs:
        if job != _job(job.name, job.config, job.model, packed.prepared, job.option, job.split):
            raise ConfigError(
                f"{folder}: {job.name} has other keys with this version of gensr than with the "
                "version that packed it, so no flow would find its results. Check out that version, "
                "or pack the bundle again."
            )
    for job in packed.jobs:
        content = _content(job_bundle.place(folder, "prepare", packed.prepared))
        taken += _take(folder, job, _unbuilt("prepare", packed.prepared, content))
    return taken


def _take(folder: Path, job: Job, prepared: StageResult) -> list[str]:
    """Import the finished folders of a job, each under its key. Returns one line per folder."""
    taken: list[str] = []
    results: list[StageResult] = []
    for stage, name in stages_of(job):
        made = job_bundle.place(folder, stage, name)
        if not is_complete(made):
            break
        key = _next_key(job, prepared, results)
        if adopt(state_dir(), stage, key, made):
            taken.append(f"{job.name}: {stage}")
        elif _content(state_dir().store / stage / key) != _content(made):
            raise ConfigError(
                f"{folder}: the store has another {stage} of {job.name} than this folder, so later "
                f"results of this folder have no key. Delete {state_dir().store / stage / key} to "
                "import this one."
            )
        results.append(_unbuilt(stage, key, _content(made)))
    return taken


def _content(folder: Path) -> str:
    return content_digest(read_record(folder))


def _prepared(config: PipelineConfig) -> StageResult | None:
    raw = stored(state_dir(), "ingest", ingest.key(config, find_source.fn(config)))
    return None if raw is None else stored(state_dir(), "prepare", prepare.key(config, raw))


def _stored(job: Job, prepared: StageResult) -> list[StageResult]:
    """The store's results for a job's stages, in order, up to the first missing one."""
    results: list[StageResult] = []
    for stage, _ in stages_of(job):
        result = stored(state_dir(), stage, _next_key(job, prepared, results))
        if result is None:
            break
        results.append(result)
    return results


def _next_key(job: Job, prepared: StageResult, before: list[StageResult]) -> str:
    """The key of the stage after ``before``: of the table, the model, or its ranks."""
    if not before:
        return pretrain.key(job.config, prepared)
    if len(before) == 1:
        return finetune.key(job.config, prepared, before[0], option=job.model)
    ranking = rank_valid if job.split == "valid" else rank_model
    return ranking.key(job.config, prepared, before[1], option=job.option)


def _jobs(config: PipelineConfig, kind: str, prepared: str) -> list[Job]:
    if kind == "models":
        return [_job(model, config, model, prepared, option=model) for model in MODELS]
    if kind == "ablation":
        trials.check_ablation(config)
        return [
            _job(trial.name, trials.trial_config(config, trial), "gensr", prepared, option=trial.variant)
            for trial in trials.trials(config)
        ]
    trials.check_sweep(config)
    return [
        _job(point.name, with_changes(config, {"model": point._asdict()}), "gensr", prepared, "gensr", "valid")
        for point in trials.points(config)
    ]


def _job(name: str, config: PipelineConfig, model: str, prepared: str, option: str, split: Split = "test") -> Job:
    """A job with names for its folders: keys, computed as if each key were the content under it."""
    job = Job.model_validate(
        {"name": name, "config": config, "model": model, "option": option, "split": split}
        | dict.fromkeys(("pretrain", "finetune", "evaluate"), "")
    )
    made: list[StageResult] = []
    for stage, _ in stages_of(job):
        made.append(_unbuilt(stage, _next_key(job, _unbuilt("prepare", prepared), made)))
    table, trained, ranked = (result.key for result in made)
    return job.model_copy(update={"pretrain": table, "finetune": trained, "evaluate": ranked})


def _unbuilt(stage: str, key: str, content: str = "") -> StageResult:
    return StageResult(stage, key, state_dir().store / stage / key, {}, 0.0, False, content=content)


def stages_of(job: Job) -> list[tuple[str, str]]:
    return [("pretrain", job.pretrain), ("finetune", job.finetune), (job.ranking, job.evaluate)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("out", help="pack")
    packing.add_argument("jobs", type=Path)
    packing.add_argument("--config", type=Path, required=True, help="a JSON file")
    packing.add_argument("--of", choices=KINDS, default="models")
    unpacking = commands.add_parser("back", help="import the results into the store")
    unpacking.add_argument("jobs", type=Path)
    given = parser.parse_args()
    sys.exit(run_command("export", lambda: _act(given)))


def _act(given: argparse.Namespace) -> int:
    if given.command == "out":
        try:
            config = PipelineConfig.model_validate_json(given.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"{given.config}: there is no such file. Give --config a JSON file.") from error
        packed = out(given.jobs, config, given.of)
        lines = [job.name for job in packed.jobs] or ["nothing to train: the store has all results"]
    else:
        lines = back(given.jobs) or ["nothing new"]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    main()
