"""What the studies of a run say in sentences: the outcome, and what did not work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.reporting.findings import joined, verdict
from gensr_model.reporting.run_facts import ABLATION, FULL, STUDIES, SWEEP, SYSTEMS, RunFacts
from gensr_model.reporting.tables import p_value


def outcomes(facts: RunFacts) -> list[str]:
    """A sentence per study and task."""
    return [sentence for study in STUDIES for sentence in outcomes_of(facts, study)]


def outcomes_of(facts: RunFacts, study: str) -> list[str]:
    """The same of one study; none of one that the run does not have."""
    if study in SYSTEMS:
        return list(_comparison(facts, facts.studies.get(study, {}), SYSTEMS[study]))
    return list({FULL: _full, ABLATION: _ablation, SWEEP: _sweep}[study](facts))


def failed(facts: RunFacts) -> Iterator[str]:
    """The studies of the run that failed, and why."""
    for name, why in facts.summary.get("studies_failed", {}).items():
        yield f"The study {name} failed: {why}"


def problems(facts: RunFacts) -> Iterator[str]:
    """What failed in the studies, and where a claim of the paper was not seen, the gravest first."""
    yield from failed(facts)
    for study, title in SYSTEMS.items():
        yield from _of_systems(facts, facts.studies.get(study, {}), title.lower())
    for task in TASKS:
        rows = [row for row in facts.studies.get(ABLATION, {}).get(ABLATION, [])
                if row["task"] == task and row["variant"] != "gensr" and row["high"] >= 0]  # fmt: skip
        for how, which in (("higher", [r for r in rows if r["low"] > 0]),
                           ("not significantly lower", [r for r in rows if r["low"] <= 0])):  # fmt: skip
            if which:
                names = joined([f"{facts.title(r['variant'])} ({_percent(r['change'])})" for r in which])
                yield f"Ablation, {task}: NDCG@5 is {how} than the whole model's for {names}."
    yield from _edges(facts)


def _of_systems(facts: RunFacts, study: dict[str, Any], title: str) -> Iterator[str]:
    failed: dict[str, list[str]] = {}
    for f in study.get("failed", []):
        failed.setdefault(f["name"], []).append(str(f["seed"]))
    for name, seeds in failed.items():
        yield f"{facts.title(name)} was not ranked with seed {joined(seeds)}."
    for task in TASKS:
        lost = [v for v in study.get("verdicts", []) if v["task"] == task and verdict(v) == "bad"]
        if lost:
            baselines = joined(list(dict.fromkeys(facts.title(v["baseline"]) for v in lost)))
            yield (
                f"{task.capitalize()}, {title}: GenSR is below {baselines} in {len(lost)} of the paper's four metrics."
            )


def _edges(facts: RunFacts) -> Iterator[str]:
    rows = facts.studies.get(SWEEP, {}).get(SWEEP, [])
    chosen = next((row for row in rows if row["chosen"]), None)
    for name, letter in (("tau", "τ"), ("beta", "β")):
        grid = {row[name] for row in rows}
        if chosen and len(grid) > 1 and chosen[name] in (min(grid), max(grid)):
            yield f"The chosen {letter} ({chosen[name]:g}) is at the end of its grid: a better one may lie beyond."


def _comparison(facts: RunFacts, study: dict[str, Any], title: str) -> Iterator[str]:
    for task in TASKS:
        order = {row["system"]: row["mean"] for row in study.get("results", [])
                 if (row["task"], row["metric"]) == (task, "ndcg_at_10")}  # fmt: skip
        if "gensr" not in order:
            continue
        place = 1 + sum(value > order["gensr"] for value in order.values())
        words = f"{title}, {task}: GenSR has place {place} of {len(order)} by NDCG@10 ({order['gensr']:.4f})"
        tested = [v for v in study["verdicts"] if (v["task"], v["metric"]) == (task, "ndcg_at_10")]
        yield words + "".join(f"; {_against(facts, v, order)}" for v in tested) + "."


def _against(facts: RunFacts, v: dict[str, Any], order: dict[str, float]) -> str:
    relation = {"good": "above", "bad": "below", "open": "not significantly different from"}[verdict(v)]
    holm = f", p (Holm) {p_value(v['p_holm']).text}" if "p_holm" in v else ""
    return f"{relation} the best baseline, {facts.title(v['baseline'])} ({order[v['baseline']]:.4f}{holm})"


def _full(facts: RunFacts) -> Iterator[str]:
    for task, rows in facts.studies.get(FULL, {}).get("results", {}).items():
        if "gensr" in rows:
            ours = rows["gensr"]["ndcg_at_10"]
            place = 1 + sum(row["ndcg_at_10"] > ours for row in rows.values())
            yield f"Full ranking, {task}: GenSR has place {place} of {len(rows)} by NDCG@10 ({ours:.4f})."


def _ablation(facts: RunFacts) -> Iterator[str]:
    for task in TASKS:
        rows = [row for row in facts.studies.get(ABLATION, {}).get(ABLATION, [])
                if row["task"] == task and row["variant"] != "gensr"]  # fmt: skip
        if rows:
            most = min(rows, key=lambda row: row["change"])
            yield (
                f"Ablation, {task}: the lowest is {facts.title(most['variant'])}, {_percent(most['change'])} in NDCG@5 "
                f"[{_percent(most['low'])}, {_percent(most['high'])}]."
            )


def _sweep(facts: RunFacts) -> Iterator[str]:
    rows = facts.studies.get(SWEEP, {}).get(SWEEP, [])
    chosen = next((row for row in rows if row["chosen"]), None)
    if chosen is None:
        return
    sentence = f"τ and β: {chosen['tau']:g} and {chosen['beta']:g} are the best of {len(rows)} points on validation"
    tested = [[row.get(f"{task}_p_holm") for task in TASKS] for row in rows if not row["chosen"]]
    apart = sum(any(p is not None and p < facts.alpha for p in p_values) for p_values in tested)
    if any(p is not None for p_values in tested for p in p_values):
        differ = f"{apart} of the others differ" if apart > 1 else f"{apart or 'none'} of the others differs"
        sentence += f"; {differ} significantly from it in either task (p (Holm) < {facts.alpha:g})"
    yield f"{sentence}."


def _percent(value: float) -> str:
    return f"{value:+.1%}".replace("-", "−")
