"""Figure 3 on trained models: the distance of the tasks in the data and in hidden states (§6.4.2).

A prompt that names the task is part of GenSR's input, so some separation exists before any training. Two controls
measure it: GenSR untrained, and the input without its query.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gensr_model.analysis.critics import standardise
from gensr_model.analysis.features import Pairs, balanced_pairs, input_features
from gensr_model.analysis.figures import Plane, space_figure
from gensr_model.analysis.subjects import Subject, read
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.evaluation.scoring import fixed_subset
from gensr_model.models import bundle
from gensr_model.models.gensr import GenSR
from gensr_model.runtime.files import write_json
from gensr_model.runtime.progress import Report

Points = npt.NDArray[np.float32]
INPUTS, WITHOUT_QUERY, UNTRAINED = "inputs", "inputs_without_query", "gensr_untrained"
_FEWEST = 50  # samples of a task below which neither a density nor a probe is reliable
_SHARED_BLOCKS = 4  # the first blocks of input_features: history and candidate in both views; the fifth is the query
_GRID = 80


class Separation(NamedTuple):
    """Measures of the distance between the tasks."""

    probe_accuracy: float  # accuracy of a linear classifier of the task, on other users than in its training
    chance: float  # accuracy of always answering the more frequent task
    silhouette: float  # −1 to 1, in all dimensions, standardised; 0: the tasks' clouds are one
    overlap: float  # 0 to 1, of the densities in the plane of the figure; 1: the same
    overlap_chance: float  # overlap of two random groups of the same points


def analyze_space(
    dataset: PreparedDataset,
    cf_folder: Path,
    subjects: Mapping[str, Subject],
    config: PipelineConfig,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Measure test samples of both tasks in the input and in hidden states of models. Returns ``space/what/name``.

    ``what`` is a model's name, or ``inputs`` (X and Y), ``inputs_without_query``, ``gensr_untrained``. A model without
    ``hidden`` is left out. The function writes ``space.json`` and ``space.png`` into `out`. Where a task has fewer than
    50 test samples, it returns no number and writes no figure.
    """
    every, negatives = dataset.evaluated("test", config.evaluation.protocol)
    rows = fixed_subset(every, config.analysis.space_samples)
    task = every.task[rows]
    if min(np.count_nonzero(task == number) for number in (0, 1)) < _FEWEST:
        write_json(out / "space.json", {})
        return {}
    # Positives and negatives alternate within a task, so that labels are equally balanced in both tasks.
    order = np.argsort(task, kind="stable")
    rows, task = rows[order], task[order]
    pairs = balanced_pairs(every.take(rows), negatives[rows], config.analysis.negatives_per_positive)
    fresh, _ = bundle.assemble("gensr", dataset, cf_folder, config)
    assert isinstance(fresh, GenSR)
    clouds = _input_clouds(fresh, dataset, pairs, config)
    planes = {name: _map_inputs(cloud, config.seed) for name, cloud in clouds.items()}
    models = {UNTRAINED: Subject(fresh, BatchBuilder(dataset, config.model.max_history)), **subjects}
    for number, (name, subject) in enumerate(models.items(), start=1):
        if hasattr(subject.model, "hidden"):
            clouds[name] = read(subject, "hidden", pairs, config.evaluation.batch_size)
            planes[name] = PCA(2, random_state=config.seed).fit_transform(clouds[name])
        report.progress(number, len(models), f"parameter space, {name}")
    separations = {
        name: separation(cloud, planes[name], task, pairs.samples.user, config.seed) for name, cloud in clouds.items()
    }
    write_json(out / "space.json", {name: numbers._asdict() for name, numbers in separations.items()})
    space_figure(
        {
            name: Plane(planes[name], task, separations[name].probe_accuracy, separations[name].overlap)
            for name in clouds
        },
        out / "space.png",
    )
    return {
        f"space/{name}/{field}": value
        for name, numbers in separations.items()
        for field, value in numbers._asdict().items()
    }


def separation(cloud: Points, plane: npt.NDArray[np.floating], task: IntArray, user: IntArray, seed: int) -> Separation:
    """Measures for points (N, d), with their plane (N, 2), task (N,) and user (N,).

    A task is 0 or 1.
    """
    scaled = StandardScaler().fit_transform(cloud)
    mixed = np.random.default_rng(seed).permutation(task)
    return Separation(
        probe_accuracy=probe_accuracy(cloud, task, user, seed),
        chance=float(np.bincount(task).max() / len(task)),
        silhouette=float(silhouette_score(scaled, task)),
        overlap=overlap(plane[task == 0], plane[task == 1]),
        overlap_chance=overlap(plane[mixed == 0], plane[mixed == 1]),
    )


def probe_accuracy(cloud: Points, task: IntArray, user: IntArray, seed: int) -> float:
    """Held-out accuracy of a logistic regression of the task, on two halves that share no user."""
    folds = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    right = 0
    for train, test in folds.split(cloud, task, user):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
        right += int((probe.fit(cloud[train], task[train]).predict(cloud[test]) == task[test]).sum())
    return right / len(task)


def overlap(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """∫ min(p, q) of the Gaussian kernel densities of points (n, 2) and (m, 2), on a grid."""
    both = np.concatenate([a, b])
    spread = both.std(axis=0)
    if not spread.any():
        return 1.0
    # A hundredth of the spread gives states on a line a density too.
    rng = np.random.default_rng(0)
    a, b = (points + 0.01 * spread.max() * rng.standard_normal(points.shape) for points in (a, b))
    margin = np.maximum(spread, 0.05 * spread.max())
    low, high = both.min(axis=0) - margin, both.max(axis=0) + margin
    axes = [np.linspace(low[k], high[k], _GRID) for k in (0, 1)]
    grid = np.stack(np.meshgrid(*axes), axis=0).reshape(2, -1)
    cell = float(np.prod([axis[1] - axis[0] for axis in axes]))
    p, q = (gaussian_kde(points.T)(grid) for points in (a, b))
    return float(np.minimum(p / (p.sum() * cell), q / (q.sum() * cell)).sum() * cell)


def _input_clouds(fresh: GenSR, dataset: PreparedDataset, pairs: Pairs, config: PipelineConfig) -> dict[str, Points]:
    """X and Y of every sample with each block at variance 1, and the same without the query.

    X are the input features of both tasks, with zeros for recommendation's query. Y is the label.
    """
    blocks: list[list[Tensor]] = []
    for number in (0, 1):
        rows = np.flatnonzero(pairs.samples.task == number)
        part = Pairs(pairs.samples.take(rows), pairs.candidates[rows], pairs.chosen[rows])
        features = input_features(dataset, part, fresh.cf, fresh.backbone.shared, fresh.text, config.model.max_history)
        blocks.append(list(torch.from_numpy(features.values).split(features.blocks, dim=1))[:-1])  # no cosines
    query = blocks[1][_SHARED_BLOCKS]
    blocks[0].append(torch.zeros(len(blocks[0][0]), query.shape[1]))
    label = torch.from_numpy(1.0 - pairs.chosen).float().unsqueeze(1)
    shared = [torch.cat(sides) for sides in zip(*blocks, strict=True)]
    with_query = [*shared, label]
    without = [*shared[:_SHARED_BLOCKS], label]
    return {
        name: standardise(torch.cat(parts, dim=1), [part.shape[1] for part in parts]).numpy()
        for name, parts in ((INPUTS, with_query), (WITHOUT_QUERY, without))
    }


def _map_inputs(cloud: Points, seed: int) -> Points:
    """(N, 2) t-SNE of the inputs, as in the paper's Figure 3(a)."""
    perplexity = min(30.0, (len(cloud) - 1) / 4)
    plane: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(cloud)
    return plane
