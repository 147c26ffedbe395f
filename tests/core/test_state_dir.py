"""Where state is kept: GENSR_HOME, ``runs/latest``, and an environment without another server's settings."""

from __future__ import annotations

import http.server
import os
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import requests

from tasks.core.state_dir import StateDir, direct_to_loopback, point_latest, run_folder, server_environment, state_dir


def test_the_state_folder_is_gensr_home_else_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENSR_HOME", raising=False)
    assert state_dir().root == tmp_path / ".gensr"
    monkeypatch.setenv("GENSR_HOME", "")
    assert state_dir().root == tmp_path / ".gensr"
    monkeypatch.setenv("GENSR_HOME", "state/mine")
    assert state_dir().root == tmp_path / "state" / "mine"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("GENSR_HOME", "~/gensr")
    assert state_dir().root == tmp_path / "user" / "gensr"
    assert not list(tmp_path.iterdir()), "asking for the folder makes none"


def test_every_path_is_inside_and_they_differ(tmp_path: Path) -> None:
    here = StateDir(tmp_path)
    paths = [here.store, here.checkpoints, here.results, here.runs, here.services, here.logs, here.mlflow_artifacts]
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert len(set(paths)) == len(paths)
    assert here.mlflow_store == f"sqlite:///{tmp_path}/mlflow/mlflow.db"


def test_servers_get_only_our_settings_of_prefect_and_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_KEY", "PREFECT_PROFILE", "MLFLOW_TRACKING_TOKEN", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "another server's")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("GENSR_HOME", "elsewhere")
    monkeypatch.setenv("SOMETHING_ELSE", "left alone")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    result = server_environment(StateDir(tmp_path), prefect_port=4321, mlflow_port=5432)
    assert "another server's" not in result.values()
    assert result["GENSR_HOME"] == str(tmp_path)
    assert result["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert result["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5432"
    assert result["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] == str(StateDir(tmp_path).results)
    assert result["SOMETHING_ELSE"] == "left alone"
    assert result["GOMP_SPINCOUNT"] == "1000"


def test_runs_that_end_together_leave_one_whole_latest(gensr_home: Path) -> None:
    runs = gensr_home / "runs"
    names = [f"run-{n}" for n in range(12)]
    for name in names:
        (runs / name).mkdir(parents=True)
        for part in range(5):
            (runs / name / f"{part}.md").write_text(name, encoding="utf-8")
    point_latest(names[0])
    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(point_latest, name) for name in names * 3]
        seen = [(runs / "latest" / "0.md").read_text(encoding="utf-8") for _ in range(200)]  # at no time is there none
        for each in written:
            each.result()
    assert set(seen) <= set(names)
    (content,) = {file.read_text(encoding="utf-8") for file in (runs / "latest").iterdir()}
    assert content in names
    assert len(list((runs / "latest").iterdir())) == 5
    assert {p.name for p in runs.iterdir()} == {*names, "latest"}


def test_without_symbolic_links_latest_is_a_file_that_names_the_run(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("the file system has no symbolic links")

    runs = gensr_home / "runs"
    for name in ("one", "two"):
        (runs / name).mkdir(parents=True)
    point_latest("one")
    assert run_folder(runs / "latest").resolve() == runs / "one"
    monkeypatch.setattr(Path, "symlink_to", refused)
    point_latest("two")
    assert (runs / "latest").is_file()
    assert run_folder(runs / "latest") == runs / "two"
    assert run_folder(runs / "one") == runs / "one"
    assert {p.name for p in runs.iterdir()} == {"one", "two", "latest"}


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers any request, a proxy's too, with the name of the server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.name)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """Two servers on this machine, by what they answer."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer) for _ in range(2)]
    for server, name in zip(servers, (b"direct", b"proxied"), strict=True):
        server.name = name  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield {server.name.decode(): f"http://127.0.0.1:{server.server_port}/" for server in servers}  # type: ignore[attr-defined]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("given", [None, "intranet.example"])
def test_loopback_is_never_asked_through_a_proxy_and_the_web_is(
    addresses: dict[str, str], given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", addresses["proxied"])
    if given:
        monkeypatch.setenv("NO_PROXY", given)
    for name, value in server_environment(StateDir(tmp_path), prefect_port=4321, mlflow_port=5432).items():
        monkeypatch.setenv(name, value)

    def ask(address: str) -> set[str]:
        """By the clients of this package, of MLflow and of Prefect."""
        with urllib.request.build_opener().open(address, timeout=5) as answer:
            ours = answer.read().decode()
        return {ours, requests.get(address, timeout=5).text, httpx.get(address, timeout=5).text}

    assert ask(addresses["direct"]) == {"direct"}
    assert ask(addresses["direct"].replace("127.0.0.1", "localhost")) == {"direct"}
    assert ask("http://files.example/reviews.gz") == {"proxied"}
    assert os.environ["no_proxy"].startswith(given or "127.0.0.1,")


def test_no_proxy_for_anybody_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert direct_to_loopback({"NO_PROXY": "*"}) == {"no_proxy": "*", "NO_PROXY": "*"}
