"""Where the raw files come from, as a plain string or as an object."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gensr_model.config.data import DownloadSource, FolderSource, GeneratedSource
from gensr_model.config.pipeline import PipelineConfig


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("generated", GeneratedSource()),
        ("download", DownloadSource()),
        ("/data/mine", FolderSource(path="/data/mine")),
        ("./mine", FolderSource(path="./mine")),
        ("mine/", FolderSource(path="mine/")),
        ("~/mine", FolderSource(path="~/mine")),
        ({"kind": "folder", "path": "mine"}, FolderSource(path="mine")),
        ({"kind": "generated", "users": 40}, GeneratedSource(users=40)),
    ],
)
def test_a_string_stands_for_the_source_that_it_names(given: Any, source: Any) -> None:
    config = PipelineConfig.model_validate({"source": given})
    assert config.source == source
    assert config.name == f"{source.kind}-amazon"
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [
        ("mine", " (such as ./mine)"),
        ("", " (such as ./data)"),
        ("downloads", " (such as ./downloads)"),
        ("Generated", " (did you mean generated?)"),
        (" generated", " (did you mean generated?)"),
        ("~", " (such as ~/)"),
        ("C:\\x", ""),
        (5, " (such as ./data)"),
        (None, " (such as ./data)"),
        ([1], " (such as ./data)"),
        (True, " (such as ./data)"),
        ({}, " (such as ./data)"),
    ],
)
def test_anything_else_is_refused_with_what_may_stand_there(given: Any, suggestion: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": given})
    (error,) = refused.value.errors()
    assert error["loc"] == ("source",)
    expected = f"{given!r} is no source: expected generated, download, or the path of a folder, which contains a /"
    assert error["msg"] == f"Value error, {expected}{suggestion}"


@pytest.mark.parametrize("path", ["", " "])
def test_a_folder_without_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": {"kind": "folder", "path": path}})
    (error,) = refused.value.errors()
    assert error["loc"] == ("source", "folder", "path")
    assert f"{path!r} is blank" in error["msg"]
