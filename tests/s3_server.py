"""An S3 service on loopback: moto's server, asked over HTTP."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEYS = {"AWS_ACCESS_KEY_ID": "AKIASHOP", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "eu-west-1"}


class S3:
    """The server's address, what was asked of it, and a client that reads and writes the bucket shop."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url, self.asked = url, asked
        self.client: Any = boto3.client(
            "s3", "us-east-1", endpoint_url=url, aws_access_key_id="owner", aws_secret_access_key="owner"
        )

    def empty(self) -> None:
        """Nothing but an empty bucket shop. All servers of one process share their objects: call it before a test."""
        self.tell("reset")
        self.client.create_bucket(Bucket="shop")
        self.asked.clear()

    def put(self, key: str, content: bytes = b"") -> None:
        self.client.put_object(Bucket="shop", Key=key, Body=content)

    def tell(self, path: str, content: bytes = b"") -> None:
        """Something that moto alone understands."""
        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/moto-api/{path}", content, {"Content-Type": "text/plain"})
        ).close()

    def objects_read(self) -> int:
        """How many ranges of objects were sent since the last call."""
        count = sum(line.startswith("GET /shop/") and "list-type" not in line for line in self.asked)
        self.asked.clear()
        return count


@contextmanager
def s3_server() -> Iterator[S3]:
    asked: list[str] = []

    class Handler(WSGIRequestHandler):
        def log_request(self, *args: Any) -> None:
            asked.append(self.requestline)

    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Handler
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield S3(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def only_these_keys(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """``KEYS`` in the environment, and no credentials of the person who tests."""
    monkeypatch.setenv("HOME", str(home))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (KEYS | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
