"""Batches of the small dataset for tests of baselines."""

from __future__ import annotations

import numpy as np
from small_dataset import ITEMS

from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import READS_WORDS, TEXT, BaselineBatch, Collator
from gensr_model.baselines.words import Lexicon
from gensr_model.config.base import TASKS
from gensr_model.config.model import TextConfig
from gensr_model.data.prepared import PreparedDataset, Samples

MAX_HISTORY = 6


def collator(dataset: PreparedDataset, model: type[Baseline], source: PreparedDataset | None = None) -> Collator:
    """Of a model's contract; ``source`` gives the words where ``dataset`` is a changed copy of it."""
    text = TextConfig() if TEXT in model.reads else None
    lexicon = Lexicon.build(source or dataset, text) if model.reads & READS_WORDS else None
    return Collator(dataset, model.reads, MAX_HISTORY, lexicon)


def of_tasks(samples: Samples, model: type[Baseline]) -> Samples:
    """The samples that the model ranks."""
    return samples.take(np.isin(samples.task, [TASKS.index(task) for task in model.tasks]))


def some(
    dataset: PreparedDataset, model: type[Baseline], count: int, seed: int = 0, with_history: bool = False
) -> tuple[Samples, np.ndarray]:
    """Training samples (count) with lists (count, 5).

    Negatives of a search belong to other queries, so that a model of the query alone can tell them apart.
    """
    rng = np.random.default_rng(seed)
    samples = of_tasks(dataset.samples("train"), model)
    if with_history:
        samples = samples.take(samples.history_end > samples.history_start)
    samples = samples.take(rng.permutation(len(samples))[:count])
    others = (samples.item[:, None] + rng.integers(1, ITEMS // 4, size=(count, 4)) * 4 + 1 + np.arange(4) % 3) % ITEMS
    return samples, np.column_stack([samples.item, others])


def batch(
    dataset: PreparedDataset, model: type[Baseline], count: int = 32, seed: int = 0, with_history: bool = False
) -> BaselineBatch:
    """A batch of training samples of the model's tasks."""
    return collator(dataset, model).build(*some(dataset, model, count, seed, with_history))
