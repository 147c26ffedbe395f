"""Who ranks where, task by task: the short tables of the terminal and the sentences that open the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gensr_model.config.base import TASKS
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.findings import VERDICTS, joined, verdict
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import Cell, Column, Table, interval, number, text

OURS, HEADS = "gensr", "two_head"
_OTHERS = 3  # best others in a short table, beside two heads and the best reference


class Standing(NamedTuple):
    """The models of one task, the best by NDCG@10 first; ``compared`` has GenSR minus another, where tested."""

    task: str
    rows: dict[str, dict[str, float]]
    compared: dict[str, dict[str, float]]
    references: frozenset[str]

    @property
    def place(self) -> int:
        """GenSR's; models that are level on NDCG@10 share the better place."""
        ours = self.rows[OURS]["ndcg_at_10"]
        return 1 + sum(row["ndcg_at_10"] > ours for row in self.rows.values())

    @property
    def others(self) -> list[str]:
        return [name for name in self.rows if name != OURS]

    @property
    def samples(self) -> int:
        return int(self.rows[OURS].get("samples", 0))

    def difference(self, name: str) -> float:
        """GenSR minus another model in NDCG@10: the paired mean where it was tested."""
        of_means = self.rows[OURS]["ndcg_at_10"] - self.rows[name]["ndcg_at_10"]
        return self.compared.get(name, {}).get("mean_difference", of_means)


def standings(facts: RunFacts) -> list[Standing]:
    """Of each task that GenSR was ranked on. The results are the run's, or those of the study that the run is."""
    study = facts.studies.get(facts.summary.get("study", ""), {})
    known: list[dict[str, Any]] = [facts.summary, study]
    return of_study(next((each for each in known if each.get("results")), {}))


def of_study(study: dict[str, Any]) -> list[Standing]:
    """The same of the summary of a run or a study."""
    results: Any = study.get("results", {})
    if isinstance(results, list):
        return _of_systems(study)
    compared = study.get("comparisons", {})
    return [
        _standing(task, results[task], compared.get(task, {}), frozenset(REFERENCES))
        for task in TASKS
        if OURS in results.get(task, {})
    ]


def _of_systems(study: dict[str, Any]) -> list[Standing]:
    """Of many systems: means over seeds, and the test against the best baseline alone."""
    references = frozenset(name for name, system in study["systems"].items() if system["group"] == "reference")
    made = []
    for task in TASKS:
        rows: dict[str, dict[str, float]] = {}
        for row in study["results"]:
            if row["task"] == task:
                rows.setdefault(row["system"], {"samples": row["samples"]})[row["metric"]] = row["mean"]
        tested = [v for v in study["verdicts"] if (v["task"], v["metric"]) == (task, "ndcg_at_10")]
        if OURS in rows:
            made.append(_standing(task, rows, {v["baseline"]: v for v in tested}, references))
    return made


def _standing(
    task: str, rows: dict[str, dict[str, float]], compared: dict[str, dict[str, float]], references: frozenset[str]
) -> Standing:
    best_first = sorted(rows.items(), key=lambda row: (-row[1]["ndcg_at_10"], row[0] != OURS))
    return Standing(task, dict(best_first), compared, references)


def short_table(facts: RunFacts, standing: Standing) -> Table:
    """At most six rows: GenSR, the best three others, two heads, and the best reference."""
    best_references = [name for name in standing.others if name in standing.references][:1]
    shown = {OURS, *standing.others[:_OTHERS], *best_references, *({HEADS} & standing.rows.keys())}
    columns = [Column("System", False), *map(Column, ("R@10", "N@10", "GenSR − it", f"{facts.confidence} interval"))]
    rows = []
    for name, row in standing.rows.items():
        if name in shown:
            mark = "best" if name == OURS else ""
            measured = [number(row["recall_at_10"], mark=mark), number(row["ndcg_at_10"], mark=mark)]
            rows.append([text(facts.title(name), mark), *measured, *_lead(standing, name)])
    place = f"GenSR is at place {standing.place} of {len(standing.rows)}"
    caption = f"{standing.task.capitalize()}, {standing.samples:,} test samples: {place} by N@10"
    note = heads_are(facts) if HEADS in standing.rows else ""
    return Table(f"short-{standing.task}", caption, columns, rows, note)


def heads_are(facts: RunFacts) -> str:
    """What the model of two heads is, beside its name."""
    return f"{facts.title(HEADS)}: a discriminative model on the same inputs."


def _lead(standing: Standing, name: str) -> list[Cell]:
    if name == OURS:
        return [Cell(""), Cell("")]
    tested = standing.compared.get(name)
    mark = VERDICTS[verdict(tested)] if tested else ""
    return [number(standing.difference(name), sign=True, mark=mark), Cell(_bounds(tested) if tested else "–")]


# --- in words ----------------------------------------------------------------------------------------------------


def outcome(facts: RunFacts, standing: Standing) -> str:
    """Whether GenSR is first in a task, by how much, and where not, why as far as segments say."""
    if not standing.others:
        return f"GenSR is the only model that was ranked in {standing.task}."
    best = standing.others[0]
    tested = standing.compared.get(best)
    title, task = facts.title(best), standing.task
    lead = f"GenSR − it is {number(standing.difference(best), sign=True).text}"
    lead += f" {_bounds(tested)} in N@10" if tested else " in N@10"
    if tested and verdict(tested) == "open":
        return f"GenSR and {title} are level in {task}: {lead}, and the interval contains 0."
    if standing.place == 1:
        return f"GenSR is first in {task}, before {title}: {lead}."
    said = f"{title} beats GenSR in {task}: {lead}."
    return f"{said} {reason}" if (reason := why(facts, task, best)) else said


def why(facts: RunFacts, task: str, best: str) -> str:
    """What the segments say of why another model is ahead; empty where none were measured."""
    reasons = [*_repeated(facts, task, best), *_where(facts, task, best)]
    return reasons[0] if reasons else ""


def _repeated(facts: RunFacts, task: str, best: str) -> Iterator[str]:
    """A model that counts queries gains by queries that training has seen."""
    if best not in ("same_query", "query_count", "query_user"):
        return
    rows = [
        row for row in facts.segments if (row["task"], row["by"], row["model"]) == (task, "query in training", OURS)
    ]
    if rows:
        new = sum(row["samples"] for row in rows if row["segment"].startswith("0 "))
        every = sum(row["samples"] for row in rows)
        repeated = f"{1 - new / every:.0%} of the test searches"
        yield f"It counts what queries led to, and {repeated} repeat a query of training."


def _where(facts: RunFacts, task: str, best: str) -> Iterator[str]:
    """The segment that holds more of the gap than its share of the samples."""
    by_model: dict[str, dict[tuple[str, str], dict[str, Any]]] = {OURS: {}, best: {}}
    for row in facts.segments:
        if row["task"] == task and row["model"] in by_model:
            by_model[row["model"]][row["by"], row["segment"]] = row
    gaps = {
        key: row["samples"] * (row["ndcg_at_10"] - by_model[OURS][key]["ndcg_at_10"])
        for key, row in by_model[best].items()
        if key in by_model[OURS]
    }
    shares = {}
    for by, segment in gaps:
        inside = [key for key in gaps if key[0] == by]
        samples, gap = sum(by_model[best][key]["samples"] for key in inside), sum(gaps[key] for key in inside)
        if gap > 0 and len(inside) > 1:
            shares[by, segment] = (gaps[by, segment] / gap, by_model[best][by, segment]["samples"] / samples)
    if not shares:
        return
    (by, segment), (of_gap, of_samples) = max(shares.items(), key=lambda each: each[1][0] - each[1][1])
    if of_gap - of_samples >= 0.1:
        more = "All of the gap" if of_gap >= 1 else f"{of_gap:.0%} of the gap"
        yield f"{more} is on {of_samples:.0%} of the samples ({by}: {segment})."
    else:
        yield "No measured segment explains the gap: it is spread over all of them."


def against_heads(known: list[Standing]) -> Iterator[str]:
    """The paper's own contrast: one generated answer for both tasks, against a head for each."""
    said = []
    for standing in known:
        tested = standing.compared.get(HEADS)
        if tested and standing.others[0] != HEADS:
            relation = {"good": "above", "bad": "below", "open": "level with"}[verdict(tested)]
            difference = number(tested["mean_difference"], sign=True).text
            said.append(f"{relation} it in {standing.task} ({difference} {_bounds(tested)})")
    if said:
        yield f"Two heads read what GenSR reads and answer with a head per task: GenSR is {joined(said)}."


def _bounds(tested: dict[str, float]) -> str:
    return interval(0, tested["low"], tested["high"]).text
