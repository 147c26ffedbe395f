"""Commands and their log files: an expected error is a block, the trace is in a file, and files do not pile up."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from flows.full_pipeline import full_pipeline
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError, GensrError, TrainingError, shortened
from tasks.core import error_log
from tasks.core.error_log import describe, is_expected, run_command, write_trace, wrong_fields

MESSAGE = "/data/reviews: 4 bad rows:\nline 1\nline 2\nline 3\nline 4\nCopy it again."


@pytest.mark.parametrize("kind", [DataError, TrainingError])
def test_a_command_ends_with_the_block_and_its_status(
    gensr_home: Path, capsys: pytest.CaptureFixture[str], kind: type[GensrError]
) -> None:
    def fail() -> int:
        raise kind(MESSAGE)

    assert run_command("audit", fail) == 1
    lines = capsys.readouterr().err.splitlines()
    path = gensr_home / "logs" / "errors" / "audit.log"
    block = [
        f"Trace: {path}",
        f"gensr: TrainingError: {MESSAGE.splitlines()[0]}",
        "line 1",
        "(and 3 more) Copy it again.",
    ]
    plain = f"gensr: DataError: {MESSAGE}".splitlines()
    assert lines == (plain if kind is DataError else block), "what is wrong with data is said in full, without a trace"
    assert "in fail" in path.read_text(encoding="utf-8")
    assert run_command("audit", lambda: 0) == 0


def test_prefects_line_with_parameters_that_do_not_fit_shows_no_secret() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("prefect.flows")
    logger.addHandler(handler)
    try:
        full_pipeline.validate_parameters({"config": {"source": "https://me:hunter2@host/events.csv"}})
    except ParameterTypeError as error:
        lines.append(str(error))
    finally:
        logger.removeHandler(handler)
    assert "https://***@host/events.csv" in lines[0]
    assert "source: the URL holds a user or a password" in lines[1]
    assert "hunter2" not in "".join(lines)


def test_an_unexpected_error_of_a_command_is_raised(gensr_home: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("audit", lambda: 1 // 0)
    assert not (gensr_home / "logs" / "errors").exists()


def test_old_log_files_go(gensr_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "_MAX_FILES", 3)
    for n in range(5):
        path = write_trace(DataError("no"), f"run-{n}")
        os.utime(path, (n, n))
    write_trace(DataError("again"), "run-4")
    assert {file.stem for file in (gensr_home / "logs" / "errors").iterdir()} == {"run-2", "run-3", "run-4"}
    assert "DataError: again" in path.read_text(encoding="utf-8")


def test_a_config_that_does_not_fit_is_expected_and_names_its_fields() -> None:
    with pytest.raises(ValidationError) as wrong:
        PipelineConfig.model_validate({"seed": -1})
    assert is_expected(wrong.value)
    assert describe(wrong.value).splitlines()[1] == "- seed: Input should be greater than or equal to 0"
    with pytest.raises(ValidationError) as other:
        PipelineConfig().train.model_validate({"epochs": 0})
    assert not is_expected(other.value), "of anything but the whole config it is a fault of the code"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"train": {"epoch": 3}}, "- train.epoch: no such field; did you mean epochs?"),
        ({"trian": {}}, "- trian: no such field; did you mean train?"),
        ({"model": {"backbone": {"zzz": 1}}}, "- model.backbone.zzz: no such field"),
        ({"source": {"kind": "generated", "user": 30}}, "- source.user: no such field; did you mean users?"),
        ({"train": 3}, "- train: expected an object"),
        ({"overrides": 3}, 'overrides is 3. Give an object of sections, such as {"train": {"epochs": 3}}.'),
        ({"name": "a/b"}, "- name: 'a/b' cannot name a model in MLflow"),
    ],
)
def test_a_wrong_field_has_its_own_line(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        PipelineConfig.model_validate(given)
    result = wrong_fields(wrong.value)
    assert result == line if "cannot name" not in line else result.startswith(line)


def test_a_message_is_cut_in_its_middle() -> None:
    assert shortened("a\nb\nc") == "a\nb\nc"
    assert shortened("a\nb\nc\nd\ne") == "a\nb\n(and 2 more) e"
    error = GensrError("a\nb\nc\nd")
    assert str(error) == "a\nb\n(and 1 more) d"
    assert error.full_message == "a\nb\nc\nd"
