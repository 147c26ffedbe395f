"""The first screen of a report, the opening of each section, and the paper's claims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import study_summaries as made
from parsed import Parsed
from test_run_tables import facts, trained

from gensr_model.config.known_formats import FORMATS
from gensr_model.reporting import claims, meanings
from gensr_model.reporting.first_screen import answers
from gensr_model.reporting.page import render
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import Table


def claimed(known: RunFacts) -> dict[str, tuple[str, str, str]]:
    """Claim -> what was measured, the verdict and its mark."""
    section = claims.section(known)
    assert section is not None
    (table,) = [block.value for block in section.blocks if isinstance(block.value, Table)]
    return {row[0].text: (row[2].text, row[1].text, row[1].mark) for row in table.rows}


def said(known: RunFacts) -> dict[str, str]:
    return {answer.question: " ".join(answer.sentences) for answer in answers(known)}


def test_four_questions_are_answered_in_numbers() -> None:
    known = facts(
        manifest={"counts": {"users": 1_500, "items": 800}},
        audits=[{"name": "a", "rule": "r", "violations": 0}, {"name": "b", "rule": "r", "violations": 3}],
        checks=[{"suite": "s", "expectations": 40, "failed": 2}],
    )
    known.summary["comparisons"]["search"]["bm25"]["users"] = 300.0
    result = said(known)
    assert list(result) == ["Is it good?", "On what?", "Compared with what?", "Can I trust it?"]
    assert result["Is it good?"] == (
        "GenSR puts the item that the user took among the first ten in 40% of searches. "
        "A random order does so in 10%. It is second of 4 systems in search."
    )
    assert result["On what?"] == (
        "Generated data: 1,500 users and 800 items after filtering. Tested on 400 searches. "
        "Each taken item is ranked among 99 frozen negatives (uniform)."
    )
    assert result["Compared with what?"] == (
        "Search: 3 other systems, 3 of them reference rankers. "
        "GenSR is above Popularity, level with LightGCN, below BM25."
    )
    trust = result["Can I trust it?"]
    assert trust.startswith("1 of 2 audits for leaks and 2 of 40 data checks failed. Differences are paired, with 95%")
    assert "300 test users" in trust
    assert "One seed (3)" in trust
    assert "nothing about real users" in trust
    assert "nothing about real users" not in said(facts("folder"))["Can I trust it?"]
    known = facts(training={"gensr": trained([0.1, 0.2], "all epochs done")})
    assert (
        "still improving when training ended: perhaps undertrained. Preset demo is only a first look."
        in (said(known)["Can I trust it?"])
    )


def test_the_first_section_of_the_page_has_the_answers_and_the_findings() -> None:
    page = Parsed(render(facts()))
    assert page.ids[0] == "short"
    head = page.text[: page.text.index("Every model ranks the same positive")]
    for words in (
        "Is it good?",
        "second of 4 systems",
        "Findings",
        "BM25 beats GenSR in search: GenSR − it is −0.1000 [−0.1200, −0.0800]",
    ):
        assert words in head


@pytest.mark.parametrize(("name", "before"), [("amazon", "failed"), ("logs", "run")])
def test_the_papers_claims_follow_the_results_and_are_last_for_data_of_no_papers_format(name: str, before: str) -> None:
    ids = [attrs["id"] for attrs in Parsed(render(replace(facts(), data_format=FORMATS[name]))).all("section")]
    assert ids.index("results") < ids.index("claims") == ids.index(before) - 1


def test_a_study_without_ranks_says_what_it_came_to() -> None:
    known = facts(studies={"sweep": made.sweep()})
    known.summary.update({"study": "sweep", "results": {}, "comparisons": {}})
    assert said(known)["Is it good?"].startswith("τ and β: 0.09 and 0.1 are the best of 5 points on validation")
    known.studies.clear()
    assert said(known)["Is it good?"] == "This run ranked no test samples."


def test_every_section_opens_with_its_meaning() -> None:
    studies = {"rerank-table": made.comparison(), "full-ranking-table": made.full_table(),
               "full-ranking": made.full_ranking(), "ablation": made.ablation(), "sweep": made.sweep()}  # fmt: skip
    lead = {"by": "target", "segment": "tail", "task": "search", "samples": 9, "model": "gensr", "ndcg_at_10": 0.5,
            "baseline": "bm25", "lead": -0.2, "lead_low": -0.3, "lead_high": -0.1, "lead_p_holm": 0.01}  # fmt: skip
    known = facts(studies=studies, segments=[lead], manifest={"counts": {"users": 9}})
    known.summary["analysis"] = made.mechanisms()
    page = Parsed(render(known))
    opened = [attrs.get("class") for name, attrs in page.tags if name == "p"].count("meaning")
    sections = [attrs["id"] for attrs in page.all("section")]
    assert opened == len(sections) - 1, "all but the first screen"
    assert "GenSR is at place 2 of 4 in search." in meanings.meaning(known, "results")
    assert "significantly ahead on 0 of 1 segments and behind on 1." in meanings.meaning(known, "segments")
    assert "the lowest is GenSR − CF view, −32.1%" in meanings.meaning(known, "ablation")
    assert page.ids.index("results") < page.ids.index("failed") < page.ids.index("data") < page.ids.index("run")


@pytest.mark.parametrize(
    ("changes", "verdict", "mark"),
    [
        ({"mean_difference": 0.1, "p_holm": 0.01}, "seen", "good"),
        ({"mean_difference": -0.1, "p_holm": 0.01}, "not seen", "bad"),
        ({"mean_difference": 0.1, "p_holm": 0.2}, "undecided", "muted"),
    ],
)
def test_gensr_is_claimed_first_where_its_lead_over_the_best_other_is_significant(
    changes: dict[str, Any], verdict: str, mark: str
) -> None:
    known = facts()
    known.summary["comparisons"]["search"]["bm25"] |= changes
    result = claimed(known)
    assert result["GenSR ranks best in search"][1:] == (verdict, mark)
    assert result["GenSR ranks best in search"][0].startswith("place 2 of 4, ")
    assert result["GenSR ranks best in recommendation"][1:] == ("not measured", "muted")
    assert result["It also ranks best over the whole catalogue"][0] == "wants studies.full_ranking"


def test_each_claim_is_judged_by_what_measures_it() -> None:
    known = facts(studies={"rerank-table": made.comparison(), "full-ranking": made.full_ranking(),
                           "ablation": made.ablation()})  # fmt: skip
    known.summary["analysis"] = made.mechanisms() | made.information() | made.gradients(gensr=-0.03, two_head=0.02)
    result = claimed(known)
    assert result["GenSR ranks best in search"][0] == "place 2 of 4, −0.100 N@10 from BM25", "of the larger comparison"
    known.summary["results"] = {}
    assert claimed(known)["GenSR ranks best in search"][0] == "place 2 of 3, −0.212 N@10 from QEM"
    catalogue = result["It also ranks best over the whole catalogue"]
    assert catalogue[:2] == ("search: place 1 of 2, +0.022 N@10 from BM25", "seen")
    assert result["Training on both tasks beats training on one"][:2] == (
        "GenSR, search only, search: +0.4%",
        "not seen",
    )
    parts = result["Each view, the soft filter and contrastive learning help"]
    assert "GenSR − CF view, recommendation: −32.1%" in parts[0]
    assert parts[1] == "not seen", "contrastive learning does harm"
    told = result["Its answers tell more about what it read"]
    assert told[:2] == ("search: +0.100 nats against Two heads", "seen")
    assert result["Its tasks' gradients conflict less"][1] == "not seen"
    assert result["Its tasks lie apart in parameter space"][1] == "undecided"
    theorem = result["A generative estimate errs less and tells more"]
    assert theorem[:2] == ("Eq. 14 holds in 86% of the simulated data sets, Eq. 4 in 14%", "undecided")


def test_a_run_that_measures_no_claim_has_no_table_of_them() -> None:
    known = facts()
    known.summary["results"] = {}
    assert claims.section(known) is None
