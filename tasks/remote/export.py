"""Pack trainings for a machine without the pipeline, and take what it made into the store.

    python -m tasks.remote.export out JOBS --config config.json --of models|ablation|sweep    here
    python -m gensr_model.remote.worker JOBS                                                 there, a lent GPU, say
    python -m tasks.remote.export back JOBS                                                    here

CONFIG is the tree that a deployment takes as ``config``. The flow then finds its trainings done:
``gensr/full-pipeline`` those of ``models``, ``ablation/paper`` and ``sweep/tau-beta`` their own. The prepared data must
be in the store already: ``compare/rerank-table`` with ``popularity`` alone makes little else.
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
from gensr_model.runtime.stage_folder import is_complete
from tasks.compare import trials
from tasks.core.error_log import run_command
from tasks.core.stage import StageResult, adopt
from tasks.core.state_dir import state_dir
from tasks.evaluate.rank import rank_model, rank_valid
from tasks.ingest.ingest import find_source, ingest
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.pretrain import pretrain

KINDS = ("models", "ablation", "sweep")


def out(folder: Path, config: PipelineConfig, kind: str) -> JobBundle:
    """Write what a flow would train and the store does not have; returns it.

    Raises:
        ConfigError: the folder is not empty, the prepared data are not in the store, or the config cannot be made.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    prepared = _known(
        "prepare", prepare.key(config, _known("ingest", ingest.key(config, find_source.fn(config))))
    )
    if not is_complete(prepared.path):
        raise ConfigError(
            f"the store {state_dir().store} has no data prepared with this config: run compare/rerank-table with "
            '`"rerank": {"systems": ["popularity"]}` first'
        )
    jobs = [job for job in _jobs(config, kind, prepared) if not _is_done(job)]
    found = JobBundle(library=job_bundle.library_digest(), prepared=prepared.key, jobs=tuple(jobs))
    if jobs:
        needed = {("prepare", prepared.key), *(("pretrain", job.pretrain) for job in jobs)}
        needed |= {("finetune", job.finetune) for job in jobs}
        for stage, key in sorted(needed):
            if is_complete(state_dir().store / stage / key):
                shutil.copytree(state_dir().store / stage / key, job_bundle.place(folder, stage, key))
        job_bundle.write(folder, found)
    return found


def back(folder: Path) -> list[str]:
    """Take each finished folder into the store; returns what was taken, a line each.

    Raises:
        ConfigError: the folder is no job bundle, or the code has changed since it was packed.
    """
    packed, taken = job_bundle.read(folder), []
    prepared = _known("prepare", packed.prepared)
    for job in packed.jobs:
        if job != _job(job.name, job.config, job.model, prepared, job.option, job.split):
            raise ConfigError(
                f"{folder}: {job.name} has other keys with this version of gensr than with the one that packed it: "
                "its results would never be found. Check out that version, or pack it again"
            )
    for job in packed.jobs:
        for stage, key in stages_of(job):
            made = job_bundle.place(folder, stage, key)
            if is_complete(made) and adopt(state_dir(), stage, key, made):
                taken.append(f"{job.name}: {stage}")
    return taken


def _jobs(config: PipelineConfig, kind: str, prepared: StageResult) -> list[Job]:
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
        _job(
            point.name, with_changes(config, {"model": point._asdict()}), "gensr", prepared, "gensr", "valid"
        )
        for point in trials.points(config)
    ]


def _job(
    name: str, config: PipelineConfig, model: str, prepared: StageResult, option: str, split: Split = "test"
) -> Job:
    """With the keys that a flow asks for; ``option`` is that of the ranking."""
    table = _known("pretrain", pretrain.key(config, prepared))
    trained = _known("finetune", finetune.key(config, prepared, table, option=model))
    ranked = (rank_valid if split == "valid" else rank_model).key(config, prepared, trained, option=option)
    found = {"name": name, "config": config, "model": model, "option": option, "split": split}
    return Job.model_validate(found | {"pretrain": table.key, "finetune": trained.key, "evaluate": ranked})


def _known(stage: str, key: str) -> StageResult:
    return StageResult(stage, key, state_dir().store / stage / key, {}, 0.0, False)


def stages_of(job: Job) -> list[tuple[str, str]]:
    return [("pretrain", job.pretrain), ("finetune", job.finetune), (job.ranking, job.evaluate)]


def _is_done(job: Job) -> bool:
    return all(is_complete(state_dir().store / stage / key) for stage, key in stages_of(job))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("out", help="pack")
    packing.add_argument("jobs", type=Path)
    packing.add_argument("--config", type=Path, required=True, help="a JSON file")
    packing.add_argument("--of", choices=KINDS, default="models")
    unpacking = commands.add_parser("back", help="take what was made into the store")
    unpacking.add_argument("jobs", type=Path)
    given = parser.parse_args()
    sys.exit(run_command("export", lambda: _act(given)))


def _act(given: argparse.Namespace) -> int:
    if given.command == "out":
        try:
            config = PipelineConfig.model_validate_json(given.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"{given.config}: there is no such file; --config names a JSON file") from error
        packed = out(given.jobs, config, given.of)
        said = [job.name for job in packed.jobs] or ["nothing to train: the store has it all"]
    else:
        said = back(given.jobs) or ["nothing new"]
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    main()
