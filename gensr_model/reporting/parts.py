"""The tables and figures of a report, each from its facts."""

from __future__ import annotations

from collections.abc import Sequence

from gensr_model.config import TASKS
from gensr_model.reporting import paper
from gensr_model.reporting.charts import Figure, Interval, Series, interval_chart, line_chart, smooth
from gensr_model.reporting.facts import Facts, in_order, model_title
from gensr_model.reporting.findings import verdict
from gensr_model.reporting.tables import Cell, Column, Table, count, mark_best, memory, number, seconds, text

METRICS = {
    "recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "recall_at_20": "R@20",
    "ndcg_at_5": "N@5", "ndcg_at_10": "N@10", "ndcg_at_20": "N@20", "mrr": "MRR",
}  # fmt: skip
_SAYS = {
    "R": "share of positives among the first {}",
    "N": "NDCG among the first {}: a higher place counts more",
}
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
_VERDICTS = {"good": "good", "bad": "bad", "open": "muted"}


def segments(facts: Facts) -> list[Table]:
    """NDCG@10 of every model on each kind of user, target and query; a table per task."""
    made = []
    for task in TASKS:
        rows = [row for row in facts.segments if row["task"] == task]
        models = in_order({row["model"]: row for row in rows})
        found: dict[tuple[str, str], dict[str, Cell]] = {}
        for row in rows:
            kind = found.setdefault((row["by"], row["segment"]), {"samples": count(row["samples"])})
            kind[row["model"]] = number(row["ndcg_at_10"])
        body = [
            [text(f"{by}: {segment}"), kind["samples"], *(kind.get(m, number(None)) for m in models)]
            for (by, segment), kind in found.items()
        ]
        columns = [
            Column("Segment", False),
            *(Column(h, True) for h in ("Samples", *map(model_title, models))),
        ]
        if body:
            caption = f"{task.capitalize()}: NDCG@10 by segment of the test samples"
            made.append(Table(f"segments-{task}", caption, columns, body))
    return made


def results(facts: Facts, task: str) -> Table:
    """All models on one task; GenSR minus each with its interval."""
    rows = facts.summary["results"][task]
    compared = facts.summary["comparisons"].get(task, {})
    confidence = f"{100 * facts.summary['config']['retrain']['confidence']:g}%"
    columns = [
        Column("Model", False),
        *(Column(short, says=_says(short)) for short in METRICS.values()),
        Column("GenSR − it", says="difference in N@10, paired"),
        Column(f"{confidence} interval", says="paired bootstrap over test samples"),
        Column("p (Holm)", says="paired t-test, two-sided, corrected for all models on both tasks"),
    ]
    body = []
    for name in in_order(rows):
        row, found = rows[name], compared.get(name)
        mark = _VERDICTS[verdict(found)] if found else ""
        body.append(
            [
                text(model_title(name)),
                *(number(row[m]) for m in METRICS),
                _marked(number(found["mean_difference"], 4, sign=True), mark) if found else Cell(""),
                Cell(_interval(found), found["mean_difference"]) if found else Cell(""),
                _p(found.get("p_holm")) if found else Cell(""),
            ]
        )
    return Table(
        f"results-{task}",
        f"{task.capitalize()}, all models",
        columns,
        mark_best(body, range(1, 1 + len(METRICS))),
    )


def differences(facts: Facts, task: str) -> Figure | None:
    """GenSR minus every other model, with intervals."""
    found = facts.summary["comparisons"].get(task, {})
    rows = [
        Interval(model_title(name), f["mean_difference"], f["low"], f["high"], verdict(f))
        for name, f in ((name, found[name]) for name in in_order(found))
    ]
    if not rows:
        return None
    title = f"{task.capitalize()}, GenSR minus each"
    note = "Right of the line GenSR is better; an interval across it tells no difference."
    return Figure(interval_chart(title, rows, "difference in NDCG@10"), title, note)


def papers_results(facts: Facts, task: str) -> Table:
    """The paper's rows for this task; only for a run on the paper's data."""
    columns = [Column("Model", False), *(Column(METRICS[m]) for m in paper.METRICS)]
    ours = facts.summary["results"][task]["gensr"]
    rows = [[text("GenSR, this run"), *(number(ours[m]) for m in paper.METRICS)]]
    for name, values in paper.RANKING[facts.summary["format"]][task].items():  # type: ignore[index]
        rows.append([text(f"{name}, the paper"), *(number(v) for v in values)])
    return Table(f"paper-{task}", f"{task.capitalize()}, beside the paper", columns, rows)


def learning(facts: Facts) -> list[Figure]:
    """Validation per task, then the loss and its parts per model; a run without a curve has none."""
    figures = []
    for task in TASKS:
        key = f"{task}/ndcg_at_5"
        lines = [
            Series(
                model_title(name),
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
            title = f"Training loss, {model_title(name)}"
            figures.append(Figure(line_chart(title, lines), title))
    norms = [
        Series(
            model_title(name),
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


def conflict(facts: Facts) -> Figure | None:
    """Figure 4: cosine of the task gradients, each probe faint and their running mean."""
    lines: list[Series] = []
    for n, (name, probes) in enumerate(facts.gradients.items()):
        points = [(p["step"], p["cosine"]) for p in probes]
        lines += [
            Series("", points, _color(name, n), faint=True),
            Series(model_title(name), smooth(points), _color(name, n)),
        ]
    if not any(line.points for line in lines):
        return None
    title = "Cosine between the tasks' gradients"
    note = "Below 0 the tasks pull apart. Shared self-attention, same mini-batch. Faint: each probe; firm: their mean."
    return Figure(line_chart(title, lines, y_range=(-1.05, 1.05), zero=True), title, note)


def training(facts: Facts) -> Table:
    """How training ended, per model."""
    columns = [Column("Model", False), Column("Epochs"), Column("Steps"),
               Column("Best valid N@5", says="mean of both tasks"),
               Column("Validations"), Column("Stopped because", False)]  # fmt: skip
    rows = [
        [text(model_title(name)), number(t["epochs"], 1), count(t["steps"]), number(t["best_metric"]),
         count(len(t["validations"])), text(t["stopped"])]
        for name, t in facts.training.items()
    ]  # fmt: skip
    return Table("training-table", "How training ended", columns, rows)


def information(facts: Facts) -> Table | None:
    """Table 5 in nats and bits."""
    columns = [Column("Model", False), Column("Task", False), Column("MINE, nats", says="on pooled features, held out"),
               Column("± seeds", says="standard deviation over seeds"), Column("MINE, bits"),
               Column("Exact, nats", says="of the whole input: H(mean p) − mean H(p)"), Column("Exact, bits"),
               Column("Bound, nats", says="entropy of the answer, at most ln 2 = 0.693"),
               Column("Samples")]  # fmt: skip
    rows = [
        [text(model_title(model)), text(task), *(number(f[n], 3) for n in ("mine_nats", "mine_std", "mine_bits",
         "exact_nats", "exact_bits", "bound_nats")), count(f["samples"])]
        for (model, task), f in facts.analysis("information").items()
    ]  # fmt: skip
    return (
        Table("information", "What an answer tells about its input (§6.4.1)", columns, rows) if rows else None
    )


def papers_information(facts: Facts) -> Table:
    """The paper's Table 5; only for a run on the paper's data."""
    columns = [Column("Model", False), *(Column(task.capitalize()) for task in TASKS)]
    found = paper.INFORMATION[facts.summary["format"]]
    rows = [[text(name), *(number(row[task]) for task in TASKS)] for name, row in found.items()]
    return Table("paper-information", "The paper's Table 5, without a unit", columns, rows)


def gradients(facts: Facts) -> Table | None:
    """The numbers under Figure 4."""
    columns = [Column("Model", False), Column("Mean"), Column("Standard deviation"), Column("Lowest"),
               Column("Share below 0"), Column("Probes")]  # fmt: skip
    names = ("mean_cosine", "std_cosine", "min_cosine", "share_negative")
    rows = [
        [text(model_title(model)), *(number(f[name], 3) for name in names), count(f["probes"])]
        for (model,), f in facts.analysis("gradient").items()
    ]
    return (
        Table("gradients", "Cosine of the task gradients along training (§6.5)", columns, rows)
        if rows
        else None
    )


def speed(facts: Facts) -> Table | None:
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
        rival, rank = by_label.get(f"train-rival-{name}"), by_label.get(f"evaluate-{name}")
        train = rival or by_label.get(f"finetune-{name}")
        told = facts.training.get(name)
        per_second = (
            told["steps"] / told["seconds"] if told and told["seconds"] and not told["resumed_at"] else None
        )
        batch = config["train"]["batch_size"] * config["train"]["accumulation"]
        positives = config["rerank"]["batch_size"] if rival else batch
        rows_per_step = positives * (1 + config["train"]["negatives"])
        scored = sum(tasks.values()) * (1 + facts.summary["negatives"])
        rows.append(
            [
                text(model_title(name)),
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


def stages(facts: Facts) -> Table:
    """Every stage: how long it took, and whether this run built it."""
    columns = [Column("Stage", False), Column("Time"), Column("In this run", False), Column("Peak memory")]
    rows = [
        [
            text(s["label"]),
            seconds(s["seconds"]),
            text("reused" if s["reused"] else "built"),
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


def _per_model(facts: Facts) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for task, rows in facts.summary["results"].items():
        for name, row in rows.items():
            found.setdefault(name, {})[task] = row["samples"]
    return found


def _color(name: str, place: int) -> int:
    return _COLORS.get(name, 1 + place % 6)


def _says(short: str) -> str:
    kind, _, cutoff = short.partition("@")
    return _SAYS[kind].format(cutoff) if cutoff else "mean of 1/place"


def _interval(found: dict[str, float]) -> str:
    return f"[{found['low']:+.4f}, {found['high']:+.4f}]".replace("-", "−")


def _p(value: float | None) -> Cell:
    if value is None:
        return number(None)
    return Cell("< 0.001", value) if value < 0.001 else number(value, 3)


def _marked(cell: Cell, mark: str) -> Cell:
    return Cell(cell.text, cell.value, mark)


def columns_of(facts: Facts) -> Sequence[Table]:
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
