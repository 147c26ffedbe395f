"""Load on `gensr serve`, on this machine: latency at one client, throughput at many, and a large catalogue.

python -m benchmarks.serve [--items 4344] [--million 1000000] [--requests 300] [--clients 32]

The server and its clients are two processes. Every model is untrained, of preset best. Each line is one result:

- full ranking, against the same server with one request in each batch; the answers are asserted equal;
- GenSR over 200 candidates that retrieval chooses, against the compute floor: 200 times the time of one candidate in a
  call of the model with as many, measured in the same run;
- GenSR over a large catalogue, with the recall of the approximate index. --million 0 leaves it out.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np
import torch

from benchmarks.served_models import Models, large, small
from benchmarks.sides import arguments
from gensr_model.data.prepared import IntArray
from gensr_model.serving.http import server
from gensr_model.serving.http.app import Settings, create_app
from gensr_model.serving.http.versions import Served, Versions
from gensr_model.serving.nearest import Approximate, Exact
from gensr_model.serving.retriever import LIMIT
from gensr_model.serving.service import Request, Service

_RECALL_USERS = 50


class Load(NamedTuple):
    """What clients saw."""

    milliseconds: list[float]
    seconds: float  # of all requests
    answers: list[dict[str, Any]]

    def summary(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.milliseconds, [50, 95])
        rate = len(self.milliseconds) / self.seconds
        return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1), "requests_per_s": round(rate, 1)}


class _One:
    """A ``Source`` of one version."""

    model = "gensr-benchmark"

    def __init__(self, folder: Path, catalogue: Path | None) -> None:
        self._folders = folder, catalogue

    def load(self, version: str) -> Served:
        return Served.open(self.model, version, *self._folders)

    def listing(self) -> list[dict[str, Any]]:
        return []


@contextmanager
def serving(models: Models, full: bool, at_once: int = 256) -> Iterator[str]:
    """A server in a process of its own. Gives its address."""
    command = [sys.executable, "-m", "benchmarks.serve", "--serve", str(models.gensr), "--at-once", str(at_once)]
    command += ["--catalogue", str(models.full)] if full else []
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.wait(60)


def child(folder: Path, catalogue: Path | None, at_once: int) -> None:
    """Be the server, and print the address."""
    source = _One(folder, catalogue)
    bound = server.bind("127.0.0.1", 0)
    app = create_app(Versions(source, source.load("1")), Settings(at_once=at_once, waiting=1_000, seconds=60))
    server.run(app, bound, lambda: print(server.address(bound), flush=True))


def load(address: str, requests: list[dict[str, Any]], clients: int) -> Load:
    """Send all requests, each client its share, one after the other."""
    return asyncio.run(_load(address, requests, clients))


async def _load(address: str, requests: list[dict[str, Any]], clients: int) -> Load:
    place = urlparse(address)
    answers: list[dict[str, Any]] = [{}] * len(requests)
    milliseconds = [0.0] * len(requests)
    left = iter(range(len(requests)))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for number in left:
            body = json.dumps(requests[number]).encode()
            path = "/v1/search" if "query" in requests[number] else "/v1/recommendations"
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            begun = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            received = await reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.split(b":")[1])
                for line in received.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            content = await reader.readexactly(length)
            milliseconds[number] = 1_000 * (time.perf_counter() - begun)
            assert received.startswith(b"HTTP/1.1 200"), content
            answers[number] = json.loads(content)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(milliseconds, time.perf_counter() - begun, answers)


def requests_of(models: Models, count: int) -> list[dict[str, Any]]:
    """Requests of known users, every second one a search."""
    rng = np.random.default_rng(1)
    asked = [{"user": models.users[rng.integers(len(models.users))], "top_n": 10} for _ in range(count)]
    return [
        one | {"query": models.queries[rng.integers(len(models.queries))]} if number % 2 else one
        for number, one in enumerate(asked)
    ]


def assert_equal(one: Load, two: Load) -> None:
    """The same items with the same scores; items with nearly equal scores may change places."""
    for a, b in zip(one.answers, two.answers, strict=True):
        first, second = ({item["id"]: item["score"] for item in answer["items"]} for answer in (a, b))
        np.testing.assert_allclose(list(first.values()), list(second.values()), atol=1e-5)
        assert all(abs(first[item] - second[item]) < 1e-5 for item in first.keys() & second.keys())
        assert len(first.keys() & second.keys()) >= len(first) - 2


def full_ranking(models: Models, count: int, clients: int) -> dict[str, Any]:
    """One client, many clients, and many clients with one request in each batch."""
    requests = requests_of(models, count)
    with serving(models, full=True) as batched, serving(models, full=True, at_once=1) as unbatched:
        for address in (batched, unbatched):
            load(address, requests[:20], 2)  # warm
        alone = load(batched, requests, 1)
        many, by_itself = load(batched, requests, clients), load(unbatched, requests, clients)
    assert_equal(many, by_itself)
    assert_equal(many, alone)
    assert {answer["candidate_source"] for answer in many.answers} == {"full-ranking"}
    return {
        "claim": f"full ranking, {clients} clients: batched against one request a batch",
        "speedup": round(by_itself.seconds / many.seconds, 2), "goal": 3,
        "one_client": alone.summary(), "goal_p95_ms": 40, "batched": many.summary(), "unbatched": by_itself.summary(),
    }  # fmt: skip


def gensr(models: Models, count: int, clients: int) -> dict[str, Any]:
    """Requests through retrieval and GenSR, against the time of the model's calls alone."""
    requests = requests_of(models, count)
    with serving(models, full=False) as address:
        load(address, requests[:10], 2)
        alone, many = load(address, requests, 1), load(address, requests, clients)
    service = Service.load(models.gensr)
    each = milliseconds_of_a_candidate(service, requests[:40])
    candidates = LIMIT if len(service.ranker.raw_ids) > 2 * LIMIT else len(service.ranker.raw_ids)
    return {
        "claim": f"GenSR over {candidates} retrieved candidates, {clients} clients: time of a request / compute floor",
        "ratio": round(1_000 * many.seconds / count / (candidates * each), 2), "goal": 1.3,
        "candidate_ms": round(each, 4), "floor_ms": round(candidates * each, 1),
        "items": len(service.ranker.raw_ids), "one_client": alone.summary(), "many": many.summary(),
    }  # fmt: skip


def milliseconds_of_a_candidate(service: Service, requests: list[dict[str, Any]]) -> float:
    """The mean time of a candidate in calls of the model with 200 of them, for these requests."""
    torch.set_num_threads(1)
    rng, spent = np.random.default_rng(2), 0.0
    for request in requests:
        context = service.read(Request(**request)).context
        places: IntArray = rng.choice(len(service.ranker.raw_ids), LIMIT)
        service.ranker.score([context], [places])
        begun = time.perf_counter()
        service.ranker.score([context], [places])
        spent += time.perf_counter() - begun
    return 1_000 * spent / len(requests) / LIMIT


def million(models: Models, count: int) -> dict[str, Any]:
    """One client over a large catalogue, and the index against all products."""
    requests = requests_of(models, count)
    with serving(models, full=False) as address:
        load(address, requests[:10], 1)
        alone = load(address, requests, 1)
    store = Service.load(models.gensr).store
    vectors = [known.vector for user in models.users[:_RECALL_USERS] if (known := store.user(user))]
    index, exact, none = Approximate(store.item), Exact(store.item), np.empty(0, np.int64)
    took, found = {}, {}
    for name, search in (("approximate", index), ("exact", exact)):
        begun = time.perf_counter()
        found[name] = [search.find(vector, LIMIT, none) for vector in vectors if vector is not None]
        took[f"{name}_ms"] = round(1_000 * (time.perf_counter() - begun) / len(vectors), 2)
    pairs = zip(found["approximate"], found["exact"], strict=True)
    recall = np.mean([len(np.intersect1d(*pair)) / LIMIT for pair in pairs])
    return {
        "claim": "GenSR over a large catalogue, one client", "items": len(store.item), **alone.summary(),
        "goal_p95_ms": 150, "recall_at_200": round(float(recall), 4), **took,
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=4_344)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--serve", type=Path, help="be a server of this bundle")
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--at-once", type=int, default=256)
    given = parser.parse_args()
    if given.serve:
        child(given.serve, given.catalogue, given.at_once)
        return
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        if given.items:
            root = Path(folder) / "small"
            root.mkdir()
            models = small(root, given.items)
            for part in (full_ranking, gensr):
                print(json.dumps(part(models, given.requests, given.clients)), flush=True)
        if given.million:
            root = Path(folder) / "large"
            root.mkdir()
            print(json.dumps(million(large(root, given.million), given.requests)), flush=True)


if __name__ == "__main__":
    main()
