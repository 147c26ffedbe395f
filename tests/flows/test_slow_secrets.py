"""A secret in a URL is nowhere after real runs: not in the state folder, its databases and logs, not in the output."""

from __future__ import annotations

import base64
import csv
import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installed import Installed
from postgresql_server import PASSWORD, QUOTED, postgresql_server, programs, with_login
from shop_logs import shop
from tiny_run import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LOGIN, SIGNATURE, WRONG = "me:planted-7c1", "planted-2e9", "planted-0d4"
SECRETS = (PASSWORD, QUOTED, "planted-", base64.b64encode(LOGIN.encode()).decode())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder over HTTP, for those who have the login and the signature; the server's address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            login = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
            if self.headers.get("Authorization") != login or not self.path.endswith(f"?sig={SIGNATURE}"):
                self.send_error(403)
                return
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load(url: str, folder: Path) -> None:
    """Every CSV of the folder as a table of text columns."""
    with psycopg.connect(with_login(url)) as con:
        for path in folder.glob("*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            con.execute(f"create table {path.stem} ({', '.join(f'{name} text' for name in header)})")
            with con.cursor().copy(f"copy {path.stem} from stdin") as copy:
                for row in rows:
                    copy.write_row(row)


def places(home: Path, text: str) -> list[str]:
    """The files of the state folder that hold the text, in UTF-8 or UTF-16."""
    forms = [text.encode(), text.encode("utf-16-le")]
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path.relative_to(home).as_posix() for path in files if any(form in path.read_bytes() for form in forms)]


def config(**source: Any) -> dict[str, Any]:
    return TINY | {"name": "shop", "format": "logs", "source": source, "analysis": {"enabled": False}}


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", 0.5)
    installed, said = Installed(tmp_path), ""
    files = [f"env:{path.stem.upper()}" for path in sorted(folder.iterdir())]
    web = config(kind="download", files=[{"url": url} for url in files])
    sql = config(kind="sql", url="env:SHOP_DB", events="select * from events", items="select * from items")
    missing = config(kind="download", files=[{"url": "env:EVENTS"}, {"url": "env:REFUSED"}])
    denied = sql | {"source": sql["source"] | {"url": "env:WRONG_DB"}}
    with served(folder) as host, postgresql_server() if programs() else served(folder) as url:
        for path in folder.iterdir():
            address = f"http://{LOGIN}@{host}/{path.name}?sig={SIGNATURE}"
            installed.environment[path.stem.upper()] = address
        installed.environment["REFUSED"] = f"http://{LOGIN}@{host}/items.csv?sig={WRONG}"
        runs = [(web, 0), (missing, 1)]
        if programs():
            load(url, folder)
            installed.environment["SHOP_DB"] = with_login(url)
            installed.environment["WRONG_DB"] = with_login(url, WRONG)
            runs += [(sql, 0), (denied, 1)]
        try:
            for given, expected in runs:
                status, out, err = installed.command("run", config=given)
                said += out + err
                assert status == expected, out + err
            status, out, err = installed.command("run", "--set", f"source=http://{LOGIN}@{host}/events.csv")
            assert status == 1
            assert "source: the URL holds a user or a password" in err
            said += out + err
            literal = json.dumps({"config": {"source": f"http://{LOGIN}@{host}/events.csv"}})
            with pytest.raises(subprocess.CalledProcessError):  # by its schema the server keeps no such parameter
                installed.prefect("deployment", "run", "gensr/full-pipeline", "--params", literal)
        finally:
            installed.command("down")
    assert "env:REFUSED: the server answers 403" in said
    if programs():
        assert "password authentication failed" in said
    for database in ("mlflow/mlflow.db", "prefect/prefect.db"):
        assert database in places(installed.home.root, "env:REFUSED"), "the search finds what is there"
    for secret in SECRETS:
        assert not places(installed.home.root, secret)
        assert secret not in said
