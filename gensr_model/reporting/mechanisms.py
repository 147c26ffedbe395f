"""The analyses in a report: mutual information, gradient conflict, parameter space and Theorem 4.1."""

from __future__ import annotations

import base64
import math

from gensr_model.config import TASKS
from gensr_model.reporting import paper
from gensr_model.reporting.charts import Figure, Series, line_chart, smooth
from gensr_model.reporting.run_facts import SPACE, RunFacts
from gensr_model.reporting.sections import Block, Section, figures, heading, note, table, text
from gensr_model.reporting.tables import Cell, Column, Table, count, number
from gensr_model.reporting.tables import text as words

_COLORS = {"gensr": 1, "two_head": 2, "unisar": 3}
_DRAWN = 6  # models in one figure
_CLOSE = 1e-12


def section(facts: RunFacts) -> Section | None:
    """What of the paper's explanation the run has measured."""
    blocks = [*_information(facts), *_gradients(facts), *_space(facts), *_theorem(facts)]
    return Section("mechanisms", "Mechanisms", blocks) if blocks else None


def _information(facts: RunFacts) -> list[Block]:
    found = information(facts)
    if found is None:
        return []
    papers = (
        table(papers_information(facts))
        if paper.is_papers_data(facts)
        else note("Not the paper's data: its Table 5 is not shown.")
    )
    return [
        heading("Mutual information (Table 5)"),
        text(
            "How much the model's sampled Yes or No tells about what it read. A yes-or-no answer carries at most "
            "ln 2 = 0.693 nats = 1 bit, so the paper's .85 to .94 (Table 5, without a unit) are possible in bits only."
        ),
        table(found),
        papers,
    ]


def _gradients(facts: RunFacts) -> list[Block]:
    drawn, found = conflict(facts), gradients(facts)
    blocks = [heading("Gradient conflict (Figure 4)")] if drawn or found else []
    blocks += [figures(drawn)] if drawn else []
    return blocks + ([table(found)] if found else [])


def _space(facts: RunFacts) -> list[Block]:
    found, blocks = facts.analysis("space"), []
    if not found:
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
    columns = [Column("What", False), Column("Linear probe", says="held-out accuracy in telling the task"),
               Column("Chance"), Column("Silhouette", says="0: the tasks' clouds are one; 1: far apart"),
               Column("Overlap", says="of the densities in the picture; 1: the same"),
               Column("Overlap, chance", says="of two random groups of the same points")]  # fmt: skip
    names = ("probe_accuracy", "chance", "silhouette", "overlap", "overlap_chance")
    rows = [
        [words(facts.title(what)), *(number(f[name], 3) for name in names)] for (what,), f in found.items()
    ]
    return [*blocks, table(Table("space", "How far the tasks lie apart (§6.4.2)", columns, rows))]


def _theorem(facts: RunFacts) -> list[Block]:
    found = sorted(
        facts.analysis("theorem").items(), key=lambda row: (row[0][0] != "independent", int(row[0][1]))
    )
    if not found:
        return []
    drawn = [
        _panel(world, [(int(n), f) for (w, n), f in found if w == world], kind)
        for world in dict.fromkeys(w for (w, _), _ in found)
        for kind in _PANELS
    ]
    ends = [Column("Coordinates", False), Column("Samples")]
    sides = [Column("Generative"), Column("Discriminative"), Column("At w*"), Column("Eq. 4 holds")]
    error = [Column("Error, gen.", says="of the parameters"), Column("Error, disc."), Column("Eq. 14 holds")]
    rows: dict[str, list[list[Cell]]] = {"gaussian": [], "label": []}
    for (world, n), f in found:
        errors = [number(f[f"{side}_error"], 2) for side in ("generative", "discriminative")]
        for kind, before in (("gaussian", [*errors, _share(f["error_holds"])]), ("label", [])):
            cells = [number(f[f"{side}_{kind}"], 3) for side in ("generative", "discriminative", "true")]
            rows[kind].append([words(world), count(int(n)), *before, *cells, _share(f[f"{kind}_holds"])])
    return [
        heading("Theorem 4.1, simulated"),
        text(
            "The Gaussian world of the proof: two tasks, parameters estimated the generative way (class means and "
            "variances) and the discriminative way (logistic regression). Eq. 14 says that the generative error is the "
            "smaller, Eq. 4 that the generative sum of information is the larger. Eq. 15 is taken with w², where the "
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
    """One quantity of one world over sample sizes, both sides and the truth."""
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
    """Figure 4: cosine of the task gradients, each probe faint and their running mean."""
    lines: list[Series] = []
    probed = {name: probes for name, probes in facts.gradients.items() if probes}
    for n, (name, probes) in enumerate(list(probed.items())[:_DRAWN]):
        points = [(p["step"], p["cosine"]) for p in probes]
        lines += [
            Series("", points, _COLORS.get(name, 1 + n % 6), faint=True),
            Series(facts.title(name), smooth(points), _COLORS.get(name, 1 + n % 6)),
        ]
    if not any(line.points for line in lines):
        return None
    title = "Cosine between the tasks' gradients"
    note = "Below 0 the tasks pull apart. Shared self-attention, same mini-batch. Faint: each probe; firm: their mean."
    return Figure(line_chart(title, lines, y_range=(-1.05, 1.05), zero=True), title, note)


def information(facts: RunFacts) -> Table | None:
    """Table 5 in nats and bits."""
    columns = [Column("Model", False), Column("Task", False), Column("MINE, nats", says="on pooled features, held out"),
               Column("± seeds", says="standard deviation over seeds"), Column("MINE, bits"),
               Column("Exact, nats", says="of the whole input: H(mean p) − mean H(p)"), Column("Exact, bits"),
               Column("Bound, nats", says="entropy of the answer, at most ln 2 = 0.693"),
               Column("I(Ŷ; Y), nats", says="of the answer and the label, by counts"),
               Column("Samples")]  # fmt: skip
    rows = [
        [words(facts.title(model)), words(task), *(number(f.get(n), 3) for n in ("mine_nats", "mine_std", "mine_bits",
         "exact_nats", "exact_bits", "bound_nats", "label_nats")), count(f["samples"])]
        for (model, task), f in facts.analysis("information").items()
    ]  # fmt: skip
    return (
        Table("information", "What an answer tells about its input (§6.4.1)", columns, rows) if rows else None
    )


def papers_information(facts: RunFacts) -> Table:
    """The paper's Table 5; only for a run on the paper's data."""
    columns = [Column("Model", False), *(Column(task.capitalize()) for task in TASKS)]
    found = paper.INFORMATION[facts.summary["format"]]
    rows = [[words(name), *(number(row[task]) for task in TASKS)] for name, row in found.items()]
    return Table("paper-information", "The paper's Table 5, without a unit", columns, rows)


def gradients(facts: RunFacts) -> Table | None:
    """The numbers under Figure 4."""
    columns = [Column("Model", False), Column("Mean"), Column("Standard deviation"), Column("Lowest"),
               Column("Share below 0"), Column("One task's halves", says="mean cosine of its random halves"),
               Column("Tasks − it", says="on as many rows"), Column("Probes")]  # fmt: skip
    names = ("mean_cosine", "std_cosine", "min_cosine", "share_negative", "mean_null", "gap")
    rows = [
        [words(facts.title(model)), *(number(f.get(name), 3) for name in names), count(f["probes"])]
        for (model,), f in facts.analysis("gradient").items()
    ]
    return (
        Table("gradients", "Cosine of the task gradients along training (§6.5)", columns, rows)
        if rows
        else None
    )
