"""The analyses of trained models: mutual information (§6.4.1) and gradient conflict (§6.5), in numbers and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gensr_model.analysis.features import Pairs, balanced_pairs, input_features
from gensr_model.analysis.figures import gradient_figure, validation_figure
from gensr_model.analysis.mutual_information import estimate_task_information
from gensr_model.config import TASKS, PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.scoring import fixed_subset, score_samples
from gensr_model.files import write_json
from gensr_model.report import Report
from gensr_model.training import bundle

_FEWEST = 50  # samples of a task below which a split into three says nothing


def analyze(
    dataset: PreparedDataset,
    cf_folder: Path,
    bundles: dict[str, Path],
    config: PipelineConfig,
    out: Path,
    report: Report,
) -> dict[str, float]:
    """Analyse trained model bundles, by name, on test samples; returns every number by a flat name.

    Writes `mutual_information.json`, `gradient_conflict.json`, and the figures `gradient_cosine.png` and
    `validation.png` into `out`. A task with fewer than 50 test samples has no mutual information.
    """
    information = mutual_information(dataset, cf_folder, bundles, config, report)
    write_json(out / "mutual_information.json", information)
    numbers = {
        f"information/{model}/{task}/{name}": value
        for model, tasks in information.items()
        for task, found in tasks.items()
        for name, value in found.items()
    }
    probes = {model: _read(folder, "gradients.json") for model, folder in bundles.items()}
    conflict = {model: conflict_summary(found) for model, found in probes.items() if found}
    write_json(out / "gradient_conflict.json", conflict)
    for model, found in conflict.items():
        numbers.update({f"gradient/{model}/{name}": value for name, value in found.items()})
    if conflict:
        gradient_figure({model: probes[model] for model in conflict}, out / "gradient_cosine.png")
    curves = {model: _read(folder, "training.json")["validations"] for model, folder in bundles.items()}
    validation_figure(curves, out / "validation.png")
    return numbers


def mutual_information(
    dataset: PreparedDataset,
    cf_folder: Path,
    bundles: dict[str, Path],
    config: PipelineConfig,
    report: Report,
) -> dict[str, dict[str, dict[str, float]]]:
    """{model: {task: fields of TaskInformation, and "samples"}} on the same pairs and features for every model."""
    every, negatives = dataset.evaluated("test", config.evaluation.protocol)
    subset = fixed_subset(every, config.analysis.mine_samples)
    pairs: dict[str, Pairs] = {}
    for name in config.train.trained_tasks:
        number = TASKS.index(name)
        rows = subset[every.task[subset] == number]
        if len(rows) >= _FEWEST:
            rows = np.random.default_rng([config.seed, number]).permutation(
                rows
            )  # no order by user behind the split
            pairs[name] = balanced_pairs(every.take(rows), negatives[rows])
    fresh, _ = bundle.assemble("gensr", dataset, cf_folder, config)  # untrained: tables as every model starts
    assert isinstance(fresh, bundle.GenSR)
    features = {
        task: input_features(
            dataset, pair, fresh.cf, fresh.backbone.shared, fresh.catalogue, config.model.max_history
        )
        for task, pair in pairs.items()
    }
    found: dict[str, dict[str, dict[str, float]]] = {model: {} for model in bundles}
    done = 0
    for model, folder in bundles.items():
        loaded = bundle.load(folder, dataset.items, dataset.queries)
        for task, pair in pairs.items():
            estimate = estimate_task_information(
                features[task].values,
                _probabilities(loaded, dataset, pair, config, report),
                blocks=features[task].blocks,
                seeds=config.analysis.mine_seeds,
                steps=config.analysis.mine_steps,
                seed=config.seed,
            )
            found[model][task] = {**estimate._asdict(), "samples": float(len(pair.chosen))}
            done += 1
            report.progress(done, len(bundles) * len(pairs), f"mutual information, {model}, {task}")
    return found


def _probabilities(
    loaded: bundle.Loaded, dataset: PreparedDataset, pairs: Pairs, config: PipelineConfig, report: Report
) -> npt.NDArray[np.float64]:
    """σ(score) of the chosen candidates (N,): the chance that the model answers Yes."""
    scores = score_samples(
        loaded.model,
        dataset,
        pairs.samples,
        pairs.candidates[:, 1:],
        max_history=loaded.config.max_history,
        batch_size=config.evaluation.batch_size,
        report=report,
    )
    chosen = scores[np.arange(len(scores)), pairs.chosen].astype(np.float64)
    return np.exp(-np.logaddexp(0.0, -chosen))  # σ without overflow


def conflict_summary(probes: list[dict[str, float]]) -> dict[str, float]:
    """Mean, spread, smallest value and share below zero of the cosines along training."""
    cosine = np.array([probe["cosine"] for probe in probes])
    return {
        "mean_cosine": float(cosine.mean()),
        "std_cosine": float(cosine.std()),
        "min_cosine": float(cosine.min()),
        "share_negative": float((cosine < 0).mean()),
        "probes": float(len(cosine)),
    }


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
