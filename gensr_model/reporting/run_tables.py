"""The tables and figures of a report, each from its facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.evaluation.diagnosis import FEWEST_USERS
from gensr_model.reporting import paper
from gensr_model.reporting.charts import COLORS, Figure, Interval, Series, interval_chart, line_chart
from gensr_model.reporting.facts import how_it_came, in_order
from gensr_model.reporting.findings import VERDICTS, tested, verdict
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import (
    Cell,
    Column,
    Table,
    count,
    interval,
    mark_best,
    memory,
    number,
    p_value,
    seconds,
    text,
)

METRICS = {
    "recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "recall_at_20": "R@20",
    "ndcg_at_5": "N@5", "ndcg_at_10": "N@10", "ndcg_at_20": "N@20", "mrr": "MRR",
}  # fmt: skip
_SAYS = {
    "R": "share of positives among the first {}",
    "N": "NDCG among the first {}: a higher place counts more",
}
# Models whose curves are drawn: lines of every colour, dashed and dotted; the ablation has 15 variants.
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


def segments(facts: RunFacts, found_rows: Sequence[dict[str, Any]], name: str = "segments") -> list[Table]:
    """On each kind of user, target and query NDCG@10 of every model, GenSR's with its 95% interval by user, and where
    it was compared its lead over the best other model: two tables per task."""
    made = []
    for task in TASKS:
        rows = [row for row in found_rows if row["task"] == task]
        models = in_order({row["model"]: row for row in rows})
        found: dict[tuple[str, str], dict[str, Cell]] = {}
        for row in rows:
            kind = found.setdefault((row["by"], row["segment"]), {"samples": count(row["samples"])})
            kind[row["model"]] = number(row["ndcg_at_10"])
            if row["model"] == "gensr" and (error := row.get("ndcg_at_10_error")) is not None:
                told = f"{kind['gensr'].text} ± {1.96 * error:.3f}"
                kind["gensr"] = Cell(told, row["ndcg_at_10"])
        body = [
            [_segment(by, segment), kind["samples"], *(kind.get(m, number(None)) for m in models)]
            for (by, segment), kind in found.items()
        ]
        columns = [
            Column("Segment", False),
            *(Column(h, True) for h in ("Samples", *map(facts.title, models))),
        ]
        if body:
            caption = f"{task.capitalize()}: NDCG@10 by segment of the test samples; GenSR's ± its 95% interval by user"
            made.append(Table(f"{name}-{task}", caption, columns, body))
        # Pages can be made again of older runs, which compared no segments.
        if led := [row for row in rows if row.get("lead") is not None]:
            made.append(_leads(facts, led, f"{name}-leads-{task}", task))
    return made


def _segment(by: str, segment: str) -> Cell:
    return text(f"{by}: {segment}")


def _leads(facts: RunFacts, rows: Sequence[dict[str, Any]], name: str, task: str) -> Table:
    """GenSR against the best other model of every segment."""
    columns = [Column("Segment", False), Column("Samples"), Column("GenSR"), Column("Best other", False),
               Column("GenSR − it", says="difference in N@10, paired"), Column(f"{facts.confidence} interval"),
               Column("p (Holm)")]  # fmt: skip
    body = []
    for row in rows:
        value, p = row["lead"], row["lead_p_holm"]
        body.append(
            [
                _segment(row["by"], row["segment"]),
                count(row["samples"]),
                number(row["ndcg_at_10"]),
                text(facts.title(row["baseline"])),
                number(value, 4, sign=True, mark=VERDICTS[tested(value, p, facts)]),
                interval(value, row["lead_low"], row["lead_high"]),
                p_value(p),
            ]
        )
    return Table(name, f"{task.capitalize()}: GenSR's lead by segment", columns, body, note=_LEAD_NOTE)


_LEAD_NOTE = (
    "The best other model of each segment is chosen on its samples: where it is ahead, p is corrected for that, the "
    "interval is not. Paired bootstrap over users; t-test by user, corrected for all segments of both tasks, and none "
    f"of fewer than {FEWEST_USERS} users."
)


def results(facts: RunFacts, task: str) -> Table:
    """All models on one task, among the frozen candidates; GenSR minus each with its interval."""
    return ranking(facts, facts.summary, task, "results", f"{task.capitalize()}, all models")


def ranking(facts: RunFacts, summary: dict[str, Any], task: str, name: str, caption: str) -> Table:
    """The models of a summary, of the run or of a study, on one task; GenSR minus each with its interval."""
    rows = summary["results"][task]
    compared = summary["comparisons"].get(task, {})
    columns = [
        Column("Model", False),
        *(Column(short, says=_says(short)) for short in METRICS.values()),
        Column("GenSR − it", says="difference in N@10, paired"),
        Column(f"{facts.confidence} interval", says="paired bootstrap over test users"),
        Column("p (Holm)", says="paired t-test by user, two-sided, corrected for all models on both tasks"),
    ]
    body = []
    for model in in_order(rows):
        row, found = rows[model], compared.get(model)
        mark = VERDICTS[verdict(found)] if found else ""
        body.append(
            [
                text(facts.title(model)),
                *(number(row[m]) for m in METRICS),
                number(found["mean_difference"], 4, sign=True, mark=mark) if found else Cell(""),
                interval(found["mean_difference"], found["low"], found["high"]) if found else Cell(""),
                p_value(found.get("p_holm")) if found else Cell(""),
            ]
        )
    return Table(f"{name}-{task}", caption, columns, mark_best(body, range(1, 1 + len(METRICS))))


def differences(facts: RunFacts, summary: dict[str, Any], task: str) -> Figure | None:
    """GenSR minus every other model of a summary, with intervals."""
    found = summary["comparisons"].get(task, {})
    rows = [
        Interval(facts.title(name), f["mean_difference"], f["low"], f["high"], verdict(f))
        for name, f in ((name, found[name]) for name in in_order(found))
    ]
    if not rows:
        return None
    title = f"{task.capitalize()}, GenSR minus each"
    note = "Right of the line GenSR is better; an interval across it tells no difference."
    return Figure(interval_chart(title, rows, "difference in NDCG@10"), title, note)


def papers_rows(
    facts: RunFacts, known: paper.Rows, task: str, ours: dict[str, float], name: str
) -> Table | None:
    """The paper's rows for this task under our GenSR's; none for a run on other data."""
    if not paper.is_papers_data(facts):
        return None
    columns = [Column("Model", False), *(Column(METRICS[m]) for m in paper.METRICS)]
    rows = [[text("GenSR, this run"), *(number(ours[m]) for m in paper.METRICS)]] if ours else []
    for model, values in known[facts.summary["format"]][task].items():
        rows.append([text(f"{model}, the paper"), *(number(v) for v in values)])
    return Table(f"{name}-{task}", f"{task.capitalize()}, beside the paper", columns, rows)


def learning(facts: RunFacts) -> list[Figure]:
    """Validation per task, then the loss and its parts per model; a run without a curve has none.

    Of more models than a figure can show there are none at all: MLflow has the curves of each.
    """
    if len(facts.training) > _DRAWN:
        return []
    figures = []
    for task in TASKS:
        key = f"{task}/ndcg_at_5"
        lines = [
            Series(
                facts.title(name),
                [(v["step"], v[key]) for v in told["validations"] if key in v],
                _color(name, n),
            )
            for n, (name, told) in enumerate(facts.training.items())
        ]
        lines = [line for line in lines if line.points]
        if lines:
            title = f"Validation NDCG@5, {task}"
            figures.append(Figure(line_chart(title, lines), title))
    for name, told in facts.training.items():
        curve = told.get("curve", [])
        names = [n for n in ("loss", *_COLORS) if curve and n in curve[0]]
        lines = [
            Series(part, [(p["step"], p[part]) for p in curve if part in p], _color(part, n))
            for n, part in enumerate(dict.fromkeys(names))
        ]
        if lines:
            title = f"Training loss, {facts.title(name)}"
            figures.append(Figure(line_chart(title, lines), title))
    norms = [
        Series(
            facts.title(name),
            [(p["step"], p["gradient_norm"]) for p in told.get("curve", [])],
            _color(name, n),
        )
        for n, (name, told) in enumerate(facts.training.items())
    ]
    norms = [line for line in norms if line.points]
    if norms:
        figures.append(
            Figure(line_chart("Gradient norm before clipping", norms), "Gradient norm before clipping")
        )
    return figures


def training(facts: RunFacts) -> Table:
    """How training ended, per model."""
    columns = [Column("Model", False), Column("Epochs"), Column("Steps"),
               Column("Best valid", says="mean over the trained tasks"), Column("of", False),
               Column("Validations"), Column("Stopped because", False)]  # fmt: skip
    rows = [
        [text(facts.title(name)), number(t["epochs"], 1), count(t["steps"]), number(t["best_metric"]),
         text(METRICS[t.get("chosen_by", "ndcg_at_5")]),
         count(len(t["validations"])), text(t["stopped"])]
        for name, t in facts.training.items()
    ]  # fmt: skip
    return Table("training-table", "How training ended", columns, rows)


def speed(facts: RunFacts) -> Table | None:
    """Per model: its size, how fast it trains and ranks, and the memory of both."""
    by_label = {stage["label"]: stage for stage in facts.stages}
    config = facts.summary["config"]
    columns = [Column("Model", False), Column("Parameters"), Column("Training time"),
               Column("Steps/s"), Column("Rows/s", says="positives and negatives that training reads"),
               Column("Peak, training"),
               Column("Ranking time"), Column("Candidates/s", says="scored, with reading and loading the model"),
               Column("Peak, ranking")]  # fmt: skip
    rows = []
    ranked = _per_model(facts)
    for name in in_order(ranked):
        tasks = ranked[name]
        baseline, rank = by_label.get(f"train-baseline-{name}"), by_label.get(f"evaluate-{name}")
        train = baseline or by_label.get(f"finetune-{name}")
        told = facts.training.get(name)
        per_second = (
            told["steps"] / told["seconds"] if told and told["seconds"] and not told["resumed_at"] else None
        )
        batch = config["train"]["batch_size"] * config["train"]["accumulation"]
        positives = config["rerank"]["batch_size"] if baseline else batch
        rows_per_step = positives * (1 + config["train"]["negatives"])
        scored = sum(tasks.values()) * (1 + facts.summary["negatives"])
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
    """Every stage: how long it took, and whether this run built it."""
    columns = [Column("Stage", False), Column("Time"), Column("In this run", False), Column("Peak memory")]
    rows = [
        [
            text(s["label"]),
            seconds(s["seconds"]),
            text(how_it_came(s)),
            memory(s["peak_bytes"]),
        ]
        for s in facts.stages
    ]
    total = sum(s["seconds"] for s in facts.stages)
    built = sum(s["seconds"] for s in facts.stages if not s["reused"])
    note = (
        f"In all {seconds(total).text}, of which this run spent {seconds(built).text}; "
        "a reused stage tells what it took when it was built."
    )
    return Table("stages", "Time per stage", columns, rows, note)


def _per_model(facts: RunFacts) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for task, rows in facts.summary["results"].items():
        for name, row in rows.items():
            found.setdefault(name, {})[task] = row["samples"]
    return found


def _color(name: str, place: int) -> int:
    return _COLORS.get(name, 1 + place % _DRAWN)


def _says(short: str) -> str:
    kind, _, cutoff = short.partition("@")
    return _SAYS[kind].format(cutoff) if cutoff else "mean of 1/place"


def columns_of(facts: RunFacts) -> Sequence[Table]:
    """The profile, a table per raw or prepared table."""
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
