"""Downloads against a local server that misbehaves in the ways that real ones do."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import threading
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.remote_sources import RemoteFile
from gensr_model.errors import DataError
from tasks.ingest.download import fetch
from tasks.ingest.ingest import source_files

BODY = bytes(range(256)) * 12_000  # 3 MB: three chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """What the server does; ``requests`` are the Range headers that it saw."""

    url: str = ""
    body: bytes = BODY
    ranges: bool = True
    drops: int = 0  # this many answers end half-way
    errors: int = 0  # this many answers are a 500
    status: int | None = None  # every answer is this error
    etag: str = '"one"'
    modified: str = ""
    requests: list[str | None] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    sent: int = 0  # answers with a body


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append(asked)
            if state.status or state.errors:
                state.errors -= 1
                self.send_error(state.status or 500)
                return
            state.logins.append(self.headers.get("Authorization"))
            known = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
            if known in ((state.etag, None), (None, state.modified)):
                self.send_response(304)
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if self.headers.get("If-Range") not in (None, state.etag):
                start = 0
            if start >= len(state.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            for name, value in {"ETag": state.etag, "Last-Modified": state.modified}.items():
                if value:
                    self.send_header(name, value)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            self.end_headers()
            if state.drops:
                state.drops -= 1
                rest = rest[: len(rest) // 2]
            state.sent += 1
            self.wfile.write(rest)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/data.bin"
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def get(server: Server, folder: Path, **known: object) -> bytes:
    remote = RemoteFile.model_validate({"url": server.url, **known})
    fetch([remote], folder, pause_s=0.001)
    names = [path.name for path in folder.iterdir()]
    assert names == ["data.bin"]  # no part, no note of the version
    return (folder / "data.bin").read_bytes()


def test_a_dropped_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.drops = 2
    assert get(server, tmp_path, sha256=SHA256, bytes=len(BODY)) == BODY
    half = len(BODY) // 2
    assert server.requests == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_server_that_ignores_range_sends_the_file_again(server: Server, tmp_path: Path) -> None:
    server.drops, server.ranges = 1, False
    assert get(server, tmp_path, sha256=SHA256) == BODY
    assert len(server.requests) == 2


def test_a_file_that_changed_between_attempts_is_not_stitched(server: Server, tmp_path: Path) -> None:
    server.drops, server.status = 1, None
    remote = RemoteFile(url=server.url)
    server.errors = 0

    def change(name: str, have: int, total: int | None) -> None:
        server.body, server.etag = BODY[::-1], '"two"'

    fetch([remote], tmp_path, pause_s=0.001, progress=change)
    assert (tmp_path / "data.bin").read_bytes() == BODY[::-1]


def test_server_errors_are_retried(server: Server, tmp_path: Path) -> None:
    server.errors = 3
    assert get(server, tmp_path) == BODY
    assert len(server.requests) == 4


def test_a_server_that_stays_broken_is_given_up(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DataError, match="gave up after 6 attempts"):
        get(server, tmp_path)
    assert len(server.requests) == 6


def test_a_missing_file_is_not_retried(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match="answers 404"):
        get(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("known", "message"),
    [({"sha256": "0" * 64}, "sha256 is"), ({"md5": "0" * 32}, "md5 is"), ({"bytes": 7}, "instead of 7")],
)
def test_a_file_that_is_not_the_expected_one_is_refused(
    server: Server, tmp_path: Path, known: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        get(server, tmp_path, **known)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_part_is_thrown_away_when_the_digest_is_wrong(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"another file" * 100)
    assert get(server, tmp_path, sha256=SHA256) == BODY
    assert server.requests == ["bytes=1200-", None]


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(BODY + extra)
    assert get(server, tmp_path, sha256=SHA256) == BODY
    assert len(server.requests) == (2 if extra else 1)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.requests) == 1


def test_an_address_that_nobody_serves(tmp_path: Path) -> None:
    remote = RemoteFile(url="http://127.0.0.1:9/data.bin")
    with pytest.raises(DataError, match="gave up"):
        fetch([remote], tmp_path, pause_s=0.001)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://host/", "http://host/.."])
def test_addresses_that_name_no_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="no http"):
        fetch([RemoteFile(url=url)], tmp_path)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def get_zip(server: Server, folder: Path) -> None:
    remote = RemoteFile(url=server.url.replace("data.bin", "KuaiSAR_v2.zip"))
    fetch([remote], folder, pause_s=0.001)


def test_a_zip_is_unpacked_and_removed(server: Server, tmp_path: Path) -> None:
    server.body = zipped({"KuaiSAR_v2/rec_inter.csv": b"user_id\n1\n"})
    get_zip(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["KuaiSAR_v2"]
    assert (tmp_path / "KuaiSAR_v2" / "KuaiSAR_v2" / "rec_inter.csv").read_bytes() == b"user_id\n1\n"
    get_zip(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("member", ["../evil.csv", "/evil.csv", "a/../../evil.csv", "..\\evil.csv"])
def test_a_zip_that_reaches_out_of_its_folder_is_refused(server: Server, tmp_path: Path, member: str) -> None:
    server.body = zipped({"rec_inter.csv": b"fine", member: b"evil"})
    folder = tmp_path / "in"
    for _ in range(2):  # the archive stays, and is refused again
        with pytest.raises(DataError, match="outside the folder"):
            get_zip(server, folder)
    assert [path.name for path in folder.iterdir()] == ["KuaiSAR_v2.zip"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "in.lock", "in.versions.json"]


def test_a_damaged_zip_is_deleted_and_can_be_had_again(server: Server, tmp_path: Path) -> None:
    good = zipped({"rec_inter.csv": b"fine" * 1000})
    server.body = good[:20] + b"\xff" + good[21:-30] + good[-22:]
    with pytest.raises(DataError, match="not a readable zip"):
        get_zip(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.body = good
    get_zip(server, tmp_path)
    assert (tmp_path / "KuaiSAR_v2" / "rec_inter.csv").exists()


def test_source_files_downloads_into_the_home(server: Server, tmp_path: Path) -> None:
    files = [{"url": server.url.replace("data.bin", name)} for name in ("reviews_X_5.json.gz", "meta_X.json.gz")]
    config = PipelineConfig.model_validate({"source": {"kind": "download", "files": files}})
    folder = source_files(config, tmp_path)
    assert folder.is_relative_to(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["meta_X.json.gz", "reviews_X_5.json.gz"]


def listed(server: Server, home: Path, *urls: str) -> Path:
    files = [{"url": server.url.replace("data.bin", url)} for url in urls]
    return source_files(PipelineConfig.model_validate({"source": {"kind": "download", "files": files}}), home)


def test_a_listed_file_is_fetched_again_only_when_its_etag_changes(server: Server, tmp_path: Path) -> None:
    names = ("reviews_X_5.json.gz", "meta_X.json.gz")
    listed(server, tmp_path, *names)
    folder = listed(server, tmp_path, *names)
    assert (len(server.requests), server.sent) == (4, 2)
    server.body, server.etag = b"new", '"two"'
    assert listed(server, tmp_path, *names) == folder
    assert [(folder / name).read_bytes() for name in names] == [b"new"] * 2
    server.status = 503
    with pytest.raises(DataError, match="gave up"):
        fetch([RemoteFile(url=server.url)], folder, pause_s=0.001, ask_again=True)


def test_a_server_without_etags_is_asked_by_time_and_one_without_times_every_time(
    server: Server, tmp_path: Path
) -> None:
    server.etag, server.modified = "", "Thu, 01 Jan 2026 00:00:00 GMT"
    for expected in (1, 1):
        fetch([RemoteFile(url=server.url)], tmp_path, ask_again=True)
        assert server.sent == expected
    server.modified = ""
    for expected in (2, 3):
        fetch([RemoteFile(url=server.url)], tmp_path, ask_again=True)
        assert server.sent == expected


def test_a_zip_that_changed_is_unpacked_again(server: Server, tmp_path: Path) -> None:
    remote = RemoteFile(url=server.url.replace("data.bin", "x.zip"))
    for etag, content in (('"one"', b"1"), ('"two"', b"2")):
        server.etag, server.body = etag, zipped({"rec_inter.csv": content})
        for _ in range(2):
            fetch([remote], tmp_path / "in", ask_again=True)
            assert (tmp_path / "in" / "x" / "rec_inter.csv").read_bytes() == content
    assert server.sent == 2


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [RemoteFile(url=f"http://host/{day}/events.csv") for day in (1, 2)]
    with pytest.raises(DataError, match="two of the files are called events"):
        fetch(files, tmp_path)


def test_a_variable_may_hold_the_url_with_its_login(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGS", server.url.replace("://", "://me:hunt%40er@") + "?sig=hunter3")
    fetch([RemoteFile(url="env:LOGS")], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.logins == ["Basic " + base64.b64encode(b"me:hunt@er").decode()]
    server.status = 403
    with pytest.raises(DataError) as refused:
        fetch([RemoteFile(url="env:LOGS")], tmp_path / "other")
    assert str(refused.value) == "env:LOGS: the server answers 403 Forbidden."
    monkeypatch.setenv("LOGS", "http://me:hunter2@127.0.0.1:9/data.bin?sig=hunter3")
    with pytest.raises(DataError, match="env:LOGS: gave up") as refused:
        fetch([RemoteFile(url="env:LOGS")], tmp_path / "third", pause_s=0.001)
    assert "hunter" not in "".join(traceback.format_exception(refused.value))
