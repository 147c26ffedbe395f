"""The analyses in a report: mutual information, gradient conflict, parameter space and Theorem 4.1."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable

from gensr_model.config.base import TASKS
from gensr_model.reporting import paper
from gensr_model.reporting.charts import Figure, Series, line_chart, smooth
from gensr_model.reporting.findings import VERDICTS, tested
from gensr_model.reporting.run_facts import SPACE, RunFacts
from gensr_model.reporting.sections import Block, Section, figures, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, count, difference, interval, number, p_value
from gensr_model.reporting.tables import text as words

_COLORS = {"gensr": 1, "two_head": 2, "unisar": 3}
_DRAWN = 6  # models in one figure
_CLOSE = 1e-12


def section(facts: RunFacts) -> Section | None:
    """The run's measurements of the paper's explanation."""
    blocks = [*_information(facts), *_gradients(facts), *_space(facts), *_theorem(facts)]
    return Section("mechanisms", "Mechanisms", blocks) if blocks else None


def _information(facts: RunFacts) -> list[Block]:
    shown = information(facts)
    if shown is None:
        return []
    drawn = facts.summary["config"]["analysis"]["negatives_per_positive"]
    return [
        heading("Mutual information (Table 5)"),
        text(
            "How much the model's sampled Yes or No tells about what it read. A yes-or-no answer carries at most "
            "ln 2 = 0.693 nats = 1 bit, so the paper's .85 to .94 (Table 5, without a unit) are possible in bits only. "
            f"Labels stand {drawn}:1, drawn candidates to positives."
        ),
        table(shown),
        *([table(gaps)] if (gaps := information_gaps(facts)) else []),
        table(critics(facts)),
        *([table(papers_information(facts))] if paper.is_papers_data(facts) else []),
        *paper.not_shown(facts, "its Table 5 is not shown"),
    ]


def _gradients(facts: RunFacts) -> list[Block]:
    drawn = [figure for figure in (conflict(facts), disagreement(facts)) if figure]
    tables = [table(each) for each in (gradients(facts), noise_free(facts)) if each]
    blocks = [heading("Gradient conflict (Figure 4)")] if drawn or tables else []
    if blocks:
        blocks.append(
            text(
                "Tasks pull apart where the cosine of their gradients is below 0. Two random halves of one task's rows "
                "disagree by chance, too. The within-task cosine of such halves is the yardstick, on as many rows."
            )
        )
        if paper.is_papers_data(facts):
            blocks.append(
                note(
                    "The paper shows curves without numbers; by its text UniSAR is often around or below −0.5, GenSR "
                    "above 0 throughout (§6.5)."
                )
            )
        blocks += paper.not_shown(facts, "its text on Figure 4 is not shown")
    return [*blocks, *([figures(*drawn)] if drawn else []), *tables]


def _space(facts: RunFacts) -> list[Block]:
    planes, blocks = facts.analysis("space"), []
    if not planes:
        return []
    blocks += [
        heading("Parameter space (Figure 3)"),
        text(
            "Do the tasks lie apart? Points are test samples of both tasks, lines their density: of the input by "
            "t-SNE, of hidden states by PCA. A prompt that names the task separates GenSR's states before any "
            "training, so GenSR untrained and the input without its query stand beside the models."
        ),
    ]
    if SPACE in facts.pictures:
        title = "The tasks in the input and in the models' hidden states"
        source = f"data:image/png;base64,{base64.b64encode(facts.pictures[SPACE]).decode()}"
        blocks.append(figures(Figure(f'<img alt="{title}" src="{source}">', title, wide=True)))
    columns = [Column("What", False), Column("Linear probe", hint="held-out accuracy in telling the task"),
               Column("Chance"), Column("Silhouette", hint="0: the tasks' clouds are one; 1: far apart"),
               Column("Overlap", hint="of the densities in the picture; 1: the same"),
               Column("Overlap, chance", hint="of two random groups of the same points")]  # fmt: skip
    names = ("probe_accuracy", "chance", "silhouette", "overlap", "overlap_chance")
    rows = [[words(facts.title(what)), *(number(f[name], 3) for name in names)] for (what,), f in planes.items()]
    blocks.append(table(Table("space", "How far the tasks lie apart (§6.4.2)", columns, rows)))
    return blocks + paper.not_shown(facts, "its Figure 3 is of another model's inputs and states")


def _theorem(facts: RunFacts) -> list[Block]:
    worlds = sorted(facts.analysis("theorem").items(), key=lambda row: (row[0][0] != "independent", int(row[0][1])))
    if not worlds:
        return []
    drawn = [
        _panel(world, [(int(n), f) for (w, n), f in worlds if w == world], kind)
        for world in dict.fromkeys(w for (w, _), _ in worlds)
        for kind in _PANELS
    ]
    ends = [Column("Coordinates", False), Column("Samples")]
    sides = [Column("Generative"), Column("Discriminative"), Column("At w*"), Column("Eq. 4 holds")]
    error = [Column("Error, gen.", hint="of the parameters"), Column("Error, disc."), Column("Eq. 14 holds")]
    rows: dict[str, list[list[Cell]]] = {"gaussian": [], "label": []}
    for (world, n), f in worlds:
        errors = [number(f[f"{side}_error"], 2) for side in ("generative", "discriminative")]
        for kind, before in (("gaussian", [*errors, _share(f["error_holds"])]), ("label", [])):
            cells = [number(f[f"{side}_{kind}"], 3) for side in ("generative", "discriminative", "true")]
            rows[kind].append([words(world), count(int(n)), *before, *cells, _share(f[f"{kind}_holds"])])
    return [
        heading("Theorem 4.1, simulated"),
        text(
            "The Gaussian world of the proof: two tasks, parameters estimated the generative way (class means and "
            "variances) and the discriminative way (logistic regression). Eq. 14 claims that the generative error "
            "is the smaller, Eq. 4 that the generative sum of information is the larger. Eq. 15 is taken with w²; the "
            "paper prints w. Coordinates: independent, as the generative model assumes, or correlated."
        ),
        figures(*drawn),
        table(Table("theorem", "Parameter error, and both sides of Eq. 4 by Eq. 15, nats", [*ends, *error, *sides],
                    rows["gaussian"])),
        table(Table("theorem-label", "Both sides of Eq. 4 by I(Ŷ; Y), nats", [*ends, *sides], rows["label"],
                    note="“Holds” is the share of simulated data sets in which the inequality does.")),
    ]  # fmt: skip


_PANELS = {
    "error": "parameter error, log₁₀ (Eq. 14)",
    "gaussian": "information by Eq. 15, nats",
    "label": "I(Ŷ; Y), nats",
}


def _panel(world: str, rows: list[tuple[int, dict[str, float]]], kind: str) -> Figure:
    """One quantity of one world over sample sizes: both sides and the truth."""
    lines = []
    for color, side in enumerate(("generative", "discriminative", "true"), start=1):
        points = [(math.log10(n), f[f"{side}_{kind}"]) for n, f in rows if f"{side}_{kind}" in f]
        if kind == "error":
            points = [(x, math.log10(max(y, _CLOSE))) for x, y in points]
        if points:
            lines.append(Series("at w*" if side == "true" else side, points, color))
    title = f"{world.capitalize()}: {_PANELS[kind]}"
    places = [(math.log10(n), f"{n:,}") for n, _ in rows]
    return Figure(line_chart(title, lines, x_label="samples", places=places), title)


def _share(value: float) -> Cell:
    return Cell(f"{value:.0%}", value)


def conflict(facts: RunFacts) -> Figure | None:
    """Figure 4: cosine of the task gradients, with faint probes and their running mean."""
    note = "Below 0 the tasks pull apart. Shared self-attention, same mini-batch. Faint: each probe; firm: their mean."
    return _along(facts, "Cosine between the tasks' gradients", note, lambda p: p["cosine"], y_range=(-1.05, 1.05))


def disagreement(facts: RunFacts) -> Figure | None:
    """The cosine minus the null, with faint probes and their running mean."""
    note = "Both on half batches. At 0 the tasks conflict no more than one task with itself."
    return _along(
        facts,
        "Between-task minus within-task cosine",
        note,
        lambda p: p["cosine_halves"] - (p["null_recommendation"] + p["null_search"]) / 2,
    )


def _along(
    facts: RunFacts,
    title: str,
    note: str,
    value: Callable[[dict[str, float]], float],
    y_range: tuple[float, float] | None = None,
) -> Figure | None:
    """A number of the probes during training, for every model with probes."""
    lines: list[Series] = []
    probed = {name: probes for name, probes in facts.gradients.items() if probes}
    for n, (name, probes) in enumerate(list(probed.items())[:_DRAWN]):
        points = [(p["step"], value(p)) for p in probes]
        lines += [
            Series("", points, _COLORS.get(name, 1 + n % 6), faint=True),
            Series(facts.title(name), smooth(points), _COLORS.get(name, 1 + n % 6)),
        ]
    if not lines:
        return None
    return Figure(line_chart(title, lines, y_range=y_range, zero=True), title, note)


def information(facts: RunFacts) -> Table | None:
    """Table 5 in nats and bits."""
    columns = [Column("Model", False), Column("Task", False), Column("MINE, nats", hint="on pooled features, held out"),
               Column("± seeds", hint="standard deviation over seeds"), Column("MINE, bits"),
               Column("Exact, nats", hint="of the whole input: H(mean p) − mean H(p)"), Column("Exact, bits"),
               Column("Bound, nats", hint="entropy of the answer, at most ln 2 = 0.693"),
               Column("I(Ŷ; Y), nats", hint="of the answer and the label, by counts"), Column("I(Ŷ; Y), bits"),
               Column("Samples")]  # fmt: skip
    rows = [
        [words(facts.title(model)), words(task), *(number(f.get(n), 3) for n in ("mine_nats", "mine_std", "mine_bits",
         "exact_nats", "exact_bits", "bound_nats", "label_nats", "label_bits")), count(f["samples"])]
        for (model, task), f in facts.analysis("information").items()
    ]  # fmt: skip
    return Table("information", "What an answer tells about its input (§6.4.1)", columns, rows) if rows else None


def information_gaps(facts: RunFacts) -> Table | None:
    """How much more information GenSR's answers have than another model's, with intervals."""
    columns = [Column("GenSR minus", False), Column("Task", False),
               Column("Exact, nats", hint="of the whole input"), Column(f"{facts.confidence} interval"),
               Column("p (Holm)"),
               Column("I(Ŷ; Y), nats"), Column(f"{facts.confidence} interval"), Column("p (Holm)")]  # fmt: skip
    rows = []
    for (model, task), f in facts.analysis("information").items():
        if "exact_gap" not in f:
            continue
        cells = []
        for kind in ("exact", "label"):
            value, low, high = (f[f"{kind}_gap{end}"] for end in ("", "_low", "_high"))
            p = f.get(f"{kind}_gap_p_holm")
            cells += difference(value, low, high, p, VERDICTS[tested(value, p, facts)], 3)
        rows.append([words(facts.title(model)), words(task), *cells])
    note = (
        "Intervals are of a bootstrap over users, the same users for both models. p is of a paired t-test of jackknife "
        "pseudo-values, corrected for the whole table. I(Ŷ; Y) has no p where neither model's answers depend on the "
        "label. Each model was trained once."
    )
    caption = "How much more GenSR's answers tell"
    return Table("information-gaps", caption, columns, rows, note=note) if rows else None


def critics(facts: RunFacts) -> Table:
    """Other estimators of the same information, and MINE's estimate for the raw score."""
    names = {"MINE": "mine", "InfoNCE": "infonce", "SMILE": "smile"}
    columns = [Column("Model", False), Column("Task", False)]
    for title in names:
        columns += [Column(f"{title}, nats"), Column("± seeds")]
    columns.append(
        Column("Raw score, MINE, nats", hint="critic-limited: no finite bound, and no property of the model")
    )
    rows = [
        [words(facts.title(model)), words(task),
         *(number(f.get(f"{name}_{part}"), 3) for name in names.values() for part in ("nats", "std")),
         number(f.get("raw_score_nats"), 3)]
        for (model, task), f in facts.analysis("information").items()
    ]  # fmt: skip
    return Table(
        "critics", "The same by other estimators, and the raw score", columns, rows,
        note="A score is a continuous function of the input, so its information has no finite value: the last column "
        "measures how sharp the critic is (critic-limited).",
    )  # fmt: skip


def papers_information(facts: RunFacts) -> Table:
    """The paper's Table 5; only for a run on the paper's data."""
    columns = [Column("Model", False), *(Column(task.capitalize()) for task in TASKS)]
    rows_of_paper = paper.for_format(paper.INFORMATION, facts)
    rows = [[words(name), *(number(row[task]) for task in TASKS)] for name, row in rows_of_paper.items()]
    return Table("paper-information", "The paper's Table 5, without a unit", columns, rows)


def gradients(facts: RunFacts) -> Table | None:
    """The numbers under Figure 4."""
    columns = [Column("Model", False), Column("Mean"), Column("Standard deviation"), Column("Lowest"),
               Column("Share below 0"), Column("Between tasks", hint="mean between-task cosine on half batches"),
               Column("below 0"), Column("Within a task", hint="mean cosine of random halves of one task's rows"),
               Column("below 0"), Column("Between − within", hint="on half batches; 0: as one task with itself"),
               Column("± standard error", hint="as if probes were independent"),
               Column("Norm, recommendation"), Column("Norm, search"), Column("Probes")]  # fmt: skip
    names = ("mean_cosine", "std_cosine", "min_cosine", "share_negative", "mean_halves", "share_negative_halves",
             "mean_null", "share_negative_null", "gap", "gap_error", "mean_norm_recommendation",
             "mean_norm_search")  # fmt: skip
    rows = [
        [words(facts.title(model)), *(number(f.get(name), 3) for name in names), count(f["probes"])]
        for (model,), f in facts.analysis("gradient").items()
    ]
    caption = "Cosine of the task gradients along training (§6.5)"
    return Table("gradients", caption, columns, rows) if rows else None


def noise_free(facts: RunFacts) -> Table | None:
    """The noise-corrected cosine of every model, and GenSR's minus each other model's."""
    columns = [Column("Model", False), Column("Noise-corrected cosine", hint="1: none; below 0: they pull apart"),
               Column(f"{facts.confidence} interval"), Column("GenSR − it"), Column(f"{facts.confidence} interval"),
               Column("p (Holm)")]  # fmt: skip
    by_model = facts.analysis("gradient")
    rows = [[words(facts.title(model)), *_less(f, facts)] for (model,), f in by_model.items()]
    note = (
        "Noise-corrected cosine: the between-task cosine divided by the geometric mean of both within-task cosines, "
        "each on half batches. 1 means no conflict; a dash means too noisy to tell. Intervals are of a bootstrap, p is "
        "of Welch's t-test, corrected for all models. Both take probes as independent."
    )
    if not any("free" in f for f in by_model.values()):
        return None
    return Table("gradients-noise-free", "Noise-corrected cosine of the tasks", columns, rows, note=note)


def _less(row: dict[str, float], facts: RunFacts) -> list[Cell]:
    """The noise-corrected cosine, and GenSR's minus this model's. A dash where noise hides it."""
    cells: list[Cell] = []
    for name, sign in (("free", False), ("less", True)):
        if name not in row:
            cells += [number(None), number(None)]
            continue
        value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
        mark = VERDICTS[tested(value, row["less_p_holm"], facts)] if sign else ""
        cells += [number(value, 2, sign=sign, mark=mark), interval(value, low, high, digits=2)]
    return [*cells, p_value(row.get("less_p_holm"))]
