"""Table 5 on trained models: information of their answers about the input and about the label (§6.4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gensr_model.analysis.critics import CriticConfig
from gensr_model.analysis.features import Features, Pairs, balanced_pairs, input_features
from gensr_model.analysis.figures import information_figure
from gensr_model.analysis.mutual_information import estimate_task_information, information_gaps
from gensr_model.analysis.subjects import OURS, Subject, read
from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.evaluation.compare import add_holm
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models import bundle
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

_FEWEST = 50  # smallest number of users with a sample of a task, which are split into three parts
Information = dict[str, dict[str, dict[str, float]]]  # model → task → fields of TaskInformation, "samples" and gaps


def analyze_information(
    dataset: PreparedDataset,
    cf_folder: Path,
    subjects: Mapping[str, Subject],
    config: PipelineConfig,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Analyse models, by name, on test samples. Returns every number as ``information/model/task/name``.

    Every model gets the same pairs, and the critics the same features. A model other than GenSR also has ``exact_gap``
    and ``label_gap``: GenSR's exact I(input; Ŷ) and I(Ŷ; Y) minus its own. Each has the ends of its interval (``_low``,
    ``_high``) and, where there is a test, p (``_p``) and p corrected for all (``_p_holm``). The function writes
    ``mutual_information.json`` and ``mutual_information.png`` into ``out``; the figure needs a task with test samples
    of at least 50 users.
    """
    pairs = task_pairs(dataset, config)
    features = _features(dataset, cf_folder, pairs, config)
    information: Information = {model: {} for model in subjects}
    for place, (task, pair) in enumerate(pairs.items(), start=1):
        labels = (pair.chosen == 0).astype(np.int64)
        scores = {
            model: read(subject, "score", pair, config.evaluation.batch_size) for model, subject in subjects.items()
        }
        for number, (model, score) in enumerate(scores.items(), start=1):
            estimate = estimate_task_information(
                features[task].values,
                score,
                labels,
                blocks=features[task].blocks,
                config=CriticConfig(steps=config.analysis.mine_steps, seeds=config.analysis.mine_seeds),
                seed=config.seed,
            )
            information[model][task] = {**estimate._asdict(), "samples": float(len(labels))}
            if model != OURS in scores:
                information[model][task] |= _gaps(scores[OURS], score, labels, config)
            report.progress(
                (place - 1) * len(subjects) + number, len(subjects) * len(pairs), f"information, {model}, {task}"
            )
    rows = [row for tasks in information.values() for row in tasks.values()]
    add_holm(rows, "exact_gap_p", "label_gap_p")
    write_json(out / "mutual_information.json", information)
    if pairs:
        information_figure(information, out / "mutual_information.png")
    return {
        f"information/{model}/{task}/{name}": value
        for model, tasks in information.items()
        for task, values in tasks.items()
        for name, value in values.items()
    }


def _gaps(
    ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], labels: IntArray, config: PipelineConfig
) -> dict[str, float]:
    gaps = information_gaps(ours, theirs, labels, config.statistics.confidence, config.seed)
    return {
        f"{kind}_gap{name}": value
        for kind, gap in gaps.items()
        for name, value in zip(("", "_low", "_high", "_p"), gap, strict=True)
        if math.isfinite(value)
    }


def task_pairs(dataset: PreparedDataset, config: PipelineConfig) -> dict[str, Pairs]:
    every, negatives = dataset.evaluated("test", config.evaluation.protocol)
    subset = fixed_subset(every, config.analysis.mine_samples)
    pairs: dict[str, Pairs] = {}
    for name in config.train.trained_tasks:
        number = TASKS.index(name)
        rows = subset[every.task[subset] == number]
        rng = np.random.default_rng([config.seed, number])
        rows = _one_of_each_user(rng.permutation(rows), every)
        if len(rows) >= _FEWEST:
            pairs[name] = balanced_pairs(every.take(rows), negatives[rows], config.analysis.negatives_per_positive)
    return pairs


def _one_of_each_user(rows: IntArray, samples: Samples) -> IntArray:
    """The first sample of each user, so that the critics' held-out samples have other users."""
    _, first = np.unique(samples.user[rows], return_index=True)
    return rows[np.sort(first)]


def _features(
    dataset: PreparedDataset, cf_folder: Path, pairs: dict[str, Pairs], config: PipelineConfig
) -> dict[str, Features]:
    fresh, _ = bundle.assemble("gensr", dataset, cf_folder, config)  # untrained: every model starts from these tables
    assert isinstance(fresh, bundle.GenSR)
    words, length = fresh.backbone.shared, config.model.max_history
    return {task: input_features(dataset, pair, fresh.cf, words, fresh.text, length) for task, pair in pairs.items()}
