"""The tables of the ablation (§6.6) and of the sweep over τ and β (§6.7) in Markdown."""

from __future__ import annotations

from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.reporting.facts import model_title


def ablation(rows: list[dict[str, Any]], config: dict[str, Any]) -> list[str]:
    """Markdown: what each part earns, a row per task and variant."""
    if not rows:
        return []
    interval = f"change [{100 * config['statistics']['confidence']:g}%]"
    body = [
        [
            model_title(row["variant"]),
            row["task"],
            f"{row['value']:.4f}" + (f" ± {row['std_over_seeds']:.4f}" if row["std_over_seeds"] is not None else ""),
            "" if row["variant"] == "gensr" else
            f"{row['change']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}]",
            "" if row["p_holm"] is None else f"{row['p_holm']:.2g}",
            "" if row["paper"] is None else f"{row['paper']:+.1%}",
        ]
        for row in rows
    ]  # fmt: skip
    return [
        f"## Ablation (§6.6): what N@5 is without a part, seeds {', '.join(map(str, config['ablation']['seeds']))}",
        "",
        *grid(["model", "task", "N@5", interval, "p (Holm)", "paper, Amazon"], body),
        "",
        "The paper tells one figure for a single view, not which one is left. Its data, backbone and size are others.",
        "",
    ]


def sweep(rows: list[dict[str, Any]], config: dict[str, Any]) -> list[str]:
    """Markdown: a row per point, each task's change from the chosen one."""
    if not rows:
        return []

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    def change(row: dict[str, Any], task: str) -> list[str]:
        if row.get(f"{task}_change") is None:
            return ["", ""]
        found, low, high = (row[f"{task}_{name}"] for name in ("change", "low", "high"))
        p = row[f"{task}_p_holm"]
        return [f"{found:+.1%} [{low:+.1%}, {high:+.1%}]", "" if p is None else f"{p:.2g}"]

    body = [
        [f"{row['tau']:g}", f"{row['beta']:g}", *(cell(row[n]) for n in ("metric", *TASKS)),
         *(text for task in TASKS for text in change(row, task)), "chosen" if row["chosen"] else ""]
        for row in rows
    ]  # fmt: skip
    interval = f"from the chosen [{100 * config['statistics']['confidence']:g}%]"
    head = [
        "τ",
        "β",
        "mean",
        *TASKS,
        *(text for task in TASKS for text in (f"{task}, {interval}", "p (Holm)")),
        "",
    ]
    return [
        "## τ and β (§6.7): valid N@5 of the best weights",
        "",
        *grid(head, body),
        "",
        "Chosen on the same samples, which favours the chosen point.",
        "",
    ]


def grid(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table whose columns line up in a terminal too."""
    width = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        first, *rest = (
            cells[0].ljust(width[0]),
            *(c.rjust(w) for c, w in zip(cells[1:], width[1:], strict=True)),
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = ["-" * width[0], *("-" * (w - 1) + ":" for w in width[1:])]
    return [line(head), line(rule), *(line(row) for row in rows)]
