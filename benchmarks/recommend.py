"""Users per second of `recommend/batch`, against `predict` of the MLflow model for one user after the other.

`speedup`: by full ranking. Of retrieval and GenSR it prints the time against the compute floor: the candidates times
the milliseconds in which full calls of the model score one. Answers of 200 random users are asserted equal to the
service's own: the same ids, scores to 1e-5. Times are those of the process on one thread, without waiting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.common import prepared, tell
from gensr_model.models import bundle, user_store
from gensr_model.runtime.progress import NullReport
from gensr_model.serving.bulk import Answers, BulkService
from gensr_model.serving.service import Request, Service
from gensr_model.training import cross_fit
from tasks.promote.pyfunc_model import GenSRModel

TOP_N, CHECKED, SCORED_TOGETHER = 10, 200, 256


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """The time of this process for the work, and the work's result."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def check(service: Service, users: pa.StringArray, answers: Answers) -> None:
    """The answers against the service's own."""
    end = np.cumsum(answers.counts)
    for row, user in enumerate(users.to_pylist()):
        alone, own = service.answer(Request(user=user, top_n=TOP_N)), slice(end[row] - answers.counts[row], end[row])
        assert answers.items.to_pylist()[own] == alone.items, user
        np.testing.assert_allclose(answers.scores[own], alone.scores, atol=1e-5)


def predict_each(service: Service, users: list[str]) -> float:
    """Seconds of ``predict`` for each user, after one warm-up call."""
    model = GenSRModel()
    model.service = service
    frames = [pd.DataFrame([{"user": user, "top_n": TOP_N}]) for user in users]
    model.predict(None, frames[0])
    return cpu_seconds(lambda: [model.predict(None, frame) for frame in frames])[0]


def floor_ms(service: Service, users: list[str]) -> float:
    """Milliseconds for one candidate in full calls of the model, over the users' histories."""
    contexts = [service.read(Request(user=user)).context for user in users]
    rng = np.random.default_rng(0)
    items = len(service.ranker.raw_ids)
    lists = [rng.permutation(items)[:SCORED_TOGETHER].astype(np.int64) for _ in users]
    service.ranker.score(contexts[:1], lists[:1])
    spent, _ = cpu_seconds(lambda: service.ranker.score(contexts, lists))
    return 1_000 * spent / sum(map(len, lists))


def untrained(folder: Path, users: int, items: int) -> tuple[Path, Path]:
    """Bundles of untrained models of preset best: GenSR, and the model that ranks the catalogue."""
    dataset, config = prepared(users=users, items=items, preset="best")
    few = config.lightgcn.model_copy(update={"epochs": 1})
    (folder / "cf").mkdir()
    cross_fit.pretrain(dataset, config.model_copy(update={"lightgcn": few}), folder / "cf", NullReport())
    for kind in ("gensr", "full_ranking"):
        (folder / kind).mkdir()
        model, tokenizer = bundle.assemble(kind, dataset, folder / "cf", config)
        bundle.save(folder / kind, kind, model, tokenizer, dataset, config)
        user_store.save(folder / kind, dataset, folder / "cf", config.model.max_history)
    return folder / "gensr", folder / "full_ranking"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=8_000, help="generated users")
    parser.add_argument("--items", type=int, default=4_344, help="generated items")
    parser.add_argument("--each", type=int, default=100, help="users for whom predict is called")
    parser.add_argument("--retrieved", type=int, default=30, help="users for whom GenSR ranks what retrieval chooses")
    parser.add_argument("--gensr", type=Path, help="bundle of a trained GenSR instead of an untrained one")
    parser.add_argument("--full", type=Path, help="bundle of a trained full-ranking model instead of an untrained one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as name:
        folders = (given.gensr, given.full)
        if None in folders:
            made = untrained(Path(name), given.users, given.items)
            folders = tuple(own or other for own, other in zip(folders, made, strict=True))
        gensr, full = (Service.load(folder) for folder in folders)
    rng = np.random.default_rng(0)

    bulk, users = BulkService(full), full.store.user_ids
    drawn = users.take(pa.array(rng.permutation(len(users))[:CHECKED]))
    check(full, drawn, bulk.recommend(drawn, TOP_N))
    each = drawn.to_pylist()[: given.each]
    alone = predict_each(full, each) / len(each)
    together = cpu_seconds(lambda: bulk.recommend(users, TOP_N))[0] / len(users)

    bulk, users = BulkService(gensr), gensr.store.user_ids
    drawn = users.take(pa.array(rng.permutation(len(users))[: given.retrieved]))
    spent, answers = cpu_seconds(lambda: bulk.recommend(drawn, TOP_N))
    check(gensr, drawn, answers)
    every = [gensr.answer(Request(user=user)) for user in drawn.to_pylist()[:3]]
    candidates, per_candidate = len(every[0].items), floor_ms(gensr, drawn.to_pylist())
    retrieved = 1_000 * spent / len(drawn)
    tell(
        "full ranking for all users, against predict for each", together, alone,
        users_per_second=round(1 / together), users=len(full.store), items=len(full.ranker.raw_ids),
        retrieved_ms_per_user=round(retrieved, 1), candidates=candidates,
        ms_per_candidate=round(per_candidate, 4), floor_ms_per_user=round(candidates * per_candidate, 1),
        retrieved_over_floor=round(retrieved / (candidates * per_candidate), 2),
    )  # fmt: skip


if __name__ == "__main__":
    main()
