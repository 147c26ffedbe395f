"""The paper's claims as a table: what this run measured of each, and whether it was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gensr_model.config.base import TASKS
from gensr_model.config.variants import VARIANTS
from gensr_model.reporting import standings
from gensr_model.reporting.findings import VERDICTS, joined, tested
from gensr_model.reporting.run_facts import ABLATION, FULL, FULL_TABLE, RERANK, RunFacts
from gensr_model.reporting.sections import Section, table, text
from gensr_model.reporting.tables import Cell, Column, Table
from gensr_model.reporting.tables import text as words

_SEEN = {"good": "seen", "bad": "not seen", "open": "undecided"}
_ALONE = {"recommendation": "recommendation_only", "search": "search_only"}
_MOST = 0.95  # share of simulated data sets from which a claim counts as seen; below 1 − it as not seen


class Measured(NamedTuple):
    """What a run says of a claim; ``verdict`` is good, bad or open."""

    words: str
    verdict: str


class _Claim(NamedTuple):
    words: str
    where: str  # in the paper
    measure: Callable[[RunFacts], Measured | None]
    how: str  # what in the config measures it


def section(facts: RunFacts) -> Section | None:
    """Every claim and what was measured of it; None where the run measured none."""
    measured = [(claim, claim.measure(facts)) for claim in _CLAIMS]
    if not any(result for _, result in measured):
        return None
    rows = []
    for claim, result in measured:
        shown = [Cell("not measured", None, "muted"), Cell(f"wants {claim.how}", None, "muted")]
        if result:
            shown = [words(_SEEN[result.verdict], VERDICTS[result.verdict]), words(result.words)]
        rows.append([words(claim.words), *shown, words(claim.where)])
    columns = [Column(title, False) for title in ("The paper claims", "Seen?", "This run", "Source")]
    how = (
        f"A claim is seen where its difference is significant (p (Holm) < {facts.alpha:g}), and not seen where the "
        "opposite is. The compared systems include reference rankers, which the paper does not have."
    )
    return Section(
        "claims",
        "The paper's claims",
        [text(how), table(Table("claims-table", "Claims and what this run measured", columns, rows, sortable=False))],
    )


def _first(task: str) -> Callable[[RunFacts], Measured | None]:
    def measure(facts: RunFacts) -> Measured | None:
        every = [] if facts.summary.get("study") in (FULL, FULL_TABLE) else standings.standings(facts)
        every += standings.of_study(facts.studies.get(RERANK, {}))
        mine = [each for each in every if each.task == task and each.others]
        return _place(facts, max(mine, key=lambda each: len(each.rows))) if mine else None

    return measure


def _place(facts: RunFacts, standing: standings.Standing) -> Measured:
    best = standing.others[0]
    by = standing.compared.get(best)
    place = f"place {standing.place} of {len(standing.rows)}"
    verdict = tested(by["mean_difference"], by.get("p_holm"), facts) if by else "open"
    return Measured(f"{place}, {_signed(standing.difference(best), 3)} N@10 from {facts.title(best)}", verdict)


def _catalogue(facts: RunFacts) -> Measured | None:
    studies = [facts.studies[name] for name in (FULL_TABLE, FULL) if name in facts.studies]
    if not studies:
        return None
    known = standings.of_study(studies[0])
    return _all(
        Measured(f"{each.task}: {place.words}", place.verdict)
        for each in known
        if each.others
        for place in [_place(facts, each)]
    )


def _information(facts: RunFacts) -> Measured | None:
    return _all(
        Measured(
            f"{task}: {_signed(row['exact_gap'], 3)} nats against {facts.title(model)}",
            tested(row["exact_gap"], row.get("exact_gap_p_holm"), facts),
        )
        for (model, task), row in facts.analysis("information").items()
        if "exact_gap" in row
    )


def _conflict(facts: RunFacts) -> Measured | None:
    return _all(
        Measured(
            f"noise-corrected cosine {_signed(row['less'], 2)} against {facts.title(model)}",
            tested(row["less"], row.get("less_p_holm"), facts),
        )
        for (model,), row in facts.analysis("gradient").items()
        if "less" in row
    )


def _space(facts: RunFacts) -> Measured | None:
    planes = facts.analysis("space")
    shown = [
        f"{facts.title(what)} {row['overlap']:.2f}" for (what,), row in planes.items() if not what.startswith("inputs")
    ]
    return Measured(f"overlap of the tasks: {joined(shown)}; not tested", "open") if shown else None


def _parts(facts: RunFacts) -> Measured | None:
    rows = [row for row in _ablation(facts) if VARIANTS[row["variant"]].paper]
    return _all(_without(facts, row) for row in rows)


def _joint(facts: RunFacts) -> Measured | None:
    rows = [row for row in _ablation(facts) if row["variant"] == _ALONE[row["task"]]]
    return _all(_without(facts, row) for row in rows)


def _ablation(facts: RunFacts) -> list[dict[str, Any]]:
    rows = facts.studies.get(ABLATION, {}).get(ABLATION, [])
    return [row for row in rows if row["variant"] in VARIANTS]


def _without(facts: RunFacts, row: dict[str, Any]) -> Measured:
    said = f"{facts.title(row['variant'])}, {row['task']}: {_signed(100 * row['change'], 1)}%"
    return Measured(said, tested(-row["change"], row.get("p_holm"), facts))


def _theorem(facts: RunFacts) -> Measured | None:
    worlds = [row for (world, _), row in facts.analysis("theorem").items() if world == "independent"]
    if not worlds:
        return None
    errors, information = (sum(row[name] for row in worlds) / len(worlds) for name in ("error_holds", "gaussian_holds"))
    least, most = sorted((errors, information))
    verdict = "good" if least >= _MOST else "bad" if most <= 1 - _MOST else "open"
    return Measured(f"Eq. 14 holds in {errors:.0%} of the simulated data sets, Eq. 4 in {information:.0%}", verdict)


def _all(each: Iterable[Measured]) -> Measured | None:
    """Seen where all parts are, not seen where one is the other way round."""
    parts = list(each)
    if not parts:
        return None
    verdicts = {part.verdict for part in parts}
    verdict = "bad" if "bad" in verdicts else "good" if verdicts == {"good"} else "open"
    return Measured("; ".join(part.words for part in parts), verdict)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _claims() -> Iterator[_Claim]:
    for task, where in zip(TASKS, ("Table 2", "Table 3"), strict=True):
        yield _Claim(f"GenSR ranks best in {task}", where, _first(task), "test samples of it")
    yield _Claim("It also ranks best over the whole catalogue", "Table 4", _catalogue, "studies.full_ranking")
    yield _Claim("Training on both tasks beats training on one", "§6.2", _joint, "studies.ablation, not in demo")
    yield _Claim("Each view, the soft filter and contrastive learning help", "Figure 5", _parts, "studies.ablation")
    yield _Claim("Its answers tell more about what it read", "Table 5", _information, "analysis.parts: information")
    yield _Claim("Its tasks lie apart in parameter space", "Figure 3", _space, "analysis.parts: space")
    yield _Claim("Its tasks' gradients conflict less", "Figure 4", _conflict, "analysis.parts: gradients")
    yield _Claim("A generative estimate errs less and tells more", "Theorem 4.1", _theorem, "analysis.parts: theorem")


_CLAIMS = tuple(_claims())
