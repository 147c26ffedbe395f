"""Stages: reuse by content, rebuilding what is missing, all or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.stage_folder import folder_digest, is_complete, read_record
from tasks.core import stage as stages
from tasks.core import tracking
from tasks.core.stage import StageResult, adopt, build_folder, stage, stored
from tasks.core.state_dir import StateDir
from tasks.core.tracking import Tracked, parent_run
from tasks.core.work import Work
from tasks.train.finetune import finetune
from tasks.train.full_ranking import finetune_full


def write_word(work: Work) -> dict[str, float]:
    (work.out / "deep").mkdir()
    (work.out / "deep" / "word.txt").write_text("hello", encoding="utf-8")
    return {"letters": 5.0}


def test_a_complete_folder_is_not_built_again(tmp_path: Path) -> None:
    where = StateDir(tmp_path)
    first = build_folder(where, "words", "k1", write_word)

    def never(work: Work) -> None:
        raise AssertionError("built twice")

    second = build_folder(where, "words", "k1", never)
    assert (first.reused, second.reused) == (False, True)
    assert second.peak_bytes == first.peak_bytes > 1_000_000
    assert second.metrics == {"letters": 5.0}
    assert (second.path / "deep" / "word.txt").read_text(encoding="utf-8") == "hello"


def test_the_content_of_a_folder_is_names_and_bytes(tmp_path: Path) -> None:
    def write(content: dict[str, str], metrics: dict[str, float]) -> Callable[[Work], dict[str, float]]:
        def fill(work: Work) -> dict[str, float]:
            for name, text in content.items():
                (work.out / name).parent.mkdir(exist_ok=True)
                (work.out / name).write_text(text, encoding="utf-8")
            return metrics

        return fill

    fills = {
        "first": write({"a/b": "one", "c": "two"}, {"loss": 1.0}),
        "same": write({"c": "two", "a/b": "one"}, {"loss": 2.0}),
        "other byte": write({"a/b": "one", "c": "tvo"}, {}),
        "other name": write({"a/b": "one", "d": "two"}, {}),
        "exchanged": write({"a/b": "two", "c": "one"}, {}),
    }
    built = {key: build_folder(StateDir(tmp_path), "words", key, fill) for key, fill in fills.items()}
    content = {key: result.content for key, result in built.items()}
    assert content["first"] == content["same"]
    assert len(set(content.values())) == 4
    assert {key: folder_digest(result.path) for key, result in built.items()} == content
    actual = {key: stored(StateDir(tmp_path), "words", key) for key in fills}
    assert actual == {key: result._replace(reused=True) for key, result in built.items()}
    assert stored(StateDir(tmp_path), "words", "never built") is None


@pytest.mark.parametrize("harm", ["removed", "cut short", "no record", "half a record", "inner folder", "all"])
def test_a_damaged_folder_is_built_again(tmp_path: Path, harm: str) -> None:
    built = build_folder(StateDir(tmp_path), "words", "k1", write_word)
    word, record = built.path / "deep" / "word.txt", built.path / "stage.json"
    damage: dict[str, Callable[[], object]] = {
        "removed": word.unlink,
        "cut short": lambda: word.write_text("hel", encoding="utf-8"),
        "no record": record.unlink,
        "half a record": lambda: record.write_text(record.read_text(encoding="utf-8")[:20], encoding="utf-8"),
        "inner folder": lambda: shutil.rmtree(word.parent),
        "all": lambda: shutil.rmtree(built.path),
    }
    damage[harm]()
    assert not is_complete(built.path)
    again = build_folder(StateDir(tmp_path), "words", "k1", write_word)
    assert not again.reused
    assert is_complete(again.path)
    assert (again.path / "deep" / "word.txt").read_text(encoding="utf-8") == "hello"


def test_a_folder_of_another_machine_takes_the_place_of_what_is_not_complete(tmp_path: Path) -> None:
    made = build_folder(StateDir(tmp_path / "there"), "words", "k1", write_word).path
    here = StateDir(tmp_path / "here")
    half = here.store / "words" / "k1"
    half.mkdir(parents=True)
    (half / "half").write_text("...", encoding="utf-8")
    assert adopt(here, "words", "k1", made)
    assert adopt(here, "words", "another key", made)
    assert [read_record(half.with_name(key))["key"] for key in ("k1", "another key")] == ["k1", "another key"]
    shutil.rmtree(half.with_name("another key"))
    half.with_name("another key.lock").unlink(missing_ok=True)
    assert is_complete(half)
    assert sorted(path.name for path in half.iterdir()) == ["deep", "stage.json"]
    assert sorted(path.name for path in half.parent.iterdir()) == ["k1", "k1.lock"]
    assert not adopt(here, "words", "k1", tmp_path / "nowhere"), "what is complete stays, and nothing is read"


def test_a_failing_build_leaves_nothing_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    def fail(work: Work) -> None:
        work.checkpoints.mkdir(parents=True)
        (work.checkpoints / "last").write_text("step 7", encoding="utf-8")
        (work.out / "half").write_text("...", encoding="utf-8")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        build_folder(StateDir(tmp_path), "train", "k1", fail)
    assert [p.name for p in (tmp_path / "store" / "train").iterdir()] == ["k1.lock"]

    def resume(work: Work) -> None:
        assert (work.checkpoints / "last").read_text(encoding="utf-8") == "step 7"

    build_folder(StateDir(tmp_path), "train", "k1", resume)
    assert not (tmp_path / "checkpoints" / "train-k1").exists()


def test_a_killed_build_leaves_no_complete_folder_and_the_next_one_succeeds(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tasks.core.state_dir import StateDir; from tasks.core.stage import build_folder\n"
        "def fill(work):\n"
        "    (work.out / 'half').write_text('...'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "build_folder(StateDir(Path(sys.argv[1])), 'words', 'k1', fill)\n"
    )
    died = subprocess.run([sys.executable, "-c", program, tmp_path], env=dict(os.environ), timeout=120)
    assert died.returncode == -9
    folder = tmp_path / "store" / "words" / "k1"
    assert not folder.exists()
    assert list(folder.parent.glob("k1.tmp-*"))
    built = build_folder(StateDir(tmp_path), "words", "k1", write_word)
    assert is_complete(built.path)
    assert not (built.path / "half").exists()
    assert not list(folder.parent.glob("k1.tmp-*"))


def test_the_key_follows_inputs_config_option_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @stage("words", config=("seed", "train.epochs"))
    def words(work: Work, config: PipelineConfig) -> None:
        """Words."""

    def given(key: str) -> StageResult:
        return StageResult("raw", key, Path(), {}, 0.0, False)

    config = PipelineConfig()
    base = words.key(config, given("a"))
    assert base == words.key(PipelineConfig(name="another name"), given("a"))
    changed = [
        words.key(PipelineConfig(seed=1), given("a")),
        words.key(PipelineConfig.model_validate({"train": {"epochs": 9}}), given("a")),
        words.key(config, given("b")),
        words.key(config, given("a"), option="big"),
    ]
    assert words.key(config, given("a")._replace(key="b", content="a")) == base, "content counts, not its key"
    monkeypatch.setattr(stages, "definitions_of", lambda build, code, skip: {"words": "changed"})
    changed.append(words.key(config, given("a")))
    assert len({base, *changed}) == 6


def test_what_an_option_does_not_read_is_not_in_its_key() -> None:
    given = [StageResult("raw", key, Path(), {}, 0.0, False) for key in "ab"]

    def differs(option: str, **train: float) -> bool:
        changed = PipelineConfig.model_validate({"train": train})
        return finetune.key(changed, *given, option=option) != finetune.key(PipelineConfig(), *given, option=option)

    assert not differs("gensr", two_head_epochs=9)
    assert not differs("gensr", two_head_gamma=0.5)
    assert not differs("two_head", epochs=9)
    assert differs("gensr", epochs=9)
    assert differs("two_head", two_head_epochs=9)
    assert differs("two_head", two_head_gamma=0.5)
    assert all(differs(option, learning_rate=0.5) for option in ("gensr", "two_head"))


def test_full_ranking_has_epochs_and_batches_of_its_own() -> None:
    given = [StageResult("raw", key, Path(), {}, 0.0, False) for key in "ab"]
    base = finetune_full.key(PipelineConfig(), *given)
    for train, same in (({"epochs": 9, "batch_size": 9, "two_head_epochs": 9}, True), ({"clip_norm": 9}, False)):
        changed = PipelineConfig.model_validate({"train": train})
        assert (finetune_full.key(changed, *given) == base) is same


@pytest.mark.usefixtures("prefect_server")
def test_prefect_caches_a_stage_and_a_missing_file_behind_the_hit_is_rebuilt(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(tracking, "_SYSTEM_EVERY", 0.02)

    @stage("words", config=("seed",), artifacts=("*.txt",))
    def words(work: Work, config: PipelineConfig) -> dict[str, float]:
        """Writes one word."""
        calls.append("built")
        time.sleep(0.3)  # the load of the machine is looked at meanwhile
        (work.out / "word.txt").write_text("hello", encoding="utf-8")
        work.report.metrics({"loss": 0.5}, step=3)
        work.report.progress(1, 2, "half")
        return {"letters": 5.0}

    @flow(name="words-flow")
    def once(config: PipelineConfig) -> list[tuple[StageResult, str]]:
        with parent_run(config, "words-flow", "0" * 8) as run:
            actual = words(run, config)
            children = run.client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
            return [(actual, child.info.run_id) for child in children]

    [(first, run_id)] = once(PipelineConfig())
    [(second, _)] = once(PipelineConfig())
    assert (first.reused, second.reused) == (False, True)
    assert second.peak_bytes == first.peak_bytes > 1_000_000
    assert calls == ["built"]
    (first.path / "word.txt").unlink()
    [(third, reused_id)] = once(PipelineConfig())
    assert calls == ["built"] * 2
    assert not third.reused
    assert (third.path / "word.txt").read_text(encoding="utf-8") == "hello"
    assert third.key == first.key
    shutil.rmtree(first.path)
    [(fourth, _)] = once(PipelineConfig())
    assert calls == ["built"] * 3
    assert not fourth.reused
    assert (fourth.path / "word.txt").read_text(encoding="utf-8") == "hello"

    child = Tracked.existing(run_id).client.get_run(run_id)
    load = "system/cpu_utilization_percentage"
    assert child.data.metrics.keys() >= {"loss", "letters", "seconds", "peak_bytes", load}
    assert child.data.tags["reused"] == "false"
    assert child.info.status == "FINISHED"
    assert [f.path for f in Tracked.existing(reused_id).client.list_artifacts(reused_id)] == ["word.txt"]

    moved = gensr_home.rename(gensr_home.with_name("moved"))
    monkeypatch.setenv("GENSR_HOME", str(moved))
    [(fifth, _)] = once(PipelineConfig())
    assert calls == ["built"] * 3
    assert fifth.reused
    assert fifth.path == moved / "store" / "words" / first.key
