"""The sections of the studies and of Figure 3 and Theorem 4.1: values in, HTML out."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

import pytest
import study_summaries as made
from parsed import Parsed
from test_run_tables import facts

from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting import mechanisms, study_findings, study_sections, systems
from gensr_model.reporting.model_names import MODELS
from gensr_model.reporting.page import render
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.sections import Section
from gensr_model.reporting.tables import Table

ALL = {"rerank-table": made.comparison(), "full-ranking-table": made.full_table(), "full-ranking": made.full_ranking(),
       "ablation": made.ablation(), "sweep": made.sweep()}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n0000"
KINDLE = {"counts": {"users": 68_223}}


def of(name: str, kind: str = "generated", **changes: Any) -> RunFacts:
    return facts(kind, studies={name: ALL[name]}, **changes)


def tables(section: Section | None) -> dict[str, list[list[str]]]:
    assert section is not None
    result = [block.value for block in section.blocks if isinstance(block.value, Table)]
    return {table.name: [[cell.text for cell in row] for row in table.rows] for table in result}


def marks(section: Section | None, name: str, column: int) -> list[str]:
    assert section is not None
    (table,) = [b.value for b in section.blocks if isinstance(b.value, Table) and b.value.name == name]
    return [row[column].mark for row in table.rows]


def drawn(section: Section | None) -> list[ElementTree.Element]:
    assert section is not None
    figures = [figure for block in section.blocks if block.kind == "figures" for figure in block.value]
    return [ElementTree.fromstring(figure.svg) for figure in figures]  # type: ignore[union-attr]


# --- all systems --------------------------------------------------------------------------------------------------


def test_systems_stand_best_first_with_what_they_cost() -> None:
    (section,) = systems.comparisons(of("rerank-table"))
    result = tables(section)
    assert result["systems-search"] == [
        ["QEM", "search", *["0.6125"] * 4, "0.0125", "2", "21.5", "3.5", "0.2", "70,000", "537 MB"],
        ["GenSR", "joint", *["0.4000"] * 4, "0.0125", "2", "8.0", "61.2", "–", "2,000,000", "1.07 GB"],
        ["BM25", "reference", *["0.2000"] * 4, "–", "1", *["–"] * 5],
    ]
    assert marks(section, "systems-search", 5) == ["best", "second", ""]
    assert "systems-recommendation" not in result, "nobody ranked it"
    assert result["systems-verdicts"][1] == [
        "search",
        "N@10",
        "QEM",
        "−0.2125",
        "[−0.2500, −0.1700]",
        "2.00",
        "0.004",
        "0.032",
    ]
    assert marks(section, "systems-verdicts", 3) == ["muted", "bad"]
    assert result["systems-failed"] == [["Own", "0", "ValueError: <b>no</b>"], ["Own", "1", "ValueError: <b>no</b>"]]
    (svg,) = drawn(section)
    assert [g.get("class") for g in svg.iter("g")] == ["interval open", "interval bad"]


def test_systems_over_the_catalogue_stand_with_what_their_ids_cost() -> None:
    known = of("full-ranking-table")
    (section,) = systems.comparisons(known)
    assert (section.name, section.title) == ("catalogue", "All systems over the catalogue")
    assert "the same positive among all 800 items; mean of 2 seeds" in str(section.blocks[0].value)
    costs = {row[0]: row[10:] for row in tables(section)["catalogue-search"]}
    # Of BSR 800 samples of both tasks were ranked in 8 seconds, of GenSR 400 in 3.
    assert costs == {"Item-kNN": ["–"] * 5, "GenSR": ["7.50", "–", "–", "–", "–"],
                     "BSR": ["10.00", "–", "–", "0.250", "0.125"]}  # fmt: skip
    assert list(tables(section)) == ["catalogue-recommendation", "catalogue-search", "catalogue-verdicts"]
    assert "Left out, as they rank given candidates and not the catalogue: Two heads." in render(known)
    assert any("All systems over the catalogue, search: GenSR has place 2 of 3" in o
               for o in study_findings.outcomes(known))  # fmt: skip
    (problem,) = study_findings.problems(known)
    assert problem.startswith("Search, all systems over the catalogue: GenSR is below Item-kNN in 1 of ")


def test_the_papers_tables_stand_only_beside_the_papers_data() -> None:
    theirs = of("rerank-table", "download", manifest=KINDLE)
    (section,) = systems.comparisons(theirs)
    assert ["TEM, the paper", "0.8185", "0.9051", "0.6303", "0.6587"] in tables(section)["paper-systems-search"]
    assert tables(section)["paper-systems-search"][0] == ["GenSR, this run", *["0.4000"] * 4]
    (section,) = systems.comparisons(of("full-ranking-table", "download", manifest=KINDLE))
    assert tables(section)["paper-catalogue-search"][0] == ["GenSR, this run", *["0.0600"] * 4]
    assert ["GenRet, the paper", "0.0221", "0.0311", "0.0197", "0.0277"] in tables(section)["paper-catalogue-search"]
    full = of("full-ranking", "download", manifest=KINDLE)
    assert ["GenRet, the paper", "0.0221", "0.0311", "0.0197", "0.0277"] in tables(study_sections.full_ranking(full))[
        "paper-full-search"
    ]
    assert "can give these figures of the paper: GenSR, GenRet, BSR." in render(full)
    assert "can give these figures" not in render(theirs)
    for name in ("rerank-table", "full-ranking-table", "full-ranking"):
        page = render(of(name, "folder", manifest={"counts": {"users": 9_000}}))
        assert "the paper</th>" not in page
        assert "Not the paper's data".replace("'", "&#39;") in page


# --- full ranking, ablation, sweep --------------------------------------------------------------------------------


def test_full_ranking_is_over_the_whole_catalogue_on_both_tasks() -> None:
    section = study_sections.full_ranking(of("full-ranking"))
    result = tables(section)
    assert result["full-search"][0][:2] == ["GenSR", "0.0525"]
    assert result["full-search"][1][-3:] == ["+0.0225", "[+0.0100, +0.0300]", "0.020"]
    assert len(result["full-recommendation"]) == 1
    assert result["full-segments-search"] == [["history: 5 to 9 events", "12", "0.0425"]]
    assert section is not None
    assert "all 800 items" in str(section.blocks[0].value)


def test_an_ablation_stands_with_its_interval_beside_the_papers_percentage() -> None:
    section = study_sections.ablation(of("ablation"))
    rows = tables(section)["ablation-table"]
    assert rows[1] == [
        "GenSR − CF view",
        "recommendation",
        "0.3395",
        "0.0100",
        "−32.1%",
        "[−40.0, −20.0]",
        "0.020",
        "−26.5%",
    ]
    assert rows[0][4:] == ["", "", "", "–"]
    assert marks(section, "ablation-table", 4) == ["", "good", "bad", "", "muted", "muted"]
    recommendation, search = drawn(section)
    kinds = [[g.get("class") for g in svg.iter("g")] for svg in (recommendation, search)]
    assert kinds == [["interval good", "interval bad"], ["interval open", "interval open"]]
    circle = next(iter(recommendation.iter("circle")))
    diamond, other = recommendation.iter("polygon")
    left, _, right, _ = (float(point.split(",")[0]) for point in diamond.attrib["points"].split())
    assert float(circle.attrib["cx"]) < (left + right) / 2, "−32.1% lies left of the paper's −26.5%"
    assert other.attrib["points"] != diamond.attrib["points"]
    assert len(list(search.iter("polygon"))) == 1, "the paper trains on no task alone"
    assert "on its own data (Amazon)" in render(of("ablation"))


def test_the_sweep_draws_one_factor_at_a_time_and_marks_what_was_chosen_on_validation() -> None:
    section = study_sections.sweep(of("sweep"))
    assert section is not None
    assert "Chosen on validation: τ 0.09, β 0.1" in str(section.blocks[0].value)
    tau, beta = drawn(section)
    ticks = [[t.text for t in svg.iter("text") if t.get("text-anchor") == "middle"] for svg in (tau, beta)]
    assert ticks == [["0.03", "0.05", "0.09", "τ"], ["0.001", "0.1", "0.3", "β"]]
    (line,) = [each for each in tau.iter("line") if each.get("class") == "marked"]
    last = [p.attrib["points"].split()[-1].split(",")[0] for p in tau.iter("polyline")]
    assert {line.attrib["x1"]} == set(last)
    assert len(last) == 3
    assert not [each for each in beta.iter("line") if each.get("class") == "marked"], "its τ is another"
    rows = tables(section)["sweep-table"]
    assert rows[2] == ["0.09", "0.1", "0.3800", "0.2800", "0.4800", *[""] * 6, "chosen"]
    change = ["−47.4%", "[−57.4, −37.4]", "0.067"]
    assert rows[3] == ["0.05", "0.001", "0.2000", "0.1000", "0.3000", *change, *change, ""]


def test_the_sweep_counts_the_points_that_differ_significantly_from_the_chosen() -> None:
    (said,) = study_findings.outcomes(of("sweep"))
    assert said == (
        "τ and β: 0.09 and 0.1 are the best of 5 points on validation; none of the others differs significantly from "
        "it in either task (p (Holm) < 0.05)."
    )
    known = of("sweep")
    known.studies["sweep"] = deepcopy(known.studies["sweep"])
    known.studies["sweep"]["sweep"][3]["search_p_holm"] = 0.049
    assert "; 1 of the others differs significantly from it" in study_findings.outcomes(known)[0]
    for row in known.studies["sweep"]["sweep"]:  # as a sweep was before points were ranked
        for name in [name for name in row if name.startswith(("recommendation_", "search_"))]:
            del row[name]
    assert study_findings.outcomes(known) == ["τ and β: 0.09 and 0.1 are the best of 5 points on validation."]
    section = study_sections.sweep(known)
    assert section is not None
    assert tables(section)["sweep-table"][3] == ["0.05", "0.001", "0.2000", "0.1000", "0.3000", *[""] * 7]


# --- mechanisms ---------------------------------------------------------------------------------------------------


def test_what_answers_tell_stands_in_both_units_by_every_estimator_with_what_parts_the_models() -> None:
    known = facts()
    known.summary["analysis"] = made.information()
    section = mechanisms.section(known)
    assert section is not None
    shown = tables(section)
    assert shown["information"] == [
        ["GenSR", "search", "0.300", "0.310", "0.320", "0.370", "0.380", "0.390", "0.400", "0.410", "400"],
        ["Two heads", "search", "0.200", "0.210", "0.220", "0.270", "0.280", "0.290", "0.300", "0.310", "400"],
    ]  # fmt: skip
    assert shown["critics"][0] == ["GenSR", "search", "0.300", "0.310", "0.330", "0.340", "0.350", "0.360", "0.420"]
    assert shown["information-gaps"] == [
        ["Two heads", "search", "+0.100", "[+0.020, +0.180]", "0.012", "−0.010", "[−0.030, +0.010]", "0.600"]
    ]
    assert marks(section, "information-gaps", 2) == ["good"]
    assert marks(section, "information-gaps", 5) == ["muted"]
    said = Parsed(render(known)).text
    assert "Labels stand 1:1, drawn candidates to positives." in said
    assert "critic-limited" in said
    assert "the paper's .85 to .94 (Table 5, without a unit) are possible in bits only" in said
    of_gensr = {name: value for name, value in made.information().items() if "two_head" not in name}
    known.summary["analysis"] = of_gensr
    assert "information-gaps" not in tables(mechanisms.section(known))


def test_gradients_stand_beside_what_one_task_does_with_itself() -> None:
    probe = {"cosine": 0.1, "cosine_halves": 0.05, "null_recommendation": 0.2, "null_search": 0.4}
    known = facts(gradients={"gensr": [{"step": float(n), **probe} for n in range(3)]})
    known.summary["analysis"] = made.gradients(gensr=-0.03, two_head=0.02)
    section = mechanisms.section(known)
    assert section is not None
    assert tables(section)["gradients"][0] == [
        "GenSR", "0.000", "0.100", "0.200", "0.300", "0.400", "0.500", "0.600", "0.700", "−0.030", "0.010",
        "1.000", "1.100", "1",
    ]  # fmt: skip
    assert tables(section)["gradients-noise-free"] == [
        ["GenSR", "0.47", "[+0.22, +0.72]", "–", "–", "–"],
        ["Two heads", "0.52", "[+0.27, +0.77]", "−0.05", "[−0.07, −0.03]", "< 0.001"],
    ]
    assert marks(section, "gradients-noise-free", 3) == ["muted", "bad"]
    free = {name: value for name, value in known.summary["analysis"].items() if "/free" not in name}
    known.summary["analysis"] = {name: value for name, value in free.items() if "/less" not in name}
    without = tables(mechanisms.section(known))
    assert ("gradients" in without, "gradients-noise-free" in without) == (True, False)
    cosine, less_chance = drawn(section)
    assert [len(list(svg.iter("polyline"))) for svg in (cosine, less_chance)] == [2, 2]
    (ticks,) = ([t.text for t in svg.iter("text") if t.get("text-anchor") == "end"] for svg in (less_chance,))
    lowest = min(float(str(t).replace("−", "-")) for t in ticks)
    assert lowest <= -0.25, "its line lies at .05 − .3, below 0"


def test_parameter_space_is_a_picture_in_the_file_with_its_numbers_under_it() -> None:
    known = facts(pictures={"space": PNG})
    known.summary["analysis"] = made.mechanisms()
    section = mechanisms.section(known)
    assert tables(section)["space"][0] == ["GenSR", "0.998", "0.500", "−0.125", "0.020", "0.910"]
    (image,) = Parsed(render(known)).all("img")
    assert image["src"] == "data:image/png;base64,iVBORw0KGgowMDAw"
    assert image["alt"]
    known = facts()
    known.summary["analysis"] = made.mechanisms()
    assert not Parsed(render(known)).all("img"), "a picture that was not made is not there"
    assert "space" in tables(mechanisms.section(known))


def test_the_theorem_has_both_sides_of_eq_4_over_sample_sizes() -> None:
    known = facts()
    known.summary["analysis"] = made.mechanisms()
    section = mechanisms.section(known)
    rows = tables(section)["theorem"]
    assert [row[:2] for row in rows[:3]] == [["independent", n] for n in ("30", "100", "1,000")]
    assert rows[0][2:] == ["2.50", "2.50", "86%", "2.500", "2.500", "0.777", "14%"]
    assert tables(section)["theorem-label"][0] == ["independent", "30", "2.500", "2.500", "0.444", "50%"]
    figures = drawn(section)
    assert len(figures) == 6
    assert [len(list(svg.iter("polyline"))) for svg in figures] == [2, 3, 3] * 2
    for svg in figures:
        x = [float(p.split(",")[0]) for p in next(svg.iter("polyline")).attrib["points"].split()]
        assert x == sorted(x)
        assert x[1] - x[0] == pytest.approx((x[2] - x[0]) * 0.3433, abs=0.2), "log 100/30 of log 1000/30"


# --- sentences and the page ----------------------------------------------------------------------------------------


def test_outcomes_and_what_did_not_work_are_said() -> None:
    known = facts(studies=ALL)
    known.summary["studies_failed"] = {"sweep": "TrainingError: loss is nan"}
    outcome = " ".join(study_findings.outcomes(known))
    for said in (
        "All systems, search: GenSR has place 2 of 3 by NDCG@10 (0.4000); below the best baseline, "
        "QEM (0.6125, p (Holm) 0.032).",
        "Full ranking, search: GenSR has place 1 of 2 by NDCG@10 (0.0525).",
        "Ablation, recommendation: the lowest is GenSR − CF view, −32.1% in NDCG@5 [−40.0%, −20.0%].",
        "τ and β: 0.09 and 0.1 are the best of 5 points on validation; none of the others differs significantly from "
        "it in either task (p (Holm) < 0.05).",
    ):
        assert said in outcome
    problem = " ".join(study_findings.problems(known))
    for said in (
        "The study sweep failed: TrainingError: loss is nan",
        "Own was not ranked with seed 0 and 1.",
        "Search, all systems: GenSR is below QEM in 1 of the paper's four metrics.",
        "Ablation, recommendation: NDCG@5 is higher than the whole model's for GenSR − contrastive (+5.0%).",
        "Ablation, search: NDCG@5 is not significantly lower than the whole model's for GenSR − CF view (−1.0%)",
        "The chosen τ (0.09) is at the end of its grid",
    ):
        assert said in problem
    assert "chosen β" not in problem


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_above_gensr_takes_its_place_in_every_study(name: str) -> None:
    known = facts(studies=deepcopy(ALL))
    full, comparison = known.studies["full-ranking"], known.studies["rerank-table"]
    full["results"]["search"] |= {name: {"ndcg_at_10": 0.06}}
    rows = [row for row in comparison["results"] if row["system"] == "gensr"]
    comparison["results"] = rows + [row | {"system": name, "mean": row["mean"] + 0.1} for row in rows]
    comparison["verdicts"] = [verdict | {"baseline": name} for verdict in comparison["verdicts"]]
    outcome = " ".join(study_findings.outcomes(known))
    assert f"search: GenSR has place 2 of 2 by NDCG@10 (0.4000); below the best baseline, {MODELS[name]}" in outcome
    assert "Full ranking, search: GenSR has place 2 of " in outcome


def test_a_section_is_there_only_where_the_run_has_it() -> None:
    anchors = {
        "rerank-table": "systems",
        "full-ranking-table": "catalogue",
        "full-ranking": "full",
        "ablation": "ablation",
        "sweep": "sweep",
    }
    for name, anchor in anchors.items():
        page = Parsed(render(of(name)))
        assert {a for a in anchors.values() if a in page.ids} == {anchor}
        linked = {str(a["href"])[1:] for a in page.all("a") if str(a["href"]).startswith("#")}
        assert anchor in linked
        assert linked <= set(page.ids)
    whole = facts(studies=ALL)
    whole.summary["analysis"] = made.mechanisms()
    page = Parsed(render(whole))
    assert {*anchors.values(), "mechanisms", "results"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(page.drawn)
    assert re.search(r"ValueError: <b>no</b>", page.text), "what a system said is text"


def test_a_run_of_a_study_alone_says_nothing_of_what_it_did_not_do() -> None:
    known = of("sweep")
    known.summary.update({"study": "sweep", "results": {}, "comparisons": {}})
    page = Parsed(render(known))
    assert "results" not in page.ids
    assert "were not analysed" not in page.text
    assert "gensr report: sweep" in page.text


def test_what_the_paper_says_in_words_stands_only_beside_its_data() -> None:
    for kind, shown in (("download", True), ("folder", False)):
        users = KINDLE if shown else {"counts": {"users": 9_000}}
        known = of("sweep", kind, manifest=users)
        known.summary["analysis"] = made.gradients(gensr=-0.03)
        said = Parsed(render(known)).text
        assert ("1.5% below its peak" in said) == shown
        assert ("UniSAR is often around" in said) == shown
        for figure in ("Figure 4", "Figure 6"):
            assert (f"Not the paper's data: its text on {figure}" in said) != shown
