"""A server under mixed requests while versions change: no good request fails, and memory does not grow."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import psutil
import pytest
from served_model import save_bundle, spoil

from gensr_model.serving.service import Request, Service

CLIENTS = 4
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("/v1/recommendations", {"user": "u12"}),
    ("/v1/recommendations", {"history": ["i1", "i2"], "top_n": 5}),
    ("/v1/search", {"user": "u3", "query": "kitchen thing"}),
    ("/v1/recommendations", {"candidates": ["i1", "i2", "i3"]}),
    ("/v1/recommendations", {}),
]
BAD: list[tuple[str, bytes, int]] = [
    ("/v1/recommendations", b"{", 400),
    ("/v1/recommendations", b'{"usr": "u1"}', 422),
    ("/v1/search", b'{"query": ""}', 422),
    ("/v1/recommendations", b'{"version": "9"}', 404),
    ("/v1/nothing", b"{}", 404),
    ("/v1/recommendations", b'{"user": "' + b"u" * 700_000 + b'"}', 413),
]


class Running:
    """The server in a process of its own, and clients that ask it all the time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.alias("version-1")
        command = [sys.executable, str(Path(__file__).with_name("serve_process.py")), str(root)]
        with (root / "log").open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8")
        assert self.process.stdout is not None
        self.place = urlparse(self.process.stdout.readline().strip())
        self.answers: list[tuple[int, int, dict[str, Any]]] = []  # number of the good request, status, content
        self.refusals: Counter[tuple[int, int]] = Counter()  # of bad requests: expected and seen status
        self.failures: list[Exception] = []
        self.memory: list[int] = []
        self._stop = threading.Event()
        work = [self._ask] * CLIENTS + [self._watch]
        self._threads = [threading.Thread(target=each, args=(number,)) for number, each in enumerate(work)]
        for thread in self._threads:
            thread.start()

    def alias(self, version: str) -> None:
        aside = self.root / "alias.new"
        aside.write_text(version, encoding="utf-8")
        aside.replace(self.root / "alias")

    def wait(self, ready: Callable[[dict[str, Any]], bool], seconds: float = 120) -> None:
        """Until ``/readyz`` says so."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            connection = HTTPConnection(str(self.place.hostname), self.place.port, timeout=30)
            connection.request("GET", "/readyz")
            if ready(json.loads(connection.getresponse().read())):
                return
            time.sleep(0.1)
        pytest.fail(f"not ready:\n{(self.root / 'log').read_text(encoding='utf-8')[-2000:]}")

    def stop(self) -> str:
        """End clients and server. Returns the server's log."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return (self.root / "log").read_text(encoding="utf-8")

    def _ask(self, first: int) -> None:
        connection = HTTPConnection(str(self.place.hostname), self.place.port, timeout=60)
        for number in itertools.count(first):
            if self._stop.is_set():
                return
            good = number % 3
            path, body, expected = (
                (GOOD[number % len(GOOD)][0], json.dumps(GOOD[number % len(GOOD)][1]).encode(), 200)
                if good
                else BAD[number // 3 % len(BAD)]
            )
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = json.loads(answer.read())
            except (OSError, ValueError) as error:
                connection.close()
                if good:
                    self.failures.append(error)
                continue
            if good:
                self.answers.append((number % len(GOOD), answer.status, content))
            else:
                self.refusals[expected, answer.status] += 1

    def _watch(self, _: int) -> None:
        server = psutil.Process(self.process.pid)
        while not self._stop.wait(0.25):
            self.memory.append(server.memory_info().rss)


def soak(root: Path, seconds: float) -> list[int]:
    """Run for about ``seconds``, with two moves of the alias and a broken version between. Returns memory by time."""
    folders = [root / f"version-{name}" for name in (1, 2, "broken")]
    for seed, folder in enumerate(folders):
        save_bundle(root / "made", seed=seed).rename(folder)
    spoil(folders[2])
    running = Running(root)
    try:
        running.wait(lambda ready: ready["version"] == "version-1")
        time.sleep(seconds / 4)
        running.alias("version-2")
        running.wait(lambda ready: ready["version"] == "version-2")
        time.sleep(seconds / 4)
        running.alias("version-broken")
        running.wait(lambda ready: (ready["refused"] or {}).get("version") == "version-broken")
        time.sleep(seconds / 4)
        running.alias("version-1")
        running.wait(lambda ready: ready["version"] == "version-1" and ready["refused"] is None)
        time.sleep(seconds / 4)
    finally:
        log = running.stop()
    assert not running.failures
    assert running.process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in log
    assert "version version-broken is refused, and version version-2 goes on" in log
    assert {status for _, status, _ in running.answers} == {200}
    assert all(expected == seen for expected, seen in running.refusals)
    check_answers(folders[:2], running.answers)
    shown = [
        line for file in (root / "events").glob("queries-*") for line in file.read_text(encoding="utf-8").splitlines()
    ]
    assert len(shown) == len(running.answers)
    return running.memory


def check_answers(folders: list[Path], answers: list[tuple[int, int, dict[str, Any]]]) -> None:
    """Every answer is that of the version that it names, and of no mixture."""
    services = {folder.name: Service.load(folder) for folder in folders}
    expected = {
        (name, number): service.answer(Request(**{"top_n": 10, **request}))
        for name, service in services.items()
        for number, (_, request) in enumerate(GOOD)
    }
    assert {answer["version"] for _, _, answer in answers} == set(services)
    for number, _, content in answers:
        answer = expected[content["version"], number]
        scores = [item["score"] for item in content["items"]]
        assert np.allclose(scores, answer.scores, atol=1e-5), (number, content["version"])
        known = dict(zip(answer.items, answer.scores, strict=True))
        for item in content["items"]:
            assert abs(known.get(item["id"], item["score"]) - item["score"]) < 1e-5


@pytest.mark.slow
def test_versions_change_under_mixed_requests(tmp_path: Path) -> None:
    soak(tmp_path, seconds=1)


@pytest.mark.slow
def test_two_minutes_of_mixed_requests_leave_memory_as_it_was(tmp_path: Path) -> None:
    memory = soak(tmp_path, seconds=120)
    quarter = len(memory) // 4
    after_first = float(np.mean(memory[quarter : quarter + quarter // 3]))
    last = float(np.mean(memory[-quarter:]))
    print(f"resident memory: {after_first / 2**20:.0f} MB after a quarter, {last / 2**20:.0f} MB in the last one")
    assert last <= 1.05 * after_first
