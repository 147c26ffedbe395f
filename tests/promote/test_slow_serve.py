"""`mlflow models serve` answers over HTTP as the library does: many requests at once, and clear refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import mlflow
import pytest
from logged_model import Logged

from gensr_model.serving.service import Request

pytestmark = pytest.mark.slow
CANDIDATES = ["i4", "i9", "i17", "i25"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The server of a logged model, on this machine only."""

    def __init__(self, root: Path) -> None:
        self.logged = Logged(root)
        self.url = f"http://127.0.0.1:{free_port()}"
        model = mlflow.artifacts.download_artifacts(self.logged.uri, dst_path=str(root / "model"))
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model]
        command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", self.url.rsplit(":", 1)[1]]
        tools = Path(sys.executable).parent  # the server is uvicorn, found by name
        self.log = root / "serve.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, cwd=root, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
            )  # fmt: skip

    def wait(self, seconds: float = 240) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urlopen(f"{self.url}/ping", timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.5)
        pytest.fail(f"the server did not come up:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def ask(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        body = json.dumps({"dataframe_records": rows}).encode()
        request = HttpRequest(f"{self.url}/invocations", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            result: list[dict[str, Any]] = json.load(answer)["predictions"]
            return result

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENSR_HOME", str(root / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        started = Server(root)
        try:
            started.wait()
            yield started
        finally:
            started.stop()


def expected(server: Server, request: Request) -> dict[str, Any]:
    answer = server.logged.service.answer(request)._asdict()
    return answer | {"scores": pytest.approx(answer["scores"], rel=1e-4)}


def test_it_recommends_and_searches(server: Server) -> None:
    rows = [
        {"user": "u12", "top_n": 5},
        {"user": "u12", "query": "kitchen", "top_n": 5},
        {"history": ["i1", "i2"], "behaviors": ["rec", "src"], "query": "kitchen", "candidates": CANDIDATES},
        {"user": "nobody", "candidates": CANDIDATES},
        {"query": "garden " * 100, "top_n": 1},
    ]
    for row in rows:
        (result,) = server.ask(row)
        assert result == expected(server, Request(**row))  # type: ignore[arg-type]


def test_rows_of_one_request_may_differ_where_null_says_what_is_not_given(server: Server) -> None:
    rows = [
        {"user": "u3", "history": None, "query": None, "top_n": 2},
        {"user": None, "history": ["i1"], "query": "office", "top_n": None},
    ]
    result = server.ask(*rows)
    assert result == [expected(server, Request(**row)) for row in rows]


def test_requests_at_the_same_time_get_each_its_own_answer(server: Server) -> None:
    rows = [{"user": f"u{n}", "query": ("kitchen", "garden office")[n % 2], "top_n": 3} for n in range(24)]
    with ThreadPoolExecutor(6) as pool:
        result = list(pool.map(server.ask, rows))
    assert result == [[expected(server, Request(**row))] for row in rows]


@pytest.mark.parametrize("row", [{"user": 12}, {"query": 2020}, {"user": 12, "query": 2020, "top_n": 2}])
def test_ids_and_queries_may_be_numbers(server: Server, row: dict[str, Any]) -> None:
    (result,) = server.ask(row)
    texts = {name: value if name == "top_n" else str(value) for name, value in row.items()}
    assert result == expected(server, Request(**texts))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"user": ["u1"]}, "user"),
        ({"user": {"id": "u1"}}, "user"),
        ({"history": "i1"}, "history"),
        ({"candidates": {"i1": 1}}, "candidates"),
        ({"user": "u1", "top_n": "many"}, "top_n"),
        ({"user": "u1", "top_n": -1}, "row 0: top_n is -1. Give 1 or more"),
        ({"usr": "u1"}, "row 0: usr: there is no such field (did you mean user?)"),
    ],
)
def test_a_refusal_names_the_field_and_holds_no_trace(server: Server, row: dict[str, Any], message: str) -> None:
    with pytest.raises(HTTPError) as refused:
        server.ask(row)
    assert refused.value.code == 400
    answer = refused.value.read().decode()
    assert message in answer
    assert "Traceback" not in answer
    assert "stack_trace" not in answer


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"dataframe_records": ['),
        ("application/json", b'{"dataframe_records": {"user": 1}}'),
        ("text/csv", b"user,top_n\nu1,many\n"),
        ("text/csv", b""),
        ("application/json", b'{"inputs": ["u1"]}'),
        ("application/vnd.apache.parquet", b"no Parquet"),
    ],
)
def test_a_body_that_cannot_be_parsed_is_refused_without_a_trace(server: Server, kind: str, body: bytes) -> None:
    request = HttpRequest(f"{server.url}/invocations", body, {"Content-Type": kind})
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=60)
    assert refused.value.code == 400
    answer = refused.value.read().decode()
    assert "Traceback" not in answer
    assert "stack_trace" not in answer


def test_the_printed_request_is_answered(server: Server) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how_to/use_a_model.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"curl \S+/invocations .*?-d '(.*?)'", page, re.DOTALL)
    (answer,) = server.ask(*json.loads(body)["dataframe_records"])
    assert len(answer["items"]) == 10


def test_the_example_in_the_model_is_answered(server: Server) -> None:
    (example,) = (server.log.parent / "model").rglob("serving_input_example.json")
    body = example.read_bytes()
    request = HttpRequest(f"{server.url}/invocations", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        assert [each["task"] for each in json.load(answer)["predictions"]] == ["search", "recommendation"]


def test_an_unknown_candidate_is_refused_by_name(server: Server) -> None:
    with pytest.raises(HTTPError) as refused:
        server.ask({"user": "u1", "candidates": ["i4", "nope"]})
    assert refused.value.code == 400
    answer = json.load(refused.value)
    assert answer["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "row 0: the model does not know the candidates ['nope']" in answer["message"]
    assert server.ask({"user": "u1", "candidates": ["i4"]}), "and the server goes on"
