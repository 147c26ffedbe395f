"""What a reader asks first of a run: four questions with their answers, and three findings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from textwrap import shorten
from typing import NamedTuple

from gensr_model.reporting import findings, standings, study_findings
from gensr_model.reporting.findings import joined, verdict
from gensr_model.reporting.run_facts import FULL, SYSTEMS, RunFacts
from gensr_model.reporting.standings import Standing

_FINDINGS, _LONGEST = 3, 230  # sentences, and letters of one
_FIRST_LOOK = "demo"  # the preset that trains small models for few steps
_NAMED = 3  # compared systems that are named; of more there is the number
_PLURAL = {"recommendation": "recommendations", "search": "searches"}
_SOURCES = {"folder data": "data of a folder", "download data": "downloaded data"}


class Answer(NamedTuple):
    """A question and the sentences that answer it."""

    question: str
    sentences: list[str]


def answers(facts: RunFacts) -> list[Answer]:
    """Is it good, on what, compared with what, can I trust it: each in numbers."""
    known = standings.standings(facts)
    made = (("Is it good?", _good(facts, known)), ("On what?", _data(facts, known)),
            ("Compared with what?", _compared(facts, known)), ("Can I trust it?", _trust(facts, known)))  # fmt: skip
    return [Answer(question, list(sentences)) for question, sentences in made]


def about(facts: RunFacts) -> str:
    """The data and the protocol in a sentence or two."""
    summary = facts.summary
    said = f"{shorten(summary['dataset'], 60, placeholder='…')}: {summary['source']}, format {summary['format']}, "
    look = ", a first look only" if summary["preset"] == _FIRST_LOOK else ""
    said += f"preset {summary['preset']}{look}. A positive is ranked among {_among(facts)}."
    return f"{said} Generated data say nothing of real users." if facts.generated else said


def top_findings(facts: RunFacts) -> list[str]:
    """Three sentences or fewer, the gravest first: what failed, then where GenSR stands, then the rest."""
    every = list(dict.fromkeys(_sentences(facts)))
    return [shorten(each, _LONGEST, placeholder=" …") for each in itertools.islice(every, _FINDINGS)]


def _sentences(facts: RunFacts) -> Iterator[str]:
    known = standings.standings(facts)
    yield from study_findings.failed(facts)
    yield from (standings.outcome(facts, standing) for standing in known)
    yield from findings.undertrained(facts)
    yield from standings.against_heads(known)
    if facts.summary.get("study") not in (FULL, *SYSTEMS):  # of these the sentences above are the outcome
        yield from study_findings.outcomes(facts)
    yield from study_findings.problems(facts)
    for each in (findings.losing_segments, findings.conflict, findings.limits, findings.unknown_conflict):
        yield from each(facts)


def _among(facts: RunFacts) -> str:
    study = facts.studies.get(facts.summary.get("study", ""), {})
    return study.get("among") or facts.negatives()


def _good(facts: RunFacts, known: list[Standing]) -> Iterator[str]:
    if not known:
        yield from study_findings.outcomes(facts) or ["This run ranked no test samples."]
        return
    # Rounded down: 99.6% is not all.
    shares = [f"{int(100 * each.rows['gensr']['recall_at_10'])}% of {_PLURAL[each.task]}" for each in known]
    yield f"GenSR puts the item that the user took among the first ten in {joined(shares)}."
    if "among" not in facts.studies.get(facts.summary.get("study", ""), {}):
        median = facts.median_list()
        items = f" of the median list, {median:g} items," if median else ""
        yield f"A random order{items} does so in {min(1.0, 10 / (median or 1 + facts.summary['negatives'])):.0%}."
    yield " ".join(f"It is {_ordinal(s.place)} of {len(s.rows)} systems in {s.task}." for s in known)


def _data(facts: RunFacts, known: list[Standing]) -> Iterator[str]:
    source = facts.summary["source"]
    counts = facts.manifest.get("counts", {})
    size = [f"{counts[name]:,} {name}" for name in ("users", "items", "events") if name in counts]
    of = f": {joined(size)} after filtering" if size else ""
    yield f"{_SOURCES.get(source, source).capitalize()}{of}."
    if known:
        tested = [f"{standing.samples:,} {_PLURAL[standing.task]}" for standing in known]
        yield f"Tested on {joined(tested)}. Each taken item is ranked among {_among(facts)}."


def _compared(facts: RunFacts, known: list[Standing]) -> Iterator[str]:
    for standing in known:
        groups: dict[str, list[str]] = {"good": [], "open": [], "bad": []}
        for name in standing.others:
            if name in standing.compared:
                groups[verdict(standing.compared[name])].append(facts.title(name))
        said = [f"{relation} {_named(groups[kind])}" for kind, relation in
                (("good", "above"), ("open", "level with"), ("bad", "below")) if groups[kind]]  # fmt: skip
        references = len(standing.references & standing.rows.keys())
        others = f"{len(standing.others)} other systems, {references} of them reference rankers"
        yield f"{standing.task.capitalize()}: {others}. GenSR is {', '.join(said) or 'not tested against them'}."
    if any(standings.HEADS in standing.rows for standing in known):
        yield standings.heads_are(facts)


def _trust(facts: RunFacts, known: list[Standing]) -> Iterator[str]:
    if facts.audits or facts.checks:
        broken = sum(bool(each["violations"]) for each in facts.audits)
        failed = sum(each["failed"] for each in facts.checks)
        expectations = sum(each["expectations"] for each in facts.checks)
        yield f"{broken} of {len(facts.audits)} audits for leaks and {failed} of {expectations} data checks failed."
    users = [int(row["users"]) for standing in known for row in standing.compared.values() if "users" in row]
    if users:
        yield f"Differences are paired, with {facts.confidence} intervals over {min(users):,} test users or more."
    look = ["Preset demo is only a first look."] if facts.summary["preset"] == _FIRST_LOOK else []
    if training := " ".join([*findings.undertrained(facts), *look]):
        yield training
    yield from findings.few_seeds(facts)
    yield (
        "The data are generated: they show that the pipeline works, and say nothing about real users."
        if facts.generated
        else "What did not work is listed on this page."
    )


def _named(titles: list[str]) -> str:
    return joined(titles) if len(titles) <= _NAMED else f"{len(titles)} systems"


def _ordinal(place: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(place, f"{place}th")
