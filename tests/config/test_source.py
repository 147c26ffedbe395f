"""Where the raw files come from, as a plain string or as an object."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import ValidationError as SchemaError
from prefect.utilities.schema_tools.validation import validate
from pydantic import ValidationError

from gensr_model.config.data import DownloadSource, FolderSource, GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.remote_sources import RemoteFile, S3Source, SqlSource
from gensr_model.config.secrets import resolved, scrubbed
from gensr_model.errors import ConfigError
from tasks.core.error_log import wrong_fields


@cache
def schema() -> dict[str, Any]:
    """Of the source alone: the server checks the whole one, which takes half a second."""
    whole = PipelineConfig.model_json_schema()
    parts = {name: part for name, part in whole["$defs"].items() if name.endswith("Source") or name == "RemoteFile"}
    return {"type": "object", "properties": {"source": whole["properties"]["source"]}, "$defs": parts}


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
        ("env:SHOP", " (for a URL that env:SHOP holds: [env:SHOP], {kind: s3, url: env:SHOP} or kind: sql)"),
        (True, " (such as ./data)"),
        ({}, " (such as ./data)"),
    ],
)
def test_anything_else_is_refused_with_what_may_stand_there(given: Any, suggestion: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": given})
    (error,) = refused.value.errors()
    assert error["loc"] == ("source",)
    expected = "expected generated, download, the path of a folder, which contains a /, or a URL of s3 or http(s)"
    assert error["msg"] == f"Value error, {given!r} is no source: {expected}{suggestion}"


@pytest.mark.parametrize("path", ["", " "])
def test_a_folder_without_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": {"kind": "folder", "path": path}})
    (error,) = refused.value.errors()
    assert error["loc"] == ("source", "folder", "path")
    assert f"{path!r} is blank" in error["msg"]


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("s3://bucket/logs/2026", S3Source(url="s3://bucket/logs/2026")),
        ("https://host/a.csv", DownloadSource(files=(RemoteFile(url="https://host/a.csv"),))),
        (
            ["http://host:8080/a@b/events.csv?day=2", "env:ITEMS"],
            DownloadSource(
                files=(RemoteFile(url="http://host:8080/a@b/events.csv?day=2"), RemoteFile(url="env:ITEMS"))
            ),
        ),
        (
            {"kind": "sql", "url": "env:SHOP_DB", "events": "select * from e", "items": "select '%' as title"},
            SqlSource(url="env:SHOP_DB", events="select * from e", items="select '%' as title"),
        ),
    ],
)
def test_a_url_and_a_list_of_urls_are_sources_that_the_server_takes(given: Any, source: Any) -> None:
    config = PipelineConfig.model_validate({"source": given})
    assert config.source == source
    assert config.name == f"{source.kind}-amazon"
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config
    validate({"source": given}, schema(), raise_on_error=True, preprocess=False)


SQL = {"kind": "sql", "events": "select 1", "items": "select 1"}
SECRETS: list[tuple[str, Any]] = [
    ("source", "https://shop:hunter2@host/events.csv"),
    ("source", "s3://AKIA:hunter2@bucket/logs"),
    ("source", "postgresql://shop:hunter2@host/db"),
    ("source", "postgresql://shop:hun/hunter2@host/db"),
    ("source", "postgresql://hunter2@host/db"),
    ("source", "host=db password=hunter2"),
    ("source.0", ["https://host/events.csv?x=1&X-Amz-Signature=hunter2"]),
    ("source.0", ["https://host/events.csv?user=me&Pass=hunter2"]),
    ("source.0", ["https://host/events.csv?Authorization=hunter2"]),
    ("source.files.0.url", {"kind": "download", "files": [{"url": "https://host/e.csv?%74oken=hunter2"}]}),
    ("source.files.0.url", {"kind": "download", "files": [{"url": "https://host/e.csv?sv=1&sig=hunter2"}]}),
    ("source.endpoint", {"kind": "s3", "url": "s3://bucket", "endpoint": "http://me:hunter2@host:9000"}),
    ("source.url", {"kind": "s3", "url": "s3://bucket?secret_key=hunter2"}),
    ("source.path", {"kind": "folder", "path": "ftp://me:hunter2@host/x"}),
    ("source.url", SQL | {"url": "postgresql://host/db?password=hunter2"}),
    ("source.url", SQL | {"url": "duckdb:///x.db?motherduck_token=hunter2"}),
    ("source.events", SQL | {"url": "env:X", "events": "select * from read_csv('https://me:hunter2@host/x')"}),
]


@pytest.mark.parametrize(("field", "given"), SECRETS)
def test_a_secret_is_refused_by_the_name_of_its_field(field: str, given: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": given})
    assert f"{field}: the URL holds a " in wrong_fields(refused.value)
    assert "env:NAME" in wrong_fields(refused.value)
    assert "hunter2" not in f"{refused.value}{wrong_fields(refused.value)}"


@pytest.mark.parametrize("given", [source for _, source in SECRETS if "%74" not in str(source)])
def test_the_server_keeps_no_parameter_with_a_secret(given: Any) -> None:
    with pytest.raises(SchemaError):
        validate({"source": given}, schema(), raise_on_error=True, preprocess=False)


def test_secrets_in_every_other_field_are_refused_too() -> None:
    for tree in (
        {"overrides": {"logs": {"layout": "https://a:hunter2@host"}}},
        {"logs": {"events": {"name": "x://me:hunter2@host"}}},
        {"model": {"backbone": {"name_or_path": "https://host/t5?access_token=hunter2"}}},
    ):
        with pytest.raises(ValidationError) as refused:
            PipelineConfig.model_validate(tree)
        assert "hunter2" not in str(refused.value)
        assert "the URL holds a " in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gs://bucket/x", "'gs://bucket/x' is no source: expected generated"),
        ("postgresql://host/db", "A database needs queries"),
        (SQL | {"url": "mysql://host/db"}, "this is no address of a database. Give env:NAME"),
        (SQL | {"url": "SHOP_DB"}, "this is no address of a database. Give env:NAME"),
        (SQL | {"url": "env:X", "items": " "}, "String should match pattern"),
        ({"kind": "s3", "url": "s3://"}, "String should match pattern"),
        ({"kind": "s3", "url": "s3://b", "endpoint": "host:9000"}, "String should match pattern"),
    ],
)
def test_what_is_no_url_of_a_source(given: Any, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig.model_validate({"source": given})
    assert message in wrong_fields(refused.value)


def test_a_message_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://shop:p%40ss@host/db?sslmode=require&token=abc"
    monkeypatch.setenv("SHOP_DB", f" {url}\n")
    assert resolved("env:SHOP_DB", "source.url") == url
    text = scrubbed(f"no {url}: user shop, p%40ss or p@ss; http://x/y?a=1&sig=abc password = x", "p%40ss")
    assert text == (
        "no postgresql://***@host/db?sslmode=require&token=*** user shop, *** or ***; "
        "http://x/y?a=1&sig=*** password = ***"
    )
    monkeypatch.setenv("SHOP_DB", " ")
    with pytest.raises(ConfigError, match=r"source.url: the environment variable SHOP_DB is not set"):
        resolved("env:SHOP_DB", "source.url")
