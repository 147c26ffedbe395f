"""The model card of a registered version, in Markdown: data, metrics, weak segments, limits, and how to call it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gensr_model.config.base import SPLITS, TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.diagnosis import diagnose
from gensr_model.evaluation.metrics import of_task, per_sample
from gensr_model.evaluation.resampling import number_users, resampled_means
from tasks.core.stage import StageResult
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import data_tasks, ranked_users

METRICS = {"ndcg_at_10": "NDCG@10", "recall_at_10": "Recall@10", "mrr": "MRR"}
FEWEST = 50  # samples of a segment that the card names
_MOST = 4  # segments of a task that the card names
_URI = "models:/NAME/VERSION"  # stands for the version's own until it is registered


def describe(config: PipelineConfig, prepared: StageResult, ranks: StageResult) -> str:
    """The card of a model without its title, from its test ranks on the dataset ``prepared``."""
    dataset, table = PreparedDataset.open(prepared.path), read_ranks(ranks)
    sections = [
        ("How to call it", _calls(dataset, data_tasks(prepared.path))),
        ("Data", _data(dataset, prepared.content or prepared.key)),
        ("Metrics", _metrics(config, table, ranked_users(prepared))),
        ("Where it is weak", _weak(config, dataset, table)),
        ("Limits", _limits(config, dataset, data_tasks(prepared.path))),
    ]
    return "\n".join(line for title, lines in sections for line in (f"## {title}", "", *lines, ""))


def titled(body: str, name: str, version: str) -> str:
    """The card of a registered version."""
    return f"# {name}, version {version}\n\n{body.replace(_URI, f'models:/{name}/{version}')}"


def renumbered(text: str, name: str, old: str, new: str, note: str) -> str:
    """The card of version ``old`` as that of version ``new``, which begins with a note."""
    body = text.partition("\n\n")[2].replace(f'models:/{name}/{old}"', f'models:/{name}/{new}"')
    return f"# {name}, version {new}\n\n{note} The metrics are those of version {old}.\n\n{body}"


def _calls(dataset: PreparedDataset, tasks: Sequence[str]) -> Iterator[str]:
    item = dataset.items["raw_id"][0].as_py()
    rows = {"recommendation": {"history": [item], "top_n": 10}, "search": {"query": "blue", "top_n": 10}}
    yield "With `MLFLOW_TRACKING_URI` set to this MLflow:"
    yield from ("", "```python", "import mlflow", "", f'model = mlflow.pyfunc.load_model("{_URI}")')
    yield from (f"model.predict([{json.dumps(rows[task], ensure_ascii=False)}])  # {task}" for task in tasks)
    yield from ("```", "")
    yield (
        "A row may have `user`, `history`, `behaviors`, `query`, `candidates` and `top_n`. All are optional. A query "
        "makes it a search. The alias `champion` in place of the number follows the version that serves."
    )


def _data(dataset: PreparedDataset, digest: str) -> Iterator[str]:
    manifest = dataset.manifest
    counts, samples = manifest["counts"], manifest["counts"]["samples"]
    ts = pc.min_max(pq.read_table(dataset.folder / "events.parquet", columns=["ts"])["ts"]).as_py()
    first, last = (datetime.fromtimestamp(ts[end] / 1000, UTC).date() for end in ("min", "max"))
    yield f"`{manifest['name']}`, prepared from format `{manifest['format']}` (digest `{digest}`)."
    yield ""
    yield f"- {counts['users']:,} users, {counts['items']:,} items, {counts['queries']:,} queries"
    yield f"- {counts['events']:,} events from {first} to {last} (UTC)"
    for split in SPLITS:
        shown = (f"{samples[split][task]['samples']:,} {task}" for task in TASKS)
        yield f"- {split}: samples of {', '.join(shown)}"


def _metrics(config: PipelineConfig, ranks: pa.Table, users: pa.Table) -> Iterator[str]:
    lengths = ranks["candidates"].to_numpy()
    median = "" if lengths.min() == lengths.max() else " (the median; lists differ)"
    yield (
        f"On the test split. Each positive is ranked among {np.median(lengths):,.0f} items{median}. In brackets: "
        f"{config.statistics.confidence:.0%} bootstrap interval over users."
    )
    yield from ("", f"| task | samples | {' | '.join(METRICS.values())} |", f"|---|---|{'---|' * len(METRICS)}")
    for task in TASKS:
        rows = of_task(ranks, task)
        if rows.num_rows:
            cells = " | ".join(_with_interval(config, rows, metric, users) for metric in METRICS)
            yield f"| {task} | {rows.num_rows:,} | {cells} |"


def _with_interval(config: PipelineConfig, rows: pa.Table, metric: str, users: pa.Table) -> str:
    """The mean of a metric and its bootstrap interval over users, with four digits."""
    values = per_sample(rows, metric)
    user = number_users(np.asarray(rows["sample_id"].to_pylist(), dtype=str), users)
    if user.max() == 0:
        return f"{values.mean():.4f} (one user: no interval)"
    rng, tail = np.random.default_rng(config.seed), (1 - config.statistics.confidence) / 2
    means = resampled_means(values[None], user, config.statistics.bootstrap_samples, rng)
    low, high = np.quantile(means, [tail, 1 - tail])
    return f"{values.mean():.4f} ({low:.4f} to {high:.4f})"


def _weak(config: PipelineConfig, dataset: PreparedDataset, ranks: pa.Table) -> Iterator[str]:
    z = NormalDist().inv_cdf((1 + config.statistics.confidence) / 2)
    mean = {task: float(per_sample(rows, "ndcg_at_10").mean()) for task in TASKS if (rows := of_task(ranks, task))}
    worst: list[dict[str, Any]] = []
    segments = [row for row in diagnose(dataset, {"": ranks}).to_pylist() if row["samples"] >= FEWEST]
    for row in segments:
        error = row["ndcg_at_10_error"]
        row["bound"] = float("inf") if error is None else z * error
    for task in mean:
        below = [r for r in segments if r["task"] == task and r["ndcg_at_10"] + r["bound"] < mean[task]]
        worst += sorted(below, key=lambda row: float(row["ndcg_at_10"]))[:_MOST]
    if not worst:
        yield f"No segment of {FEWEST} samples or more lies clearly below the mean of its task."
        return
    yield f"Segments of {FEWEST} samples or more whose whole interval of NDCG@10 lies below the mean of their task:"
    yield from ("", "| task | by | segment | samples | NDCG@10 | all of the task |", "|---|---|---|---|---|---|")
    for row in worst:
        low, high = row["ndcg_at_10"] - row["bound"], row["ndcg_at_10"] + row["bound"]
        cells = [row["task"], row["by"], row["segment"], f"{row['samples']:,}"]
        cells += [f"{row['ndcg_at_10']:.4f} ({low:.4f} to {high:.4f})", f"{mean[row['task']]:.4f}"]
        yield f"| {' | '.join(cells)} |"


def _limits(config: PipelineConfig, dataset: PreparedDataset, tasks: Sequence[str]) -> Iterator[str]:
    yield f"- It knows {dataset.n_users:,} users and {dataset.n_items:,} items. It cannot rank other items."
    yield "- An unknown user is answered as one without a history."
    yield f"- It reads the latest {config.model.max_history} events, and {config.model.max_query_tokens} query tokens."
    missing = (task for task in TASKS if task not in tasks)
    yield from (f"- The data have no sample of {task}: nothing is known about it." for task in missing)
    yield "- The metrics are from logs. They do not say what users do with what this model shows them."
    yield "- Its files hold user ids and their latest item ids. Treat them as you treat the logs."
