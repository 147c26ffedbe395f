"""The result of a run as one JSON-able summary and one Markdown table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gensr_model.config.base import SEARCH_ONLY, TASKS, digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.compare import holm, paired_bootstrap
from gensr_model.evaluation.diagnosis import FEWEST_USERS
from gensr_model.evaluation.metrics import METRICS
from gensr_model.reporting import facts
from gensr_model.reporting.facts import how_it_came
from tasks.core.stage import StageResult
from tasks.core.tracking import git_commit
from tasks.evaluate.rank import read_ranks
from tasks.evaluate.run_data import Data, ranked_users
from tasks.publish.study_tables import ablation, grid, sweep
from tasks.train.finetune import how_it_ended

_SHOWN = {"recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "recall_at_20": "R@20",
          "ndcg_at_5": "N@5", "ndcg_at_10": "N@10", "ndcg_at_20": "N@20", "mrr": "MRR"}  # fmt: skip


_TESTED = "In brackets: bootstrap interval. p: of a t-test, after Holm's correction over all comparisons of the kind."
_FREE = (
    "Less noise: on half the rows, by the square root of one task's halves in recommendation times those in search; 1 "
    "would be one task with itself; empty where one of these may be noise alone. Models are compared by it, as batches "
    f"of other sizes have other noise. {_TESTED}"
)
_LEAD = "GenSR − best other"
_LEAD_NOTE = (
    f"{_TESTED} The best other is chosen among the models on the samples of the segment: p is corrected for that where "
    f"it is ahead, the interval is not. Fewer than {FEWEST_USERS} users are not tested."
)


def model_title(name: str) -> str:
    """What tables call a model; ``-seed…`` at its end is said in words."""
    model, _, seed = name.partition("-seed")
    return facts.model_title(model) + (f", seed {seed}" if seed else "")


def trained_model(label: str) -> str | None:
    """The model that the stage of this label trained, as tables name it; None where it trained none of theirs."""
    for stage in ("finetune-", "train-baseline-"):
        if label.startswith(stage):
            return label.removeprefix(stage)
    return None


def results(ranks: dict[str, StageResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> model -> metric, for every model that serves the task; the given order is kept."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task in TASKS:
        rows = {name: {m: r.metrics[f"{task}/{m}"] for m in (*METRICS, "samples") if f"{task}/{m}" in r.metrics}
                for name, r in ranks.items()}  # fmt: skip
        found[task] = {name: row for name, row in rows.items() if row}
    return found


def comparisons(
    ranks: Mapping[str, Sequence[StageResult]], prepared: StageResult, config: PipelineConfig
) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> other model -> GenSR minus it in NDCG@10: mean, bootstrap bounds, paired t-test, by user of ``prepared``.

    Args:
        ranks: of every model its evaluations, one per seed, over which each sample's metric is averaged.

    ``p_holm`` is the test's p after Holm's correction over all other models and both tasks. A t-test that is not
    defined, on one user or on a constant difference, is left out: JSON has no infinity.
    """
    found: dict[str, dict[str, dict[str, float]]] = {task: {} for task in TASKS}
    if "gensr" not in ranks:  # a study that reads no test ranks
        return found
    ours, users = [read_ranks(result) for result in ranks["gensr"]], ranked_users(prepared)
    for name, results_of in ranks.items():
        for task in TASKS:
            if name == "gensr" or not (
                results_of[0].metrics.get(f"{task}/samples") and task in ours[0]["task"].to_pylist()
            ):
                continue
            compared = paired_bootstrap(
                ours,
                [read_ranks(result) for result in results_of],
                samples=config.statistics.bootstrap_samples,
                confidence=config.statistics.confidence,
                seed=config.seed,
                task=task,
                users=users,
            )
            found[task][name] = {k: float(v) for k, v in compared._asdict().items() if math.isfinite(v)}
    tested = [row for rows in found.values() for row in rows.values() if "p" in row]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
    return found


def summarize_run(
    config: PipelineConfig,
    data: Data,
    stages: list[StageResult],
    ranks: dict[str, StageResult],
    analysis: dict[str, float],
) -> dict[str, Any]:
    """Everything that ``summary.json`` and the table say, apart from links."""
    return {
        "dataset": config.name,
        "format": config.format,
        "source": f"{config.source.kind} data",
        "preset": config.preset,
        "seed": config.seed,
        "negatives": config.prepare.negatives,
        "config": config.model_dump(mode="json"),
        "config_hash": digest(config),
        "dataset_digest": data.source.key,
        "commit": git_commit(),
        "results": results(ranks),
        "comparisons": comparisons({name: [found] for name, found in ranks.items()}, data.prepared, config),
        "analysis": analysis,
        "training": {model: how_it_ended(s.path) for s in stages if (model := trained_model(s.label))},
        "stages": [
            {"label": s.label, "seconds": s.seconds, "reused": s.reused, "key": s.key, "built_on": s.built_on}
            for s in [*stages, *ranks.values()]
        ],
    }


def table(summary: dict[str, Any]) -> str:
    """Markdown: one table per task, GenSR first, then what the analyses found and how long each stage took."""
    protocol = summary["config"]["evaluation"]["protocol"]
    drawn = "" if protocol == "uniform" else f" ({protocol})"
    lines = [
        f"# {summary['dataset']} ({summary['format']}, {summary['source']}, preset {summary['preset']})",
        "",
    ]
    lines += ablation(summary.get("ablation", []), summary["config"])
    lines += sweep(summary.get("sweep", []), summary["config"])
    gap = f"GenSR − it, N@10 [{100 * summary['config']['statistics']['confidence']:g}%]"
    if "ablation" in summary and len(seeds := summary["config"]["ablation"]["seeds"]) > 1:
        gap += f", mean of seeds {', '.join(map(str, seeds))}"
    for task, rows in summary["results"].items():
        if not rows:
            if protocol in SEARCH_ONLY and task != "search":
                lines += [f"## {task.capitalize()}: left out, {protocol} draws no candidates for it", ""]
            continue
        samples = int(next(iter(rows.values()))["samples"])
        told = of_users(samples, summary["comparisons"].get(task, {}).values())
        lines += [f"## {task.capitalize()}: {told}, 1 positive among "
                  + summary.get("among", f"{summary['negatives']} negatives{drawn}"), ""]  # fmt: skip
        body = [[model_title(name), *(f"{row[m]:.4f}" for m in _SHOWN), *_difference(summary, task, name)]
                for name, row in rows.items()]  # fmt: skip
        lines += [*grid(["model", *_SHOWN.values(), gap, "p (Holm)"], body), ""]
    lines += analysis_tables(summary["analysis"], summary["config"]["analysis"]["negatives_per_positive"])
    lines += segments(summary.get("diagnosis", []))
    lines += _training(summary.get("training", {}))
    if summary.get("stages"):
        lines += ["## Stages", ""]
        times = [[s["label"], f"{s['seconds']:.1f}", how_it_came(s)] for s in summary["stages"]]
        lines += [*grid(["stage", "seconds", "in this run"], times), ""]
    return "\n".join(lines)


def numbers_of(analyses: list[StageResult]) -> dict[str, float]:
    """Every number of the analyses by its flat name."""
    return {name: value for stage in analyses for name, value in stage.metrics.items() if "/" in name}


def analysis_tables(analysis: dict[str, float], drawn: int) -> list[str]:
    """Lines of Markdown: one table per analysis that was made.

    Args:
        drawn: candidates to a positive among the labels of mutual information.
    """
    return _information(analysis, drawn) + _conflict(analysis) + _space(analysis) + _theorem(analysis)


def _information(analysis: dict[str, float], drawn: int) -> list[str]:
    found = _grouped(analysis, "information")
    rows = [
        [
            model_title(model),
            task,
            *(f"{f[f'{name}_nats']:.3f} ± {f[f'{name}_std']:.3f}" for name in ("mine", "infonce", "smile")),
            *(f"{f[f'{name}_nats']:.3f} ({f[f'{name}_bits']:.3f})" for name in ("exact", "label")),
            f"{f['bound_nats']:.3f}",
            f"{f['raw_score_nats']:.3f}",
            f"{f['samples']:.0f}",
            *(_gap(f, f"{of}_gap") for of in ("exact", "label")),
        ]
        for (model, task), f in found.items()
    ]
    head = ["model", "task", "I(X; Ŷ) by MINE", "by InfoNCE", "by SMILE", "exact, whole input", "I(Ŷ; Y) by counts",
            "bound H(Ŷ)", "raw score: critic-limited, no finite bound", "samples", "GenSR − it, exact",
            "GenSR − it, I(Ŷ; Y)"]  # fmt: skip
    note = (
        "A yes-or-no answer holds at most ln 2 = .693 nats, one bit: the paper's .85 to .94 (Table 5) can be bits and "
        f"cannot be nats. Labels stand {drawn}:1, drawn candidates to positives."
    )
    title = "## What an answer tells about its input, and about the label (§6.4.1): nats (bits)"
    compared = any(row[-1] or row[-2] for row in rows)
    return [title, "", *grid(head, rows), "", f"{note} {_TESTED}" if compared else note, ""] if rows else []


def _gap(found: dict[str, Any], name: str, digits: int = 3) -> str:
    """A difference, its interval and, where it was tested, its p; empty where there is none."""
    if found.get(name) is None:
        return ""
    value, low, high = (found[f"{name}{end}"] for end in ("", "_low", "_high"))
    p = found.get(f"{name}_p_holm")
    said = "" if p is None else ", p < .001" if p < 0.001 else f", p {p:.3f}"
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{said}"


def _conflict(analysis: dict[str, float]) -> list[str]:
    names = ("mean_cosine", "std_cosine", "min_cosine", "share_negative", "mean_halves", "share_negative_halves",
             "mean_null", "share_negative_null")  # fmt: skip
    rows = [
        [
            model_title(model),
            *(f"{found[name]:.3f}" for name in names),
            f"{found['gap']:+.3f} ± {found['gap_error']:.3f}",
            f"{found['mean_norm_recommendation']:.2g}, {found['mean_norm_search']:.2g}",
            f"{found['probes']:.0f}",
            _gap(found, "free", 2),
            _gap(found, "less", 2),
        ]
        for (model,), found in _grouped(analysis, "gradient").items()
    ]
    title = "## Do the tasks pull together (§6.5)? Cosine between their gradients along training"
    head = ["model", "mean", "standard deviation", "lowest", "share below 0", "on half the rows", "below 0",
            "one task's two halves", "below 0", "tasks − one task", "norms rec, search", "batches",
            "tasks, less noise", "GenSR − it"]  # fmt: skip
    note = [_FREE, ""] if any(row[-2] for row in rows) else []
    return [title, "", *grid(head, rows), "", *note] if rows else []


def _space(analysis: dict[str, float]) -> list[str]:
    names = ("probe_accuracy", "chance", "silhouette", "overlap", "overlap_chance")
    rows = [
        [model_title(what), *(f"{found[name]:.3f}" for name in names)]
        for (what,), found in _grouped(analysis, "space").items()
    ]
    title = "## Do the tasks lie apart (§6.4.2)? Input, and hidden states of the models"
    head = ["what", "linear probe of the task", "chance", "silhouette", "overlap of densities", "chance"]
    return [title, "", *grid(head, rows), ""] if rows else []


def _theorem(analysis: dict[str, float]) -> list[str]:
    found = _grouped(analysis, "theorem")
    rows = [
        [
            world,
            n,
            *(f"{f[f'{side}_error']:.2f}" for side in ("generative", "discriminative")),
            f"{f['error_holds']:.0%}",
            *(
                cell
                for kind in ("gaussian", "label")
                for cell in (
                    *(f"{f[f'{side}_{kind}']:.3f}" for side in ("generative", "discriminative", "true")),
                    f"{f[f'{kind}_holds']:.0%}",
                )
            ),
        ]
        for (world, n), f in sorted(found.items(), key=lambda row: (row[0][0], int(row[0][1])))
    ]
    head = ["coordinates", "samples", "error, generative", "discriminative", "Eq. 14 holds",
            "Eq. 15, generative", "discriminative", "at w*", "Eq. 4 holds",
            "I(Ŷ; Y), generative", "discriminative", "at w*", "Eq. 4 holds"]  # fmt: skip
    title = (
        "## Theorem 4.1 in its Gaussian world, simulated: parameter error, and both sides of Eq. 4 in nats"
    )
    return [title, "", *grid(head, rows), ""] if rows else []


def segments(rows: list[dict[str, Any]]) -> list[str]:
    """NDCG@10 of every model, a table per task and a row per segment; GenSR's with its 95% interval, by user, and its
    lead over the best other model."""
    lines: list[str] = []
    for task in TASKS:
        mine = [row for row in rows if row["task"] == task]
        if not mine:
            continue
        models = list(dict.fromkeys(row["model"] for row in mine))
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for row in mine:
            of_segment = cells.setdefault((row["by"], row["segment"]), {"samples": str(row["samples"])})
            error = row["ndcg_at_10_error"]  # None for a single user
            shown = row["model"] == "gensr" and error is not None
            told = f" ± {1.96 * error:.3f}" if shown else ""
            of_segment[row["model"]] = f"{row['ndcg_at_10']:.4f}{told}"
            if lead := _gap(row, "lead", 4):
                of_segment[_LEAD] = f"{lead} ({model_title(row['baseline'])})"
        compared = [_LEAD] if any(_LEAD in found for found in cells.values()) else []
        body = [
            [by, segment, found["samples"], *(found.get(column, "") for column in (*models, *compared))]
            for (by, segment), found in cells.items()
        ]
        head = ["by", "segment", "samples", *(model_title(model) for model in models), *compared]
        title = f"## Where it fails: {task}, N@10 by segment (GenSR's ± its 95% interval, by user)"
        lines += [title, "", *grid(head, body), "", *([_LEAD_NOTE, ""] if compared else [])]
    return lines


def _training(training: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        [
            model_title(name),
            f"{t['epochs']:.1f}",
            str(t["steps"]),
            f"{t['best_metric']:.4f}",
            _SHOWN[t.get("chosen_by", "ndcg_at_5")],
            t["stopped"],
        ]
        for name, t in training.items()
    ]
    head = ["model", "epochs", "steps", "best valid", "of", "stopped because"]
    return ["## Training", "", *grid(head, rows), ""] if rows else []


def _grouped(flat: dict[str, float], kind: str) -> dict[tuple[str, ...], dict[str, float]]:
    """``kind/a/b/name: value`` as ``{(a, b): {name: value}}``."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for path, value in flat.items():
        first, *group, name = path.split("/")
        if first == kind:
            found.setdefault(tuple(group), {})[name] = value
    return found


def of_users(samples: int, compared: Iterable[Mapping[str, float]]) -> str:
    """How many test samples, and of how many users where some have several: what is resampled."""
    users = next((int(row["users"]) for row in compared if "users" in row), samples)
    return f"{samples} test samples" + (f" of {users} users" if users < samples else "")


def _difference(summary: dict[str, Any], task: str, name: str) -> tuple[str, str]:
    """GenSR minus a model with its interval, and the corrected p of the paired t-test."""
    found = summary["comparisons"].get(task, {}).get(name)
    if not found:
        return "", ""
    interval = f"{found['mean_difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
    return interval, f"{found['p_holm']:.2g}" if "p_holm" in found else ""
