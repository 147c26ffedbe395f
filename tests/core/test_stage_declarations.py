"""Every stage declares what it runs and reads: observed while all of them build a small dataset and its models.

A stage gets its view of the config, so that reading a field that it does not declare ends the build.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from shop_logs import shop

from gensr_model.config.base import Frozen, UndeclaredField
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.runtime.progress import NullReport
from tasks.compare import baselines
from tasks.compare.full_table import FULL_RANKED
from tasks.core.definitions import LOOK_UPS, RUNNERS, exists, module
from tasks.core.source_files import SOURCES
from tasks.core.stage import Stage, StageResult, stage
from tasks.core.work import Work
from tasks.evaluate.analyze import analyze_gradients, analyze_information, analyze_space, analyze_theorem
from tasks.evaluate.examples import draw_examples
from tasks.evaluate.rank import rank_model, rank_reference, rank_valid
from tasks.ingest.ingest import ingest
from tasks.ingest.ingest import source_files as raw_files
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.full_ranking import finetune_full, rank_full, rank_full_reference
from tasks.train.pretrain import pretrain
from tasks.train.semantic_ids import semantic_ids
from tasks.validate.check import check_data
from tasks.validate.drift import check_drift
from tasks.validate.validate import check_prepared, check_raw

Tiny = Callable[..., PipelineConfig]
PACKAGES = ("gensr_model", "tasks", "expectations")
GIVEN = StageResult("input", "k", Path(), {}, 0.0, False)


class Build(NamedTuple):
    """One build of a stage, and what it ran: ``module:name``, and the SQL files that it read."""

    stage: Stage
    config: PipelineConfig
    option: str | None
    ran: set[str]


@contextmanager
def watched(ran: set[str]) -> Iterator[None]:
    """Collect the definitions of ours whose functions run, and the queries that are read."""
    query_file = str(SOURCES / "tasks" / "core" / "sql_runner.py")
    roots = tuple(f"{SOURCES / package}/" for package in PACKAGES)

    settled = set()  # code that is noted already, or that is not ours: most calls, so that watching is cheap

    def note(frame: FrameType, event: str, argument: object) -> None:
        """Sees the call of every function, and none of its lines: it gives no tracer for them."""
        del event, argument
        code = frame.f_code
        if code in settled:
            return
        if code.co_filename == query_file and code.co_name == "query":
            ran.add(f"sql/{frame.f_locals['name']}.sql")  # another one with each call
        else:
            settled.add(code)
        outer = code.co_qualname.split(".")[0]
        # "<": a module that is imported, or a lambda of a constant.
        if code.co_filename.startswith(roots) and not outer.startswith("<"):
            file = Path(code.co_filename).relative_to(SOURCES).with_suffix("")
            ran.add(f"{'.'.join(file.parts)}:{outer}")

    before = sys.gettrace()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]


class Builder:
    """Builds stages outside Prefect and MLflow, each in a folder of its own."""

    def __init__(self, config: PipelineConfig, home: Path) -> None:
        self.config, self.home = config, home
        self.builds: list[Build] = []

    def __call__(self, stage: Stage, *inputs: Path, option: str | None = None) -> Path:
        out = self.home / f"{len(self.builds)}-{stage.name}"
        out.mkdir()
        build = Build(stage, self.config, option, set())
        work = Work(out, self.home / f"{out.name}-checkpoints", NullReport())
        view = stage.view(self.config, option)
        with watched(build.ran):
            stage.build(work, view, *inputs, *([option] if option else []))
        self.builds.append(build)
        return out


def build_data(build: Builder) -> Path:
    raw = build(ingest, raw_files(build.config, build.home))
    build(check_data, raw)
    build(check_raw, raw)
    prepared = build(prepare, raw)
    checks = build(check_prepared, prepared)
    build(check_drift, prepared, checks)
    return prepared


def build_models(build: Builder, prepared: Path) -> None:
    cf = build(pretrain, prepared)
    build(semantic_ids, prepared)
    bundles = {model: build(finetune, prepared, cf, option=model) for model in MODELS}
    for model, bundle in bundles.items():
        build(rank_model, prepared, bundle, option=model)
    build(rank_valid, prepared, bundles["gensr"], option="gensr")
    build(draw_examples, prepared, bundles["gensr"])
    for name in ("item_knn", "lightgcn", "bm25"):
        build(rank_reference, prepared, cf, option=name)
    full = build(finetune_full, prepared, cf)
    build(rank_full, prepared, full, option="gensr")
    build(rank_full_reference, prepared, cf, option="item_knn")
    for name in ("qem", "unisar"):
        stages = baselines.stages_of(name)
        tuned = build(stages.tune, prepared, option=name)
        trained = bundles[name] = build(stages.train, prepared, tuned, option=name)
        build(stages.rank, prepared, trained, option=name)
    stages = baselines.stages_of("bsr", FULL_RANKED)
    trained = build(stages.train, prepared, build(stages.tune, prepared, option="bsr"), option="bsr")
    build(stages.rank, prepared, trained, option="bsr")
    del bundles["qem"]
    build(analyze_information, prepared, cf, *bundles.values())
    build(analyze_gradients, *bundles.values())
    build(analyze_space, prepared, cf, *bundles.values())
    build(analyze_theorem)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> list[Build]:
    """Every stage, built once; those of the data for every format."""
    small = {"rerank": {"epochs": 1, "trials": 2, "trial_epochs": 1, "batch_size": 64}}
    small |= {"full_ranking": {"epochs": 1, "valid_samples": 20}, "semantic_ids": {"codes": 8, "steps": 2}}
    amazon = Builder(tiny(**small), tmp_path_factory.mktemp("amazon"))
    build_models(amazon, build_data(amazon))
    kuaisar = Builder(tiny(format="kuaisar"), tmp_path_factory.mktemp("kuaisar"))
    build_data(kuaisar)
    folder = tmp_path_factory.mktemp("logs")
    logs = Builder(tiny(format="logs", source=str(shop(folder / "shop", searches=0.5))), folder)
    build_data(logs)
    return amazon.builds + kuaisar.builds + logs.builds


@pytest.mark.slow
def test_every_definition_and_query_that_a_stage_runs_is_in_its_key(builds: list[Build]) -> None:
    for build in builds:
        in_key = set(build.stage.definitions(build.config, build.option))
        looked_up = LOOK_UPS | set(build.stage.skip.get("", ()))  # what finds a baseline or a format by its name
        missing = {name for name in build.ran - in_key - looked_up if name.split(":")[0] not in RUNNERS}
        config = {name for name in missing if name.startswith("gensr_model.config.")}
        assert missing - config == set(), (build.stage.name, build.option)
        assert all(_only_holds_values(name) for name in config), (build.stage.name, build.option)
        assert len(build.ran) > 2, "nothing was watched"


def _only_holds_values(name: str) -> bool:
    """A config class, whose values are in the key."""
    holder, _, inner = name.partition(":")
    result = module(holder)
    assert result is not None
    assert exists(name)
    return not result.defined[inner]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_changing_a_field_that_a_stage_can_read_changes_its_key(builds: list[Build]) -> None:
    for build in builds:
        view, resources = build.stage.view(build.config, build.option), build.stage.resources
        fields = [field for field in leaves(view) if field not in resources]
        assert bool(fields) == bool(build.stage.config)
        key = build.stage.key(build.config, GIVEN, option=build.option)
        for field in fields:
            assert build.stage.key(changed(build.config, field), GIVEN, option=build.option) != key, field
        for field in ("retrain.delta", *resources):
            assert build.stage.key(changed(build.config, field), GIVEN, option=build.option) == key, field


def leaves(view: Frozen, place: str = "") -> Iterator[str]:
    """Dotted names of the fields that a view holds."""
    for name in type(view).model_fields:
        value = vars(view).get(name, ...)
        if isinstance(value, Frozen):
            yield from leaves(value, f"{place}{name}.")
        elif value is not ...:
            yield f"{place}{name}"


def changed(config: Any, field: str) -> Any:
    """The config with another value: another format, or a value that need not be valid."""
    name, _, inner = field.partition(".")
    given = getattr(config, name)
    value = (
        {"amazon": "kuaisar", "kuaisar": "logs", "logs": "amazon"}.get(given) if field == "format" else f"not {given}"
    )
    return config.model_copy(update={name: changed(given, inner) if inner else value})


def test_a_field_that_the_stage_does_not_declare_cannot_be_read(tmp_path: Path, tiny: Tiny) -> None:
    @stage("words", config=("train", "model.text", "seed"), unread={"short": ("train.epochs",)})
    def words(work: Work, config: PipelineConfig, option: str) -> None: ...

    config = tiny()
    full, short = words.view(config), words.view(config, "short")
    assert (full.train.epochs, full.model.text, full.seed) == (1, config.model.text, config.seed)
    assert full.train.trained_tasks == config.train.trained_tasks
    assert short.train.model_copy(update={"epochs": 3}).epochs == 3
    reads: list[tuple[Callable[[], object], str]] = [
        (lambda: full.lightgcn, "lightgcn"),
        (lambda: full.model.tau, "model.tau"),
        (lambda: short.train.epochs, "train.epochs"),
        (lambda: short.train.model_copy(update={"patience": 3}).epochs, "train.epochs"),
        (lambda: short.lightgcn, "lightgcn"),
        (lambda: full.train.processes, "train.processes"),
        (lambda: full.train.model_dump(), "train.processes"),
        (lambda: full.model.model_dump_json(), "model.backbone"),
        (lambda: full.model_dump(mode="json"), "name"),
    ]
    for read, field in reads:
        with pytest.raises(UndeclaredField, match=f"^the stage 'words' reads the config field {field}, "):
            read()
