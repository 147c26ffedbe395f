"""Every data format is one entry, found by its name, and nothing else in the package asks for the name."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from gensr_model.config.known_formats import FORMATS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.reporting import paper
from tasks.core import code_version
from tasks.core.dataset_format import Count, Step, dataset_format
from tasks.core.source_files import SOURCES
from tasks.core.sql_runner import query
from tasks.core.stage import StageResult
from tasks.ingest.ingest import ingest
from tasks.prepare.prepare import prepare
from tasks.prepare.schemas import OPTIONAL
from tasks.train.pretrain import pretrain
from tasks.validate.validate import check_raw

FOLDER = SOURCES / "tasks" / "ingest" / "formats"


def test_the_files_of_formats_are_the_known_formats() -> None:
    entries = {
        path.stem for path in FOLDER.glob("*.py") if re.search(r"^FORMAT = ", path.read_text(encoding="utf-8"), re.M)
    }
    assert entries == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_an_entry_is_complete(name: str) -> None:
    entry = dataset_format(name)
    assert entry.facts is FORMATS[name]
    assert entry.facts.paper in (None, *paper.DATA)
    assert "items" in entry.preparing.tables
    assert {table.name for table in entry.reading.tables} >= set(entry.preparing.tables)
    assert entry.suites(0, 1).keys() == set(entry.preparing.tables)
    assert {table for table, _ in entry.preparing.files} <= OPTIONAL


def named_queries(steps: tuple[Step, ...]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, str | Count):
            yield step if isinstance(step, str) else step.query


@pytest.mark.parametrize("name", FORMATS)
def test_every_query_of_a_format_exists_and_is_named_once_in_its_entry(name: str) -> None:
    steps = dataset_format(name).preparing
    groups = (steps.interactions, steps.searches, steps.item_text, steps.event_split)
    named = [each for group in groups for each in named_queries(group)]
    assert len(set(named)) == len(named)
    assert all(query(each) for each in (*named, *(each for _, each in steps.files), *steps.figures))
    texts = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    for path in (SOURCES / "sql" / name).rglob("*.sql"):
        place = path.relative_to(SOURCES / "sql").with_suffix("").as_posix()
        by_table = path.stem in {table.name for table in dataset_format(name).reading.tables}
        assert by_table or f'"{place}"' in texts, place


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_other_code_names_a_format() -> None:
    known = {FOLDER / f"{name}.py" for name in FORMATS} | {SOURCES / "gensr_model/config/known_formats.py"}
    known.add(SOURCES / "tasks/core/state_dir.py")  # a folder of log files
    known.add(FOLDER / "logs_advice.py")  # a part of the entry
    for package in ("flows", "tasks", "gensr_model", "expectations"):
        for path in (SOURCES / package).rglob("*.py"):
            named = set(FORMATS) & set(strings(ast.parse(path.read_text(encoding="utf-8"))))
            assert not named or path in known, (path, named)


def test_an_unknown_format_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"'kuaisr' is no data format. Choose one of amazon, kuaisar, logs"):
        PipelineConfig.model_validate({"format": "kuaisr"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_module:FORMAT",
            r"cannot be imported: .*no_such_module.*Choose one of amazon, kuaisar, logs",
        ),
        ("json:FORMAT", r"cannot be imported: .*FORMAT"),
        ("json:loads", r"is no DatasetFormat"),
    ],
)
def test_a_format_elsewhere_that_is_none(name: str, message: str) -> None:
    assert PipelineConfig.model_validate({"format": name}).name == f"generated-{name.split(':')[1].lower()}"
    with pytest.raises(ConfigError, match=message):
        dataset_format(name)


def test_a_format_elsewhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_clicks.py").write_text("from tasks.ingest.formats.amazon import FORMAT as MINE\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert dataset_format("my_clicks:MINE") is dataset_format("amazon")


def test_the_code_of_a_format_elsewhere_is_in_the_keys_of_its_stages_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., PipelineConfig]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "my_format.py"
    source = (SOURCES / "tests" / "toy_format.py").read_text(encoding="utf-8")
    given = StageResult("input", "k", Path(), {}, 0.0, False)

    def keys(text: str) -> dict[str, str]:
        module.write_text(text, encoding="utf-8")
        code_version.FOREIGN.clear()
        sys.modules.pop("my_format", None)
        importlib.invalidate_caches()
        config = tiny(format="my_format:FORMAT")
        return {stage.name: stage.key(config, given) for stage in (ingest, check_raw, prepare, pretrain)}

    before, after = keys(source), keys(source.replace("'no user'", "'no person'"))
    assert [name for name in before if before[name] != after[name]] == ["ingest", "validate-raw", "prepare"]
    assert keys(source + "\n# a comment\n") == before
