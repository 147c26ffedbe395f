"""The tables and figures of a report, made from its facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.evaluation.comparison_table import COLUMNS
from gensr_model.evaluation.diagnosis import FEWEST_USERS
from gensr_model.reporting import paper
from gensr_model.reporting.charts import COLORS, Figure, Interval, Series, interval_chart, line_chart
from gensr_model.reporting.findings import VERDICTS, tested, verdict
from gensr_model.reporting.model_names import in_order
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import (
    Cell,
    Column,
    Table,
    count,
    difference,
    mark_best,
    memory,
    number,
    seconds,
    text,
)

METRICS = {
    "recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "recall_at_20": "R@20",
    "ndcg_at_5": "N@5", "ndcg_at_10": "N@10", "ndcg_at_20": "N@20", "mrr": "MRR",
}  # fmt: skip
_HINTS = {"R": "share of positives among the first {}", "N": "NDCG among the first {}: a higher place counts more"}
# Largest number of models with curves: every color as line, dashed and dotted. The ablation has 15 variants.
_DRAWN = 3 * COLORS
_COLORS = {
    "gensr": 1,
    "two_head": 2,
    "unisar": 3,
    "loss": 1,
    "generation": 3,
    "contrastive": 4,
    "recommendation": 3,
    "search": 4,
}


def segments(facts: RunFacts, rows: Sequence[dict[str, Any]], name: str = "segments") -> list[Table]:
    """Two tables per task: NDCG@10 of every model by segment, and GenSR's lead by segment.

    A segment is a kind of user, target or query. GenSR's NDCG@10 has its 95% interval by user. The lead is over the
    best other model, where it was compared.
    """
    made = []
    for task in TASKS:
        mine = [row for row in rows if row["task"] == task]
        models = in_order({row["model"]: row for row in mine})
        cells: dict[tuple[str, str], dict[str, Cell]] = {}
        for row in mine:
            segment = cells.setdefault((row["by"], row["segment"]), {"samples": count(row["samples"])})
            segment[row["model"]] = number(row["ndcg_at_10"])
            if row["model"] == "gensr" and (error := row.get("ndcg_at_10_error")) is not None:
                shown = f"{segment['gensr'].text} ± {1.96 * error:.3f}"
                segment["gensr"] = Cell(shown, row["ndcg_at_10"])
        body = [
            [text(f"{by}: {segment}"), values["samples"], *(values.get(m, number(None)) for m in models)]
            for (by, segment), values in cells.items()
        ]
        columns = [Column("Segment", False), *map(Column, ("Samples", *map(facts.title, models)))]
        if body:
            caption = f"{task.capitalize()}: NDCG@10 by segment of the test samples; GenSR's ± its 95% interval by user"
            made.append(Table(f"{name}-{task}", caption, columns, body))
        # Pages can be made again of older runs, which compared no segments.
        if led := [row for row in mine if row.get("lead") is not None]:
            made.append(_leads(facts, led, f"{name}-leads-{task}", task))
    return made


def _leads(facts: RunFacts, rows: Sequence[dict[str, Any]], name: str, task: str) -> Table:
    """GenSR against the best other model of every segment."""
    columns = [Column("Segment", False), Column("Samples"), Column("GenSR"), Column("Best other", False),
               Column("GenSR − it", hint="difference in N@10, paired"), Column(f"{facts.confidence} interval"),
               Column("p (Holm)")]  # fmt: skip
    body = []
    for row in rows:
        lead, p = row["lead"], row["lead_p_holm"]
        body.append(
            [text(f"{row['by']}: {row['segment']}"), count(row["samples"]), number(row["ndcg_at_10"]),
             text(facts.title(row["baseline"])),
             *difference(lead, row["lead_low"], row["lead_high"], p, VERDICTS[tested(lead, p, facts)])]
        )  # fmt: skip
    return Table(name, f"{task.capitalize()}: GenSR's lead by segment", columns, body, note=_LEAD_NOTE)


_LEAD_NOTE = (
    "The best other model is chosen on the segment's own samples. Where that model leads, p is corrected for the "
    "choice and the interval is not. Intervals are of a paired bootstrap over users. p is of a t-test by user, "
    f"corrected for all segments of both tasks. There is no p of fewer than {FEWEST_USERS} users."
)


def results(facts: RunFacts, summary: dict[str, Any], task: str, name: str) -> Table:
    """The models of a summary, of a run or a study, on one task. GenSR's lead over each has its interval."""
    rows = summary["results"][task]
    compared = summary["comparisons"].get(task, {})
    columns = [
        Column("Model", False),
        *(Column(short, hint=_hint(short)) for short in METRICS.values()),
        Column("GenSR − it", hint="difference in N@10, paired"),
        Column(f"{facts.confidence} interval", hint="paired bootstrap over test users"),
        Column("p (Holm)", hint="paired t-test by user, two-sided, corrected for all models on both tasks"),
    ]
    body = []
    for model in in_order(rows):
        row, against = rows[model], compared.get(model)
        gap = [Cell("")] * 3
        if against:
            gap = difference(*_bounds(against), against.get("p_holm"), VERDICTS[verdict(against)])
        body.append([text(facts.title(model)), *(number(row[m]) for m in METRICS), *gap])
    samples = int(next(iter(rows.values()))["samples"])
    among = summary.get("among") or facts.negatives(task, "negatives").removesuffix(" (uniform)")
    caption = f"{task.capitalize()}: {users_text(samples, compared.values())}, 1 positive among {among}"
    seeds = facts.summary["config"]["ablation"]["seeds"] if "ablation" in summary else ()
    note = f"GenSR − it: the mean of seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else ""
    return Table(f"{name}-{task}", caption, columns, mark_best(body, range(1, 1 + len(METRICS))), note)


def users_text(samples: int, compared: Iterable[Mapping[str, float]]) -> str:
    """The number of test samples, and of users where some users have several."""
    users = next((int(row["users"]) for row in compared if "users" in row), samples)
    return f"{samples:,} test samples" + (f" of {users:,} users" if users < samples else "")


def _bounds(compared: dict[str, float]) -> tuple[float, float, float]:
    return compared["mean_difference"], compared["low"], compared["high"]


def differences(facts: RunFacts, summary: dict[str, Any], task: str) -> list[Figure]:
    """GenSR minus every other model of a summary, with intervals. None where nothing was compared."""
    compared = summary["comparisons"].get(task, {})
    rows = [
        Interval(facts.title(name), *_bounds(compared[name]), verdict(compared[name])) for name in in_order(compared)
    ]
    if not rows:
        return []
    title = f"{task.capitalize()}, GenSR minus each"
    note = "Right of the line GenSR is better. An interval that crosses the line shows no significant difference."
    return [Figure(interval_chart(title, rows, "difference in NDCG@10"), title, note)]


def papers_rows(facts: RunFacts, known: paper.Rows, task: str, ours: dict[str, float], name: str) -> list[Table]:
    """The paper's rows for this task under our GenSR's. None for a run on other data."""
    if not paper.is_papers_data(facts):
        return []
    columns = [Column("Model", False), *(Column(METRICS[m]) for m in COLUMNS)]
    rows = [[text("GenSR, this run"), *(number(ours[m]) for m in COLUMNS)]] if ours else []
    for model, values in paper.for_format(known, facts)[task].items():
        rows.append([text(f"{model}, the paper"), *(number(v) for v in values)])
    impossible = [place[2] for place, _, place_of_figures in paper.papers_cells(known)
                  if place_of_figures == "outside" and place[:2] == (paper.data_of(facts), task)]  # fmt: skip
    note = f"No ranking of one positive per sample can give these figures of the paper: {', '.join(impossible)}."
    caption = f"{task.capitalize()}, beside the paper"
    return [Table(f"{name}-{task}", caption, columns, rows, note if impossible else "")]


def learning(facts: RunFacts) -> list[Figure]:
    """Validation per task, then the loss and its parts per model. A run without a curve has none.

    There are no curves for more models than a figure can show; MLflow has the curves of each.
    """
    if len(facts.training) > _DRAWN:
        return []
    drawn = [_curves(f"Validation NDCG@5, {task}", _lines(facts, "validations", f"{task}/ndcg_at_5")) for task in TASKS]
    for name, trained in facts.training.items():
        curve = trained.get("curve", [])
        parts = dict.fromkeys(n for n in ("loss", *_COLORS) if curve and n in curve[0])
        lines = [Series(part, _points(curve, part), _color(part, n)) for n, part in enumerate(parts)]
        drawn.append(_curves(f"Training loss, {facts.title(name)}", lines))
    drawn.append(_curves("Gradient norm before clipping", _lines(facts, "curve", "gradient_norm")))
    return [figure for figure in drawn if figure]


def _lines(facts: RunFacts, where: str, key: str) -> list[Series]:
    """A value along the training of every model."""
    return [
        Series(facts.title(name), _points(trained.get(where, []), key), _color(name, n))
        for n, (name, trained) in enumerate(facts.training.items())
    ]


def _points(rows: Sequence[dict[str, float]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in rows if key in row]


def _curves(title: str, lines: Sequence[Series]) -> Figure | None:
    lines = [line for line in lines if line.points]
    return Figure(line_chart(title, lines), title) if lines else None


def training(facts: RunFacts) -> Table:
    """How training ended, per model."""
    columns = [Column("Model", False), Column("Epochs"), Column("Steps"),
               Column("Best valid", hint="mean over the trained tasks"), Column("of", False),
               Column("Validations"), Column("Stopped because", False)]  # fmt: skip
    rows = [
        [text(facts.title(name)), number(t["epochs"], 1), count(t["steps"]), number(t["best_metric"]),
         text(METRICS[t.get("chosen_by", "ndcg_at_5")]),
         count(len(t["validations"]) if "validations" in t else None), text(t["stopped"])]
        for name, t in facts.training.items()
    ]  # fmt: skip
    return Table("training-table", "How training ended", columns, rows)


def speed(facts: RunFacts) -> Table | None:
    """Per model: its size, its speed in training and ranking, and the memory of both."""
    by_label = {stage["label"]: stage for stage in facts.stages}
    config = facts.summary["config"]
    columns = [Column("Model", False), Column("Parameters"), Column("Training time"),
               Column("Steps/s"), Column("Rows/s", hint="positives and negatives that training reads"),
               Column("Peak, training"),
               Column("Ranking time"), Column("Candidates/s", hint="scored, with reading and loading the model"),
               Column("Peak, ranking")]  # fmt: skip
    rows = []
    ranked = _per_model(facts)
    for name in in_order(ranked):
        tasks = ranked[name]
        baseline, rank = by_label.get(f"train-baseline-{name}"), by_label.get(f"evaluate-{name}")
        train = baseline or by_label.get(f"finetune-{name}")
        run = facts.training.get(name)
        timed = run and run["seconds"] and not run["resumed_at"]
        per_second = run["steps"] / run["seconds"] if run and timed else None
        batch = config["train"]["batch_size"] * config["train"]["accumulation"]
        positives = config["rerank"]["batch_size"] if baseline else batch
        rows_per_step = positives * (1 + config["train"]["negatives"])
        scored = sum(tasks.values()) * (facts.median_list() or 1 + facts.summary["negatives"])
        rows.append(
            [
                text(facts.title(name)),
                count(train["metrics"].get("parameters") if train else None),
                seconds(train["seconds"] if train else None),
                number(per_second, 1),
                count(per_second * rows_per_step if per_second else None),
                memory(train["peak_bytes"] if train else None),
                seconds(rank["seconds"] if rank else None),
                count(scored / rank["seconds"] if rank and rank["seconds"] else None),
                memory(rank["peak_bytes"] if rank else None),
            ]
        )
    note = "Memory is the highest resident memory of the whole process, libraries and data included."
    if gpu := max([s["peak_gpu_bytes"] for s in facts.stages], default=0):
        note += f" On the GPU torch allocated at most {memory(gpu).text}."
    return Table("speed", "Speed and memory", columns, rows, note) if rows else None


def stages(facts: RunFacts) -> Table:
    """Every stage: its duration, and whether this run built it."""
    columns = [Column("Stage", False), Column("Time"), Column("In this run", False), Column("Peak memory")]
    rows = [
        [text(s["label"]), seconds(s["seconds"]), text(_how_it_came(s)), memory(s.get("peak_bytes"))]
        for s in facts.stages
    ]
    total = sum(s["seconds"] for s in facts.stages)
    built = sum(s["seconds"] for s in facts.stages if not s["reused"])
    note = (
        f"In all {seconds(total).text}, of which this run spent {seconds(built).text}; "
        "a reused stage shows its time when it was built."
    )
    return Table("stages", "Time per stage", columns, rows, note)


def _how_it_came(stage: dict[str, Any]) -> str:
    """How a run got a stage, from its "reused" and "built_on"."""
    if stage.get("built_on"):
        return f"reused, built on {stage['built_on']}"
    return "reused" if stage["reused"] else "built"


def _per_model(facts: RunFacts) -> dict[str, dict[str, float]]:
    samples: dict[str, dict[str, float]] = {}
    for task, rows in facts.summary["results"].items():
        for name, row in rows.items():
            samples.setdefault(name, {})[task] = row["samples"]
    return samples


def _color(name: str, place: int) -> int:
    return _COLORS.get(name, 1 + place % _DRAWN)


def _hint(short: str) -> str:
    kind, _, cutoff = short.partition("@")
    return _HINTS[kind].format(cutoff) if cutoff else "mean of 1/place"


def profile_columns(facts: RunFacts) -> Sequence[Table]:
    """The profile, one table per raw or prepared table."""
    groups: dict[str, list[dict[str, object]]] = {}
    for row in facts.profile:
        groups.setdefault(row["table"], []).append(row)
    columns = [Column("Column", False), Column("Type", False), Column("Nulls"), Column("Distinct, about"),
               Column("Least", False), Column("Median", False), Column("Greatest", False)]  # fmt: skip
    shown = ("min", "median", "max")
    return [
        Table(f"profile-{name}", f"{name}: {rows[0]['rows']:,} rows", columns,
              [[text(r["column"]), text(r["type"]), count(r["nulls"]), count(r["distinct_about"]),  # type: ignore[arg-type]
                *(text(_short(r[n])) for n in shown)] for r in rows])
        for name, rows in groups.items()
    ]  # fmt: skip


def _short(value: object) -> str:
    words = "" if value is None else str(value)
    return words if len(words) <= 40 else f"{words[:39]}…"
