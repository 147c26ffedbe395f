"""Sources on S3, asked over HTTP of moto's server on this machine."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3, only_these_keys, s3_server

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.remote_sources import S3Source
from gensr_model.errors import DataError
from tasks.ingest.ingest import source_digest, source_files
from tasks.ingest.sources.s3 import mirror

EVENTS, ITEMS = b"user_id,item_id,timestamp\nu1,i1,1700000000\n", b"item_id,title\ni1,Shoe\n"


@pytest.fixture(scope="module")
def running() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def service(running: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3:
    only_these_keys(monkeypatch, tmp_path)
    running.empty()
    running.put("logs/events.csv", EVENTS)
    running.put("logs/items.csv", ITEMS)
    running.put("logs2/users.csv", b"user_id\n")
    running.asked.clear()
    return running


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_prefix_becomes_a_folder_and_only_changes_are_fetched(service: S3, tmp_path: Path) -> None:
    given = {"kind": "s3", "url": "s3://shop/logs", "endpoint": service.url}
    config = PipelineConfig.model_validate({"format": "logs", "source": given})
    folder = source_files(config, tmp_path)
    assert files(folder) == {"events.csv": EVENTS, "items.csv": ITEMS}
    before = source_digest(folder, config)
    assert service.objects_read() == 2
    assert source_digest(source_files(config, tmp_path), config) == before
    assert service.objects_read() == 0
    service.put("logs/events.csv", EVENTS.replace(b"u1", b"u2"))
    service.client.delete_object(Bucket="shop", Key="logs/items.csv")
    service.put("logs/items.csv/items.csv", ITEMS)
    service.put("logs/items.csv/_SUCCESS")
    assert files(source_files(config, tmp_path)) == {
        "events.csv": EVENTS.replace(b"u1", b"u2"),
        "items.csv/items.csv": ITEMS,
    }
    assert source_digest(folder, config) != before
    assert service.objects_read() == 2
    service.client.delete_object(Bucket="shop", Key="logs/items.csv/items.csv")
    service.put("logs/items.csv", ITEMS)
    assert files(source_files(config, tmp_path))["items.csv"] == ITEMS


def test_one_object(service: S3, tmp_path: Path) -> None:
    source = S3Source(url="s3://shop/logs/items.csv", endpoint=service.url)
    assert files(mirror(source, tmp_path / "one")) == {"items.csv": ITEMS}


def test_what_came_of_a_broken_transfer_is_not_fetched_again(
    service: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ingest.sources.s3._BLOCK", 8)
    body = bytes(range(64))
    service.put("big/events.csv", body)
    source = S3Source(url="s3://shop/big", endpoint=service.url)
    with monkeypatch.context() as broken:
        broken.setattr("s3fs.core.S3File._fetch_range", dropped_after(3))
        with pytest.raises(DataError, match=r"source s3://shop/big: it cannot be used \(ConnectionResetError"):
            mirror(source, tmp_path / "big")
    service.asked.clear()
    assert files(mirror(source, tmp_path / "big")) == {"events.csv": body}
    assert service.objects_read() == (64 - 24) / 8


def dropped_after(blocks: int) -> Any:
    """As s3fs reads a range of an object, until the connection drops."""
    import s3fs.core

    read, left = s3fs.core.S3File._fetch_range, iter(range(blocks))

    def fetch(*args: Any) -> Any:
        if next(left, None) is None:
            raise ConnectionResetError("dropped")
        return read(*args)

    return fetch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "s3://elsewhere/logs"}, r"s3://elsewhere/logs: there is no such bucket at http://127"),
        ({"url": "s3://shop/log"}, r"s3://shop/log: no object lies below this prefix"),
        ({"anonymous": True}, r"s3://shop/logs: access is denied \(Forbidden\)"),
    ],
)
def test_what_cannot_be_had_is_one_error(service: S3, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        mirror(S3Source.model_validate({"url": "s3://shop/logs", "endpoint": service.url} | changes), tmp_path / "m")


def test_keys_that_the_service_does_not_know(service: S3, tmp_path: Path) -> None:
    service.tell("reset-auth", b"0")
    try:
        with pytest.raises(DataError, match=r"access is denied \(The AWS Access Key Id") as refused:
            mirror(S3Source(url="s3://shop/logs", endpoint=service.url), tmp_path / "m")
    finally:
        service.tell("reset-auth", b"inf")
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.slow  # boto asks again for some seconds
def test_no_keys_and_an_address_that_a_variable_holds(
    service: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("SHOP", "http://me:hunter3@127.0.0.1:9")
    with pytest.raises(DataError, match="env:SHOP does not answer") as refused:
        mirror(S3Source(url="s3://shop/logs", endpoint="env:SHOP", anonymous=True), tmp_path / "m")
    assert "hunter3" not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(DataError, match="no AWS credentials were found"):
        mirror(S3Source(url="s3://shop/logs", endpoint=service.url), tmp_path / "m")


@pytest.mark.parametrize("key", ["logs/../../evil.csv", "logs/a\\..\\evil.csv"])
def test_an_object_that_would_lie_outside_of_the_folder(service: S3, tmp_path: Path, key: str) -> None:
    service.put(key, EVENTS)
    with pytest.raises(DataError, match="would be written outside"):
        mirror(S3Source(url="s3://shop/logs", endpoint=service.url), tmp_path / "m")
