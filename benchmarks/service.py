"""Latency (p50 and p95) of single requests, with 100 given candidates and with retrieved candidates.

`speedup`: scoring the 100 candidates of a request together, against one after the other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import prepared, tell
from gensr_model.models import bundle, user_store
from gensr_model.runtime.progress import NullReport
from gensr_model.serving.service import Request, Service
from gensr_model.training import lightgcn

REQUESTS, CANDIDATES = 100, 100


def latencies(service: Service, requests: list[Request]) -> list[float]:
    """Milliseconds of each request, after one warm-up request."""
    service.answer(requests[0])
    milliseconds = []
    for request in requests:
        begun = time.perf_counter()
        service.answer(request)
        milliseconds.append(1_000 * (time.perf_counter() - begun))
    return milliseconds


def one_by_one(service: Service, request: Request) -> dict[str, float]:
    """The score of each candidate from a separate request."""
    assert request.candidates is not None
    answers = [service.answer(request._replace(candidates=[item])) for item in request.candidates]
    return {answer.items[0]: answer.scores[0] for answer in answers}


def total(work: Callable[[Request], object], requests: list[Request]) -> float:
    begun = time.perf_counter()
    for request in requests:
        work(request)
    return time.perf_counter() - begun


def main() -> None:
    dataset, config = prepared(users=1_000, items=1_000)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as name:
        folder = Path(name)
        few = config.lightgcn.model_copy(update={"epochs": 2})
        lightgcn.pretrain(dataset, few, 0, folder, NullReport())
        model, tokenizer = bundle.assemble("gensr", dataset, folder, config)
        bundle.save(folder, "gensr", model, tokenizer, dataset, config)
        user_store.save(folder, dataset, folder, config.model.max_history)
        service = Service.load(folder)
    rng = np.random.default_rng(0)
    users = dataset.table("users")["raw_id"].to_pylist()
    requests = [
        Request(
            user=users[rng.integers(len(users))],
            query=dataset.queries[rng.integers(dataset.n_queries)] if number % 2 else None,
            candidates=[
                service.ranker.raw_ids[item] for item in rng.choice(dataset.n_items, CANDIDATES, replace=False)
            ],
        )
        for number in range(REQUESTS)
    ]
    spread = {
        f"{what}_{task}_p{p}_ms": round(float(np.percentile(milliseconds, p)), 1)
        for task, part in (("recommendation", requests[::2]), ("search", requests[1::2]))
        for what, asked in (("given", part), ("retrieved", [r._replace(candidates=None, top_n=10) for r in part]))
        for milliseconds in [latencies(service, asked)]
        for p in (50, 95)
    }
    few_requests = requests[:6]
    for request in few_requests:
        answer, separate = service.answer(request), one_by_one(service, request)
        np.testing.assert_allclose(answer.scores, [separate[item] for item in answer.items], rtol=1e-4)
    ours = total(service.answer, few_requests)
    other = total(lambda request: one_by_one(service, request), few_requests)
    tell(
        "a request's candidates scored together, against one by one", ours, other,
        requests=REQUESTS, candidates=CANDIDATES, **spread,
    )  # fmt: skip


if __name__ == "__main__":
    main()
