"""The results of a run as sentences: first the outcome, at the end failures and unknowns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gensr_model.config.base import TASKS
from gensr_model.reporting.model_names import in_order
from gensr_model.reporting.run_facts import ABLATION, SYSTEMS, RunFacts

VERDICTS = {"good": "good", "bad": "bad", "open": "muted"}  # marks of cells
_MIN_USERS = 50  # users below which analysis leaves a task out
# Fewer are "few clusters", with too narrow intervals and too small p (Cameron and Miller 2015, §VI: 20 to 50).
_FEW_USERS = 50


def verdict(compared: dict[str, float]) -> str:
    """GenSR against another model: good, bad, or open where the interval contains 0."""
    if compared["low"] > 0:
        return "good"
    return "bad" if compared["high"] < 0 else "open"


def tested(difference: float, p: float | None, facts: RunFacts) -> str:
    """The verdict by p, where p is corrected for many comparisons: the interval of one of many is too narrow."""
    if p is None or not p < facts.alpha:
        return "open"
    return "good" if difference > 0 else "bad"


def in_short(facts: RunFacts) -> list[dict[str, Any]]:
    """Per task that was ranked: GenSR's place by NDCG@10 and which models it is above, level with and below."""
    cards = []
    for task, rows in facts.summary["results"].items():
        if "gensr" not in rows:
            continue
        order = sorted(rows, key=lambda name: -rows[name]["ndcg_at_10"])
        against: dict[str, list[str]] = {"good": [], "open": [], "bad": []}
        compared = facts.summary["comparisons"].get(task, {})
        for name in in_order(compared):
            against[verdict(compared[name])].append(facts.title(name))
        best = order[0] if order[0] != "gensr" else (order[1] if len(order) > 1 else None)
        cards.append(
            {
                "task": task,
                "place": 1 + order.index("gensr"),
                "of": len(order),
                "ndcg": rows["gensr"]["ndcg_at_10"],
                "recall": rows["gensr"]["recall_at_10"],
                "best": facts.title(best) if best else "",
                "best_ndcg": rows[best]["ndcg_at_10"] if best else None,
                "above": against["good"],
                "level": against["open"],
                "below": against["bad"],
            }
        )
    return cards


def what_did_not_work(facts: RunFacts) -> list[str]:
    """Sentences about failures, the most serious first, so that readers need not look for them in tables."""
    return [*_broken(facts), *_losses(facts), *_training(facts), *_analysis(facts), *limits(facts)]


def _broken(facts: RunFacts) -> Iterator[str]:
    for audit in facts.audits:
        if audit["violations"]:
            yield f"Audit {audit['name']} found {audit['violations']:,} rows: {audit['rule']}"
    for check in facts.checks:
        if check["failed"]:
            yield f"{check['failed']} of {check['expectations']} expectations on {check['suite']} failed."
    if rejected := facts.reading.get("rejected"):
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in facts.rejects.items())
        read = facts.reading["read"]
        yield f"{rejected:,} of {read:,} raw lines could not be used: {reasons or 'see rejects.parquet'}."
    if len(tasks := facts.manifest.get("tasks", TASKS)) < len(TASKS):
        (missing,) = set(TASKS) - set(tasks)
        yield f"The logs hold no {missing}: models are trained for {joined(list(tasks))} alone, and ranked on it alone."
    notes = facts.reading.get("notes", {})
    if without := notes.get("items_without_meta"):
        used = notes["items_in_events"]
        yield f"{without:,} of {used:,} items ({without / used:.1%}) have no row in the item file, so no text."


def _losses(facts: RunFacts) -> Iterator[str]:
    for row in in_short(facts):
        if row["below"]:
            yield f"{row['task'].capitalize()}: GenSR ranks worse than {joined(row['below'])}."
        if row["level"]:
            yield (
                f"{row['task'].capitalize()}: no significant difference from {joined(row['level'])}; "
                "the interval holds 0."
            )
    yield from losing_segments(facts)


def losing_segments(facts: RunFacts) -> Iterator[str]:
    """Segments of samples on which another model is significantly better."""
    for task in TASKS:
        behind = [
            f"{row['by']} {row['segment']} ({facts.title(row['baseline'])} by {-row['lead']:.3f})"
            for row in facts.segments
            if row["task"] == task and row.get("lead") is not None
            if tested(row["lead"], row["lead_p_holm"], facts) == "bad"
        ]
        if behind:
            yield f"{task.capitalize()}: another model is better than GenSR on {joined(behind)}."


def _training(facts: RunFacts) -> Iterator[str]:
    for name, run in facts.training.items():
        if run["resumed_at"]:
            yield (
                f"Training of {facts.title(name)} was interrupted and went on from step {run['resumed_at']:,}; "
                "its seconds are those of the last part."
            )
    yield from undertrained(facts)
    once = [facts.title(name) for name, run in facts.training.items() if len(run["validations"]) == 1]
    if once:
        yield f"{joined(once)} {_were(once)} validated once only: convergence is unknown."


def still_improving(training: Mapping[str, Any]) -> bool:
    """Whether the last validation was the best and no epoch was left, from the content of ``training.json``."""
    validations = training.get("validations", [])
    return (
        training["stopped"] == "all epochs done"
        and len(validations) > 1
        and bool(validations[-1]["metric"] >= training["best_metric"])
    )


def undertrained(facts: RunFacts) -> Iterator[str]:
    """A sentence where a model was still improving when training ended."""
    # A summary says so itself, because it has no validations.
    improving = [
        facts.title(name) for name, run in facts.training.items() if run.get("improving", still_improving(run))
    ]
    if improving:
        yield f"{joined(improving)} {_were(improving)} still improving when training ended: perhaps undertrained."


def _analysis(facts: RunFacts) -> Iterator[str]:
    if not facts.summary["analysis"]:
        if "study" not in facts.summary:  # a study analyses nothing
            yield "Mutual information and gradient conflict were not analysed: the config leaves them out."
        return
    information = facts.analysis("information")
    wanted = "information" in facts.summary["config"]["analysis"]["parts"]
    for task in TASKS:
        rows = facts.summary["results"].get(task)
        if wanted and rows and not any(group[-1] == task for group in information):
            yield f"Mutual information of {task} is left out: test samples of fewer than {_MIN_USERS} users."
    blind = [f"{facts.title(model)} on {task}" for (model, task), f in information.items() if f["mine_nats"] <= 0]
    if blind:
        yield f"MINE estimates no information for {joined(blind)}: an estimate of 0 is no measurement of 0."
    yield from unknown_conflict(facts)
    yield from conflict(facts)


def unknown_conflict(facts: RunFacts) -> Iterator[str]:
    """Of which models nobody can say whether the gradients of their tasks conflict."""
    by_model = {group[0]: row for group, row in facts.analysis("gradient").items()}
    blind = [f"{facts.title(name)} ({row['probes']:.0f})" for name, row in by_model.items() if "free" not in row]
    if "gensr" in by_model and blind:
        yield f"Whether tasks conflict is unknown for {joined(blind)}: so few probes may be noise alone."


def conflict(facts: RunFacts) -> Iterator[str]:
    """Whether the gradients of GenSR's tasks and of other models' tasks conflict, by their noise-corrected cosine."""
    by_model = {group[0]: row for group, row in facts.analysis("gradient").items()}
    intervals = {
        name: f"{facts.title(name)} {row['free']:.2f} [{row['free_low']:.2f}, {row['free_high']:.2f}]"
        for name, row in by_model.items()
        if "free" in row
    }
    if "gensr" not in intervals:
        return
    apart = [name for name in intervals if by_model[name]["free_high"] < 0]
    cosines = f"(noise-corrected cosine: {joined(list(intervals.values()))})"
    if "gensr" in apart:
        yield f"The paper's claim that GenSR removes conflict is not seen here: its tasks pull apart {cosines}."
    elif len(intervals) > 1 and not apart:
        yield f"None of these pulls its tasks apart, so there is no gradient conflict to remove {cosines}."


def _few_users(facts: RunFacts) -> Iterator[str]:
    """Warnings where intervals and tests, which are by user, have too few users."""
    compared = [(row["task"], row) for row in facts.summary.get("verdicts", [])]
    compared += [(task, row) for task, rows in facts.summary["comparisons"].items() for row in rows.values()]
    # Pages can be made again of older runs, which did not count users.
    known = [(task, row) for task, row in compared if "users" in row]
    for task, n in {task: int(row["users"]) for task, row in known if row["users"] < min(row["n"], _FEW_USERS)}.items():
        yield (
            f"{task.capitalize()} was tested on {n} users, some with many samples: with fewer than {_FEW_USERS} "
            "intervals come out too narrow and p too small."
        )


def limits(facts: RunFacts) -> Iterator[str]:
    """Limits of the run's figures."""
    config = facts.summary["config"]
    yield from few_seeds(facts)
    if config["evaluation"]["max_test_samples"] is not None:
        yield f"At most {config['evaluation']['max_test_samples']:,} test samples per task were ranked."
    yield from facts.left_out()
    yield from _few_users(facts)
    if facts.generated:
        yield "The data are generated. They show that the pipeline works, and nothing about real users."
    later = facts.manifest.get("split", {}).get("leave_one_out_later_share")
    if later:
        yield f"Leave-one-out: {later:.1%} of the training events, on average, follow a test event of another user."


def few_seeds(facts: RunFacts) -> Iterator[str]:
    """A sentence where what is compared was trained with one seed alone."""
    section = (dict.fromkeys(SYSTEMS, "rerank") | {ABLATION: "ablation"}).get(facts.summary.get("study", ""))
    seeds = facts.summary["config"][section]["seeds"] if section else []
    if len(seeds) < 2:
        seed = seeds[0] if seeds else facts.summary["seed"]
        yield f"One seed ({seed}): the intervals do not include what another seed would change."


def joined(names: list[str]) -> str:
    """Names joined as in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _were(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"
