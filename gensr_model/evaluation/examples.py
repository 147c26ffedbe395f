"""A few rankings in words for a person to read. The seed draws the samples, so nobody selects them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import BEHAVIORS, PreparedDataset, Samples, ranked_lists
from gensr_model.evaluation.metrics import rank_counts
from gensr_model.evaluation.scoring import Lists, lists_of, score_samples
from gensr_model.models import bundle
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.progress import Report

_SHOWN_HISTORY, _SHOWN_TOP = 8, 5


def example_rankings(
    folder: Path, dataset: PreparedDataset, config: PipelineConfig, per_task: int, report: Report
) -> list[dict[str, Any]]:
    """Rankings of ``per_task`` test samples of each task by the model of a bundle, drawn from its evaluated samples.

    Each ranking has these keys:

    - "task", "user" and "query" (None without one).
    - "history": the latest items, oldest first, each with "title" and "behaviors". Consecutive events with one item are
      one.
    - "history_length": number of events that the model read. "candidates": number of ranked candidates.
    - "top": the first five candidates, each with "title", "probability" and "true".
    - "true": the positive, with "title", "probability", "place" and "level", the number of other candidates with its
      score. "top" puts these before the positive.

    A task without candidates has no ranking.
    """
    loaded = bundle.load(folder, dataset.items, dataset.queries)
    loaded.model.to(default_device())
    how = config.evaluation
    measured = lists_of(dataset, "test", how.protocol, config.train.trained_tasks, how.max_test_samples)
    samples, negatives = _drawn(measured, per_task, config.seed)
    builder = BatchBuilder(dataset, loaded.config.max_history)
    scores = score_samples(loaded.model, builder, samples, negatives, how.batch_size, report)
    lists, lengths = ranked_lists(samples, negatives)
    titles = item_titles(dataset)
    users = dataset.table("users")["raw_id"]
    counts = rank_counts(scores, lengths)
    examples = []
    for n in range(len(samples)):
        length = int(lengths[n])
        probability = 1.0 / (1.0 + np.exp(-scores[n].astype(np.float64)))
        query = int(samples.query[n])
        examples.append(
            {
                "task": TASKS[samples.task[n]],
                "user": str(users[int(samples.user[n])].as_py()),
                "query": dataset.queries[query] if query >= 0 else None,
                **_history(dataset, samples, n, loaded.config.max_history, titles),
                "candidates": length,
                "top": [
                    {"title": titles[lists[n, c]], "probability": float(probability[c]), "true": bool(c == 0)}
                    for c in np.lexsort((np.arange(length) == 0, -scores[n, :length]))[:_SHOWN_TOP]
                ],
                "true": {
                    "title": titles[lists[n, 0]],
                    "probability": float(probability[0]),
                    "place": int(counts.greater[n]) + 1,
                    "level": int(counts.ties[n]),
                },
            }
        )
    return examples


def item_titles(dataset: PreparedDataset) -> list[str]:
    """(I,) a readable name of each item: its title, else its categories, else its id."""
    columns = (dataset.items[name].to_pylist() for name in ("title", "category_text", "raw_id"))
    return [title or categories or raw_id for title, categories, raw_id in zip(*columns, strict=True)]


def _drawn(lists: Lists, per_task: int, seed: int) -> Lists:
    rng = np.random.default_rng([seed, 5])
    of_tasks = (lists.samples.rows_of_tasks((task,)) for task in TASKS)
    rows = np.concatenate([rng.choice(rows, size=min(per_task, len(rows)), replace=False) for rows in of_tasks])
    return Lists(lists.samples.take(rows), lists.negatives[rows])


def _history(dataset: PreparedDataset, samples: Samples, n: int, max_history: int, titles: list[str]) -> dict[str, Any]:
    end = int(samples.history_end[n])
    read = min(end - int(samples.history_start[n]), max_history)
    events = ((int(dataset.events.item[e]), int(dataset.events.behavior[e])) for e in range(end - read, end))
    shown = [
        {"title": titles[item], "behaviors": list(dict.fromkeys(BEHAVIORS[how] for _, how in group))}
        for item, group in itertools.groupby(events, key=lambda event: event[0])
    ]
    return {"history": shown[-_SHOWN_HISTORY:], "history_length": read}
