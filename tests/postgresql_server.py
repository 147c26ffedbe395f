"""A PostgreSQL server of the tests' own, on loopback, with a password."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PASSWORD = "hunter2-9f/3@b"
QUOTED = "hunter2-9f%2F3%40b"


def programs() -> Path | None:
    """The folder of initdb; None where there is none."""
    known = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    known += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in known if (folder / "initdb").is_file()), None)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Its URL, without user and password; the user shop has the password ``PASSWORD``. Skips the test without one."""
    if not (folder := programs()):
        pytest.skip("no initdb on this machine: install PostgreSQL (apt-get install postgresql)")
    # PostgreSQL does not run as root, and another user may not enter pytest's folders.
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="gensr-pg-", ignore_cleanup_errors=True) as place:
        if user:
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
        data, secret = Path(place) / "data", Path(place) / "password"
        secret.write_text(PASSWORD + "\n", encoding="utf-8")
        secret.chmod(0o644)
        init = [folder / "initdb", "-D", data, "-U", "shop", "--pwfile", secret, "-A", "scram-sha-256", "--no-sync"]
        made = subprocess.run(
            [*init, "-E", "UTF8", "--locale=C"], user=user, capture_output=True, text=True, encoding="utf-8"
        )
        assert made.returncode == 0, made.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={place}", "fsync=off", f"port={port}")
        server = subprocess.Popen(
            [folder / "postgres", "-D", data, *(part for one in settings for part in ("-c", one))],
            user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait(port)
            yield f"postgresql://127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(30)


def with_login(url: str, password: str = QUOTED) -> str:
    """The URL as the variable of a shop would have it."""
    return url.replace("://", f"://shop:{password}@")


def _wait(port: int) -> None:
    for attempt in range(300):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="shop", password=PASSWORD, dbname="postgres").close()
        except psycopg.OperationalError:
            if attempt == 299:
                raise
            time.sleep(0.1)
        else:
            return
