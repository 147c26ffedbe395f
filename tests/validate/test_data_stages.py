"""What every stage really runs and reads is in its key: observed while the stages build a small dataset."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from gensr_model.config.base import Frozen
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.runtime.progress import NullReport
from tasks.core.code_version import RUNNERS, SOURCES, source_files
from tasks.core.stage import Stage, StageResult
from tasks.core.work import Work
from tasks.evaluate.analyze import analyze_gradients, analyze_information, analyze_space, analyze_theorem
from tasks.evaluate.rank import rank_model, rank_reference
from tasks.ingest.ingest import ingest
from tasks.ingest.ingest import source_files as raw_files
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.pretrain import pretrain
from tasks.validate.drift import check_drift
from tasks.validate.validate import check_prepared, check_raw

BOUNDS = {"prepare.memory_limit", "prepare.threads"}  # what DuckDB may use, not what it finds
PACKAGES = ("gensr_model", "tasks", "expectations")


class Seen(NamedTuple):
    """One build: the project's files that ran or were read as queries, and the config fields that were read."""

    stage: Stage
    files: set[str]
    fields: set[str]


@contextmanager
def watched_files(found: set[str]) -> Iterator[None]:
    """Collect the files of ours whose functions run, and the queries that are read."""
    roots = tuple(f"{SOURCES / package}/" for package in PACKAGES)
    query_file = str(SOURCES / "tasks" / "duck.py")

    def note(frame: FrameType, event: str, argument: object) -> None:
        del argument
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(roots):
            found.add(str(Path(name).relative_to(SOURCES)))
            if name == query_file and frame.f_code.co_name == "query":
                found.add(f"sql/{frame.f_locals['name']}.sql")

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


@contextmanager
def watched_fields(config: PipelineConfig, found: set[str]) -> Iterator[None]:
    """Collect the dotted names of the config's fields that are read; a section dumped whole counts as itself."""
    plain = Frozen.__getattribute__
    places: dict[int, str] = {id(config): ""}
    alive: list[Frozen] = [config]  # an id is a name only while its object lives

    def read(self: Frozen, name: str) -> Any:
        value = plain(self, name)
        place = places.get(id(self))
        if place is None:
            return value
        if name in ("model_dump", "model_dump_json", "model_copy"):
            found.add(place)
        elif name in type(self).model_fields:
            inner = f"{place}.{name}".lstrip(".")
            if isinstance(value, Frozen):
                places[id(value)] = inner
                alive.append(value)
            else:
                found.add(inner)
        return value

    Frozen.__getattribute__ = read  # type: ignore[method-assign]
    try:
        yield
    finally:
        del Frozen.__getattribute__


@pytest.fixture(scope="module", params=["amazon", "kuaisar"])
def seen(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., PipelineConfig],
) -> list[Seen]:
    """Every stage built once, outside Prefect and MLflow, and what was seen of it."""
    config = tiny(format=request.param)
    place = tmp_path_factory.mktemp(request.param)
    builds: list[Seen] = []

    def build(stage: Stage, *inputs: Path, option: str | None = None) -> Path:
        out = place / f"{len(builds)}-{stage.name}"
        out.mkdir()
        one = Seen(stage, set(), set())
        work = Work(out, place / f"{out.name}-checkpoints", NullReport())
        with watched_files(one.files), watched_fields(config, one.fields):
            stage.build(work, config, *inputs, *([option] if option else []))
        builds.append(one)
        return out

    raw = build(ingest, raw_files(config, place))
    build(check_raw, raw)
    prepared = build(prepare, raw)
    checks = build(check_prepared, prepared)
    build(check_drift, prepared, checks)
    cf = build(pretrain, prepared)
    bundles = [build(finetune, prepared, cf, option=model) for model in MODELS]
    build(rank_model, prepared, bundles[0], option="gensr")
    for name in ("item_knn", "lightgcn", "bm25"):
        build(rank_reference, prepared, cf, option=name)
    build(analyze_information, prepared, cf, *bundles)
    build(analyze_gradients, *bundles)
    build(analyze_space, prepared, cf, *bundles)
    build(analyze_theorem)
    return builds


def covers(section: str, field: str) -> bool:
    return field == section or field.startswith(f"{section}.")


def test_every_file_that_a_stage_runs_or_queries_is_its_code(seen: list[Seen]) -> None:
    for one in seen:
        own = Path(one.stage.build.__code__.co_filename)  # type: ignore[attr-defined]  # its text is in the key
        missing = one.files - set(source_files(one.stage.code)) - RUNNERS - {str(own.relative_to(SOURCES))}
        assert not missing, one.stage.name
        assert len(one.files) > 2, "nothing was watched"


def test_every_config_field_that_a_stage_reads_is_in_its_key(seen: list[Seen]) -> None:
    for one in seen:
        assert one.fields or not one.stage.config, "nothing was watched"
        missing = {f for f in one.fields - BOUNDS if not any(covers(s, f) for s in one.stage.config)}
        assert not missing, one.stage.name


def test_changing_a_field_that_a_stage_reads_changes_its_key(
    seen: list[Seen], tiny: Callable[..., PipelineConfig]
) -> None:
    def changed(field: str) -> Any:
        tree = tiny().model_dump(mode="json")
        node = tree
        *way, last = field.split(".")
        for step in way:
            node = node[step]
        node[last] = f"not {node[last]}"
        return SimpleNamespace(model_dump=lambda mode: tree)

    given = StageResult("input", "k", Path(), {}, 0.0, False)
    for one in seen:
        for field in one.fields - BOUNDS:
            assert one.stage.key(changed(field), given) != one.stage.key(tiny(), given), (
                one.stage.name,
                field,
            )
        assert one.stage.key(changed("retrain.delta"), given) == one.stage.key(tiny(), given)


def test_a_bad_raw_table_is_stopped_before_prepare_sees_it(
    tmp_path: Path, tiny: Callable[..., PipelineConfig]
) -> None:
    config = tiny()
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    ingest.build(Work(raw, tmp_path, NullReport()), config, raw_files(config, tmp_path))
    reviews = pq.read_table(raw / "reviews.parquet")
    users = reviews["user"].to_pylist()
    users[0] = None
    at = reviews.schema.get_field_index("user")
    pq.write_table(reviews.set_column(at, "user", [users]), raw / "reviews.parquet")
    with pytest.raises(DataError, match=r"raw_reviews\.user"):
        check_raw.build(Work(out, tmp_path, NullReport()), config, raw)
    assert (out / "validation.json").is_file()
    assert (out / "data_docs" / "index.html").is_file()
