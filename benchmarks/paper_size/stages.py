"""The parts: each runs real stages on the folders of the parts before it, and returns what it cost.

A part is a child process, so its peak memory is its own. Seconds leave the imports out; memory has them.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow.parquet as pq
import torch

from benchmarks.paper_size.lines import SERVE
from benchmarks.paper_size.short import Moment, ShortEpochs, now
from benchmarks.shapes import KUAISAR_FULL
from benchmarks.sides import peak_bytes
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.base import TASKS, Task
from gensr_model.config.data import GeneratedSource
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.evaluation.reference import NEEDS_QUERY, REFERENCES
from gensr_model.runtime.malloc import keep_freed_memory
from gensr_model.runtime.progress import NullReport, Report
from tasks.compare import full_table
from tasks.compare.baselines import RERANKED, needs_of, stages_of
from tasks.compare.names import find_baseline, not_made
from tasks.core.stage import Stage
from tasks.core.work import Work
from tasks.evaluate.rank import rank_model, rank_reference
from tasks.ingest.ingest import build_raw, source_files
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.full_ranking import finetune_full, rank_full, rank_full_reference
from tasks.train.pretrain import pretrain
from tasks.train.semantic_ids import semantic_ids
from tasks.validate.validate import check_prepared, check_raw

# Kindle Store of the paper's Table 1: 68,223 users, 61,934 items, 990k purchases.
KINDLE = GeneratedSource(users=68_223, items=61_934, events_per_user=14.51)
DATA: dict[str, dict[str, Any]] = {
    "kindle": {"source": KINDLE.model_dump()},
    "kuaisar": {"format": "kuaisar", "source": KUAISAR_FULL.model_dump()},
}
MILLION = 1_000_000  # items of the served index
REQUESTS = 300
STEPS, EPOCHS_OF_LIGHTGCN = 300, 2
SCORED, RANKED = 2_000, 500  # samples
FULL, PREPARE = "full_gensr", "prepare"
MODEL_PARTS = (*MODELS, FULL, *BASELINES)
_FOLDERS = {"raw": "ingest", "prepared": PREPARE, "cf": "lightgcn", "codes": "semantic-ids"}


# A system -> its stage, the folder that it reads besides the prepared one, and its tasks.
Systems = dict[str, tuple[Stage, Path, Collection[Task]]]


class Case(NamedTuple):
    """One data set at one share, in a folder with one folder for each part."""

    config: PipelineConfig
    place: Path

    def of(self, what: str) -> Path:
        """The output of the part that makes ``what``: raw, prepared, cf, codes, or a part's own name."""
        return self.place / _FOLDERS.get(what, what) / "out"

    def work(self, part: str, report: Report | None = None) -> Work:
        """A new, empty folder for a part."""
        out = self.of(part)
        shutil.rmtree(out.parent, ignore_errors=True)
        out.mkdir(parents=True)
        return Work(out, out.parent / "checkpoints", report or NullReport())


def config_of(data: str, share: float, preset: str) -> PipelineConfig:
    """The config of a data set with a share of its users and items."""
    given = DATA[data]
    source = given["source"]
    sizes = {"users": max(20, round(share * source["users"])), "items": max(150, round(share * source["items"]))}
    config = PipelineConfig.model_validate({**given, "preset": preset, "source": source | sizes})
    return with_changes(config, {"prepare": {"threads": 2}})


def plan() -> dict[str, tuple[str, ...]]:
    """Every part, in order, and the parts whose output it reads."""
    trained = (PREPARE, "lightgcn")
    needs: dict[str, tuple[str, ...]] = {
        "generate": (), "ingest": ("generate",), "validate-raw": ("ingest",), PREPARE: ("ingest",),
        "popularity": ("ingest",), "bm25": ("ingest",), "validate": (PREPARE,),
        "lightgcn": (PREPARE,), "semantic-ids": (PREPARE,),
        **dict.fromkeys((*MODELS, FULL), trained),
        **{name: (PREPARE, *(_FOLDERS[n] for n in needs_of(spec))) for name, spec in BASELINES.items()},
        "score": trained, "full-ranking": trained, SERVE: (),
    }  # fmt: skip
    return needs


def _run(stage: Stage, config: PipelineConfig, work: Work, *inputs: Path, option: str | None = None) -> Moment:
    begun = now()
    stage.build(work, stage.view(config, option), *inputs, *(() if option is None else (option,)))
    return now().since(begun)


def _cost(spent: Moment, **more: Any) -> dict[str, Any]:
    return {"seconds": round(spent.wall, 2), "cpu_seconds": round(spent.cpu, 2), **more}


# --- data -----------------------------------------------------------------------------------------------------------


def generate(case: Case) -> dict[str, Any]:
    work = case.work("generate")
    begun = now()
    source_files(case.config, work.out)
    return _cost(now().since(begun))


def ingest(case: Case) -> dict[str, Any]:
    """Without the cache of parsed files, which a folder in the state would have."""
    work = case.work("ingest")
    begun = now()
    build_raw(case.config, source_files(case.config, case.of("generate")), work.out)
    return _cost(now().since(begun), rows=json.loads((work.out / "manifest.json").read_text("utf-8"))["read"])


def prepare_with(case: Case, part: str) -> dict[str, Any]:
    """Prepare with uniform candidates and, for another part than ``prepare``, those of its protocol too."""
    protocols = ("uniform",) if part == PREPARE else ("uniform", part)
    work = case.work(part)
    spent = _run(prepare, with_changes(case.config, {"prepare": {"protocols": protocols}}), work, case.of("raw"))
    counts = json.loads((work.out / "manifest.json").read_text("utf-8"))["counts"]
    if part != PREPARE:
        shutil.rmtree(work.out)
        return _cost(spent)
    sizes = {f"n_{name}": counts[name] for name in ("users", "items", "queries", "events")}
    return _cost(spent, n=counts["filter"]["steps"][-1]["interactions"], **sizes)


def lightgcn(case: Case) -> dict[str, Any]:
    """Two epochs, so one evaluation, and as many of each fold. The whole has all epochs, unless patience ends them."""
    config = with_changes(case.config, {"lightgcn": {"epochs": EPOCHS_OF_LIGHTGCN}})
    spent = _run(pretrain, config, case.work("lightgcn"), case.of("prepared"))
    whole = spent.cpu * case.config.lightgcn.epochs / EPOCHS_OF_LIGHTGCN
    return _cost(spent, whole_s=round(whole, 1), edges=_rows(case, "graph"))


def whole_stage(case: Case, part: str, stage: Stage, of: str) -> dict[str, Any]:
    """A stage without shortening."""
    return _cost(_run(stage, case.config, case.work(part), case.of(of)))


# --- models -----------------------------------------------------------------------------------------------------------


def train(case: Case, part: str) -> dict[str, Any]:
    """300 steps of a model, shared by its phases, one validation, and its bundle."""
    if part in BASELINES and (reason := not_made(case.config, part)):
        return {"skipped": reason}
    once = {"train": {"epochs": 1, "two_head_epochs": 1}, "full_ranking": {"epochs": 1}, "rerank": {"epochs": 1}}
    config, inputs = with_changes(case.config, once), [case.of("prepared")]
    train, validations = case.config.train, case.config.train.validations_per_epoch
    if part in BASELINES:
        spec = find_baseline(part)
        stage, option, validations = stages_of(part).train, part, 1
        inputs += [case.of(need) for need in needs_of(spec)]
        most = case.config.rerank.epochs
        epochs = [max(1, round(most * p.share)) if p.epochs is None else p.epochs for p in spec.model.phases]
    elif part == FULL:
        stage, option, epochs = finetune_full, None, [case.config.full_ranking.epochs]
        inputs.append(case.of("cf"))
    else:
        stage, option = finetune, part
        epochs = [train.epochs if part == "gensr" else train.two_head_epochs]
        inputs.append(case.of("cf"))
    with ShortEpochs(-(-STEPS // len(epochs))) as short:
        spent = _run(stage, config, case.work(part, short), *inputs, option=option)
    return _cost(spent, **short.summary(spent, epochs, validations * epochs[-1]))


def _ranked(case: Case, part: str, samples: int, systems: Systems) -> dict[str, Any]:
    """Rank ``samples`` with each system. One that fails leaves its error, and the others go on."""
    counts = json.loads((case.of("prepared") / "manifest.json").read_text("utf-8"))["counts"]["samples"]["test"]
    steps: dict[str, Any] = {}
    trained = {name for name, (_, given, _) in systems.items() if (case.place / "made" / given.parent.name).is_file()}
    begun = now()
    for name, (stage, given, tasks) in systems.items():
        if name not in trained:
            continue
        config = with_changes(case.config, {"evaluation": {"max_test_samples": samples // len(tasks)}})
        work = case.work(f"{part}-{name}")
        try:
            spent = _run(stage, config, work, case.of("prepared"), given, option=name)
        except Exception as error:
            steps[name] = {"error": _named(error)}
            continue
        done = pq.read_metadata(work.out / "ranks.parquet").num_rows
        every = sum(counts[task]["samples"] for task in tasks)
        steps[name] = _cost(spent, samples=done, whole_s=round(spent.cpu * every / done, 1))
        shutil.rmtree(work.out.parent)
    lacks = sorted(systems.keys() - trained)
    return _cost(now().since(begun), steps=steps, **({"lacks": lacks} if lacks else {}))


def _tasks(reference: str) -> tuple[Task, ...]:
    return ("search",) if reference in NEEDS_QUERY else TASKS


def score(case: Case) -> dict[str, Any]:
    """2,000 test samples with 99 candidates, by each reference and each model that is trained here."""
    known: Systems = {name: (rank_reference, case.of("cf"), _tasks(name)) for name in REFERENCES}
    known |= {name: (rank_model, case.of(name), TASKS) for name in MODELS}
    for name, spec in BASELINES.items():
        if spec.reranks:
            known[name] = (stages_of(name, RERANKED).rank, case.of(name), spec.tasks)
    return _ranked(case, "score", SCORED, known)


def full_ranking(case: Case) -> dict[str, Any]:
    """500 test samples among all items, by each reference and each model that can and is trained here."""
    known: Systems = {name: (rank_full_reference, case.of("cf"), _tasks(name)) for name in REFERENCES}
    known[FULL] = (rank_full, case.of(FULL), TASKS)
    for name, spec in BASELINES.items():
        if full_table.takes(name):
            known[name] = (stages_of(name, full_table.FULL_RANKED).rank, case.of(name), spec.tasks)
    return _ranked(case, "full-ranking", RANKED, known)


def serve(share: float, place: Path) -> dict[str, Any]:
    """300 requests of one client to GenSR over an index, and its recall against all products."""
    from benchmarks.serve import million
    from benchmarks.served_models import large

    folder = place / "models"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    items = round(share * MILLION)
    models = large(folder, items)
    begun = now()
    answers = million(models, REQUESTS)
    spent = now().since(begun)
    shutil.rmtree(folder)
    return _cost(spent, n=items, **{name: value for name, value in answers.items() if name != "claim"})


# --- one part -------------------------------------------------------------------------------------------------------


def _parts() -> dict[str, Callable[[Case], dict[str, Any]]]:
    return {
        "generate": generate, "ingest": ingest, "lightgcn": lightgcn, "score": score, "full-ranking": full_ranking,
        "validate-raw": partial(whole_stage, part="validate-raw", stage=check_raw, of="raw"),
        "validate": partial(whole_stage, part="validate", stage=check_prepared, of="prepared"),
        "semantic-ids": partial(whole_stage, part="semantic-ids", stage=semantic_ids, of="prepared"),
        **{part: partial(prepare_with, part=part) for part in (PREPARE, "popularity", "bm25")},
        **{part: partial(train, part=part) for part in MODEL_PARTS},
    }  # fmt: skip


def run_part(part: str, data: str, share: float, preset: str, place: Path, threads: int) -> dict[str, Any]:
    """Run one part in this process. Peak memory is that of the process and its children together."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    with TreePeak() as peak:
        line = serve(share, place) if part == SERVE else _parts()[part](Case(config_of(data, share, preset), place))
    return line | {"peak_gb": round(max(peak.bytes, peak_bytes()) / 2**30, 2)}


class TreePeak:
    """The highest resident memory of this process and its children together, looked at twice a second."""

    def __init__(self) -> None:
        self.bytes, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreePeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.5):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it has just ended
                    continue
            self.bytes = max(self.bytes, total)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _rows(case: Case, table: str) -> int:
    return pq.read_metadata(case.of("prepared") / f"{table}.parquet").num_rows
