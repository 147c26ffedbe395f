"""Training and ranking where nothing but the library is, and the way there and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from built_once import link_stages
from filelock import FileLock

from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.errors import ConfigError
from gensr_model.remote import job_bundle, worker
from gensr_model.runtime.stage_folder import content_digest, is_complete, read_record, write_manifest
from tasks.remote import export

Tiny = Callable[..., PipelineConfig]
ABSENT = ("prefect", "duckdb", "mlflow", "great_expectations", "bm25s", "tasks", "flows")


def on_a_bare_machine(tmp_path: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command where an import of the pipeline fails, in the processes that it starts as well."""
    (tmp_path / "bare").mkdir(exist_ok=True)
    (tmp_path / "bare" / "sitecustomize.py").write_text(
        f"import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n",
        encoding="utf-8",
    )
    root = Path(worker.__file__).parents[2]
    paths = os.pathsep.join([str(tmp_path / "bare"), str(root)])
    return subprocess.Popen(
        [sys.executable, "-m", "gensr_model.remote.worker", str(folder), *more],
        env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        encoding="utf-8",
    )  # fmt: skip


def is_one_of_several(process: psutil.Process, tmp_path: Path) -> bool:
    """Whether a process trains for a bundle in ``tmp_path``, or has started those that do."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "gensr_model.runtime.launched" in command and str(tmp_path) in " ".join(command)


def folders(packed: job_bundle.JobBundle) -> list[tuple[str, str]]:
    """Stage and name of every folder that the jobs of a bundle make."""
    return [folder for job in packed.jobs for folder in export.stages_of(job)]


def stored_as(home: Path, made: Path) -> list[Path]:
    """The folders of the store with the content of one of a bundle."""
    content = content_digest(read_record(made))
    stage = home / "store" / made.parent.name
    return [path.parent for path in stage.glob("*/stage.json") if content_digest(read_record(path.parent)) == content]


@pytest.mark.slow
def test_models_are_trained_elsewhere_and_found_in_the_store(
    gensr_home: Path, tiny_data: Path, tmp_path: Path, tiny: Tiny
) -> None:
    config, folder = tiny(), tmp_path / "bundle"
    with pytest.raises(ConfigError, match="no data prepared with this config"):
        export.out(folder, config, "models")
    link_stages(tiny_data, gensr_home)
    shutil.rmtree(gensr_home / "store" / "pretrain")
    packed = export.out(folder, config, "models")
    assert [job.name for job in packed.jobs] == ["gensr", "two_head"]
    assert packed.jobs[0].pretrain == packed.jobs[1].pretrain
    with pytest.raises(ConfigError, match="is not empty"):
        export.out(folder, config, "models")
    assert export.back(folder) == [], "nothing is made yet"

    done = on_a_bare_machine(tmp_path, folder, "--at-once", "2")
    said, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert sorted(line.rsplit(" in ", 1)[0] for line in said.splitlines()) == [
        "gensr: evaluate", "gensr: finetune", "gensr: pretrain", "two_head: evaluate", "two_head: finetune"
    ]  # fmt: skip
    for stage, name in folders(packed):
        assert is_complete(job_bundle.place(folder, stage, name))
        assert not stored_as(gensr_home, job_bundle.place(folder, stage, name))
    assert not list((folder / "checkpoints").iterdir())

    assert export.back(folder) == [
        "gensr: pretrain", "gensr: finetune", "gensr: evaluate", "two_head: finetune", "two_head: evaluate"
    ]  # fmt: skip
    for stage, name in folders(packed):
        (stored,) = stored_as(gensr_home, job_bundle.place(folder, stage, name))
        record = read_record(stored)
        assert record["key"] == stored.name
        assert record["built_on"] == "another machine's CPU"
        assert record["metrics"]
    assert export.back(folder) == []
    assert export.out(tmp_path / "again", config, "models").jobs == ()
    assert not (tmp_path / "again").exists()
    # What one of them lacks is packed with what there is.
    (ranks,) = stored_as(gensr_home, job_bundle.place(folder, "evaluate", packed.jobs[0].evaluate))
    shutil.rmtree(ranks)
    (left,) = export.out(tmp_path / "again", config, "models").jobs
    assert left == packed.jobs[0]
    assert is_complete(job_bundle.place(tmp_path / "again", "finetune", left.finetune))
    # A table of the store's own, under the key of the one that both models were trained with.
    (table,) = stored_as(gensr_home, job_bundle.place(folder, "pretrain", packed.jobs[0].pretrain))
    (table / "other").write_text("other", encoding="utf-8")
    write_manifest(table, "pretrain", table.name, {}, 0.0, (0, 0))
    with pytest.raises(ConfigError, match="the store has another pretrain of gensr"):
        export.back(folder)


@pytest.mark.slow
def test_a_training_in_two_processes_that_was_killed_goes_on(home_with_data: Path, tmp_path: Path, tiny: Tiny) -> None:
    train = {"epochs": 3, "batch_size": 32, "valid_samples": 20, "checkpoint_every": 10, "processes": 2}
    config = tiny(train=train)
    packed = export.out(tmp_path / "bundle", config, "sweep")
    one = packed.model_copy(update={"jobs": packed.jobs[:1]})
    job_bundle.write(tmp_path / "bundle", one)
    job = one.jobs[0]
    checkpoints = tmp_path / "bundle" / "checkpoints" / f"finetune-{job.finetune}"
    first = on_a_bare_machine(tmp_path, tmp_path / "bundle")
    ends = time.monotonic() + 240
    while not (checkpoints / "last").is_dir():
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < ends
        time.sleep(0.02)
    together = [p for p in psutil.process_iter() if is_one_of_several(p, tmp_path)]
    os.killpg(first.pid, signal.SIGKILL)  # those of the training have groups of their own
    first.communicate()
    assert len(together) >= 2
    _, alive = psutil.wait_procs(together, timeout=30)
    assert alive == [], "nobody reads their results, and the next training writes the same checkpoints"
    assert not is_complete(job_bundle.place(tmp_path / "bundle", "finetune", job.finetune))
    second = on_a_bare_machine(tmp_path, tmp_path / "bundle")
    said, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert said.startswith(f"{job.name}: finetune in "), "the table is not made again, and test is not read"
    record = read_record(job_bundle.place(tmp_path / "bundle", "finetune", job.finetune))
    assert record["metrics"]["resumed_at"] > 0


def test_one_that_fails_does_not_keep_the_others_from_being_trained(
    home_with_data: Path, tmp_path: Path, tiny: Tiny
) -> None:
    config, folder = tiny(), tmp_path / "bundle"
    packed = export.out(folder, config, "models")
    nowhere = with_changes(config, {"model": {"backbone": {"name_or_path": "/nowhere"}}})
    broken = packed.jobs[0].model_copy(update={"config": nowhere})
    job_bundle.write(folder, packed.model_copy(update={"jobs": (broken, packed.jobs[1])}))
    (said,) = worker.run(folder, at_once=2)
    assert said.startswith("gensr: ")
    assert "/nowhere" in said
    assert "Traceback" in (folder / worker.ERRORS).read_text(encoding="utf-8")
    assert not is_complete(job_bundle.place(folder, "finetune", packed.jobs[0].finetune))
    assert is_complete(job_bundle.place(folder, "evaluate", str(packed.jobs[1].evaluate)))
    with pytest.raises(ConfigError, match="gensr has other keys"):
        export.back(folder)

    shutil.rmtree(job_bundle.place(folder, "pretrain", packed.jobs[0].pretrain))
    samples = job_bundle.place(folder, "prepare", packed.prepared) / "manifest.json"
    samples.write_text("{}", encoding="utf-8")
    no_table, without = worker.run(folder, at_once=2)
    assert no_table.startswith("gensr: ")
    assert without == "two_head: its LightGCN table failed, see gensr"


def test_other_code_and_work_at_the_same_time_are_refused(
    home_with_data: Path, tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    export.out(folder, tiny(), "ablation")
    with FileLock(folder / "lock"), pytest.raises(ConfigError, match="another process works on this job bundle"):
        worker.run(folder)
    monkeypatch.setattr(job_bundle, "library_digest", lambda: "of another day")
    for there_or_here in (worker.run, export.back):
        with pytest.raises(ConfigError, match="written by another version of gensr_model"):
            there_or_here(folder)


def test_what_is_no_job_bundle_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(main: Callable[[], None], *command: str) -> str:
        """What a person reads: the text of SystemExit, or stderr."""
        monkeypatch.setattr(sys, "argv", ["it", *command])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code not in (0, None)
        return f"{stopped.value.code}\n{capsys.readouterr().err}"

    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "state"))
    for main, command in ((worker.main, []), (export.main, ["back"])):
        block = refused(main, *command, str(tmp_path))
        assert "has no job_bundle.json. Give a folder" in block
    assert "Traceback" in (tmp_path / "errors.log").read_text(
        encoding="utf-8"
    )  # beside the jobs that a worker was given
    [trace] = (tmp_path / "state" / "logs" / "errors").iterdir()
    assert "Traceback" in trace.read_text(encoding="utf-8")
    (tmp_path / "job_bundle.json").write_text('{"jobs": []}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"job_bundle\.json is not what .* \(fields: library, prepared\)"):
        job_bundle.read(tmp_path)
    assert "1 or more" in refused(worker.main, str(tmp_path), "--at-once", "0")
    (tmp_path / "config.json").write_text(json.dumps({"prset": "demo"}), encoding="utf-8")
    asked = refused(export.main, "out", str(tmp_path / "new"), "--config", str(tmp_path / "config.json"))
    assert "prset" in asked
    assert "Traceback" not in asked


def test_the_jobs_are_those_of_the_study(home_with_data: Path, tmp_path: Path, tiny: Tiny) -> None:
    own: dict[str, Any] = {"ablation": {"variants": ["no_cf_view"], "seeds": [0, 3]}}
    own["sweep"] = {"tau": [0.05, 0.09], "beta": [0.3]}
    config = tiny(**own)
    packed = export.out(tmp_path / "ablation", config, "ablation")
    assert [job.name for job in packed.jobs] == ["gensr", "no_cf_view", "gensr-seed3", "no_cf_view-seed3"]
    assert len({job.pretrain for job in packed.jobs}) == 2, "a table for each seed"
    assert len(set(folders(packed))) == 2 + 4 + 4
    swept = export.out(tmp_path / "sweep", config, "sweep")
    assert {(job.config.model.tau, job.config.model.beta) for job in swept.jobs} == {
        (0.05, config.model.beta), (0.09, config.model.beta), (config.model.tau, 0.3)
    }  # fmt: skip
    assert {(job.split, job.ranking) for job in swept.jobs} == {("valid", "rank-valid")}, "test is not read"
