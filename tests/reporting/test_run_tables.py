"""Tables and sentences of the report, from numbers worked out by hand."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import study_summaries as made
from parsed import Parsed

from gensr_model.config.known_formats import FORMATS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.variants import VARIANTS
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting import run_tables
from gensr_model.reporting.charts import COLORS
from gensr_model.reporting.findings import in_short, verdict, what_did_not_work
from gensr_model.reporting.model_names import MODELS, in_order
from gensr_model.reporting.page import render
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.tables import Cell, duration, mark_best, memory, number


def row(ndcg: float) -> dict[str, float]:
    return dict.fromkeys(run_tables.METRICS, ndcg) | {"samples": 400.0}


def compared(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean_difference": mean, "low": low, "high": high, "p": 0.0004, "p_holm": 0.012, "n": 400.0}


def facts(kind: str = "generated", **changes: Any) -> RunFacts:
    """A run in which GenSR is second on search, and nothing else is known."""
    source = {"kind": kind} if kind != "folder" else {"kind": kind, "path": "mine"}
    config = PipelineConfig.model_validate({"name": "toys", "source": source})
    summary: dict[str, Any] = {
        "dataset": "toys",
        "format": "amazon",
        "source": f"{kind} data",
        "preset": "demo",
        "seed": 3,
        "negatives": 99,
        "config": config.model_dump(mode="json"),
        "config_hash": "c0ffee",
        "dataset_digest": "d1gest",
        "commit": None,
        "results": {
            "recommendation": {},
            "search": {"bm25": row(0.5), "gensr": row(0.4), "popularity": row(0.1), "lightgcn": row(0.39)},
        },
        "comparisons": {
            "recommendation": {},
            "search": {
                "bm25": compared(-0.1, -0.12, -0.08),
                "popularity": compared(0.3, 0.28, 0.32),
                "lightgcn": compared(0.01, -0.02, 0.04),
            },
        },
        "analysis": {},
    }
    return RunFacts(summary, "2026-01-02 03:04 UTC", data_format=FORMATS["amazon"], **changes)


def trained(metrics: list[float], stopped: str, resumed_at: int = 0) -> dict[str, Any]:
    validations = [{"step": 10.0 * n, "metric": m, "search/ndcg_at_5": m} for n, m in enumerate(metrics, 1)]
    return {"validations": validations, "best_metric": max(metrics), "stopped": stopped, "resumed_at": resumed_at,
            "steps": 10 * len(metrics), "epochs": 1.0, "seconds": 2.0}  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------


def test_the_best_is_marked_and_equals_share_the_mark() -> None:
    rows = [[Cell("a"), number(0.5)], [Cell("b"), number(0.7)], [Cell("c"), number(0.5)], [Cell("d"), number(None)]]
    marks = [r[1].mark for r in mark_best(rows, [1])]
    assert marks == ["second", "best", "second", "muted"]
    assert [r[1].mark for r in rows] == ["", "", "", "muted"], "what was given stays"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(-0.00004), "0.0000"),
        (number(-0.25, 2, sign=True), "−0.25"),
        (number(float("nan")), "–"),
        (memory(943_718_400), "944 MB"),
        (memory(2_500_000_000), "2.50 GB"),
        (memory(0), "–"),
    ],
)
def test_numbers_as_people_read_them(shown: Cell, expected: str) -> None:
    assert shown.text == expected


def test_durations() -> None:
    assert [duration(s) for s in (0.04, 59.94, 61.2, 3600 * 2 + 125)] == ["0.0 s", "59.9 s", "1 min 01 s", "2 h 02 min"]


def test_segments_have_a_row_each_and_a_column_per_model() -> None:
    key = {"task": "search", "by": "history", "segment": "5 to 9 events", "samples": 12}
    ours, more = {"model": "gensr"}, {"segment": "10 or more"}
    rows = [
        key | {"model": "bm25", "ndcg_at_10": 0.5},
        key | ours | {"ndcg_at_10": 0.25, "ndcg_at_10_error": 0.05},
        key | ours | more | {"samples": 3, "ndcg_at_10": 1.0, "ndcg_at_10_error": None},
        key | more | {"samples": 3, "model": "bm25", "ndcg_at_10": 1.0},
    ]
    (made,) = run_tables.segments(RunFacts(summary={}, made=""), rows)
    assert [column.title for column in made.columns] == ["Segment", "Samples", "GenSR", "BM25"]
    shown = [[cell.text for cell in row] for row in made.rows]
    assert shown[0] == ["history: 5 to 9 events", "12", "0.2500 ± 0.098", "0.5000"]
    assert shown[1][0] == "history: 10 or more"
    assert shown[1][2] == "1.0000", "of one user there is no interval"
    assert shown[1][3] == "1.0000"


def test_segments_say_by_how_much_gensr_leads() -> None:
    key = {"task": "search", "by": "history", "samples": 12}
    led = {"baseline": "bm25", "lead": -0.25, "lead_low": -0.375, "lead_high": -0.125, "lead_p_holm": 0.0004}
    rows = [
        key | {"segment": "a", "model": "gensr", "ndcg_at_10": 0.25} | led,
        key | {"segment": "a", "model": "bm25", "ndcg_at_10": 0.5} | dict.fromkeys(led),
        key | {"segment": "b", "model": "gensr", "ndcg_at_10": 0.5} | led | {"lead_p_holm": None},
        key | {"segment": "c", "model": "gensr", "ndcg_at_10": 0.5} | dict.fromkeys(led),
        key | {"segment": "d", "model": "gensr", "ndcg_at_10": 0.5} | led | {"lead_p_holm": 0.3},
    ]
    known = RunFacts(summary={"config": {"statistics": {"confidence": 0.8}}}, made="")
    values, made = run_tables.segments(known, rows)
    assert (values.name, made.name) == ("segments-search", "segments-leads-search")
    assert [len(values.rows), values.note] == [4, ""]
    titles = ["Segment", "Samples", "GenSR", "Best other", "GenSR − it", "80% interval", "p (Holm)"]
    assert [column.title for column in made.columns] == titles
    assert [[cell.text for cell in row] for row in made.rows] == [
        ["history: a", "12", "0.2500", "BM25", "−0.2500", "[−0.3750, −0.1250]", "< 0.001"],
        ["history: b", "12", "0.5000", "BM25", "−0.2500", "[−0.3750, −0.1250]", "–"],
        ["history: d", "12", "0.5000", "BM25", "−0.2500", "[−0.3750, −0.1250]", "0.300"],
    ]
    assert [row[4].mark for row in made.rows] == ["bad", "muted", "muted"], "by p, which knows how many there are"
    assert "fewer than 50 users" in made.note


def test_results_are_in_a_fixed_order_with_differences_and_verdicts() -> None:
    known = facts()
    made = run_tables.results(known, known.summary, "search", "results")
    assert [r[0].text for r in made.rows] == ["GenSR", "Popularity", "LightGCN", "BM25"]
    gensr, popularity, lightgcn, bm25 = made.rows
    assert [gensr[1].mark, bm25[1].mark] == ["second", "best"]
    assert [c.text for c in bm25[-3:]] == ["−0.1000", "[−0.1200, −0.0800]", "0.012"]
    assert [r[-3].mark for r in (popularity, lightgcn, bm25)] == ["good", "muted", "bad"]
    assert [c.text for c in gensr[-3:]] == ["", "", ""]
    assert made.columns[-1].title == "p (Holm)"
    assert in_order(["zeta", "bm25", "unisar", "gensr"]) == ["gensr", "unisar", "bm25", "zeta"]


# --- figures ----------------------------------------------------------------------------------------------------


# --- sentences --------------------------------------------------------------------------------------------------


def test_the_verdict_follows_the_interval() -> None:
    assert [verdict(compared(0, *ends)) for ends in ((0.01, 0.2), (-0.2, -0.01), (-0.1, 0.1), (0.0, 0.1))] == [
        "good", "bad", "open", "open"
    ]  # fmt: skip


def test_in_short_says_the_place_and_whom_it_beats() -> None:
    (result,) = in_short(facts())
    assert (result["task"], result["place"], result["of"], result["best"]) == ("search", 2, 4, "BM25")
    assert (result["above"], result["level"], result["below"]) == (["Popularity"], ["LightGCN"], ["BM25"])


@pytest.mark.parametrize("name", REFERENCES)
def test_gensr_is_first_only_where_no_reference_is_above_it(name: str) -> None:
    known = facts()
    known.summary["results"]["search"] = {"gensr": row(0.4), "two_head": row(0.3)}
    assert in_short(known)[0]["place"] == 1
    known.summary["results"]["search"][name] = row(0.5)
    known.summary["comparisons"]["search"] = {name: compared(-0.1, -0.12, -0.08)}
    (result,) = in_short(known)
    assert (result["place"], result["best"], result["below"]) == (2, MODELS[name], [MODELS[name]])
    assert f"Search: GenSR ranks worse than {MODELS[name]}." in what_did_not_work(known)


def test_what_did_not_work_is_said() -> None:
    known = facts(
        training={"gensr": trained([0.1, 0.2], "all epochs done"), "two_head": trained([0.2, 0.1], "patience", 40)},
        reading={"read": 1000, "accepted": 997, "rejected": 3},
        rejects={"no user": 2, "bad time": 1},
        audits=[
            {"name": "a_x", "rule": "r.", "violations": 0},
            {"name": "a_y", "rule": "Later events.", "violations": 7},
        ],
        manifest={"split": {"leave_one_out_later_share": 0.098}},
    )
    said = " ".join(what_did_not_work(known))
    for sentence in (
        "Audit a_y found 7 rows: Later events.",
        "3 of 1,000 raw lines could not be used: no user (2), bad time (1).",
        "Search: GenSR ranks worse than BM25.",
        "no significant difference from LightGCN",
        "GenSR was still improving when training ended",
        "Training of Two heads was interrupted and went on from step 40",
        "One seed (3)",
        "The data are generated.",
        "9.8% of the training events",
        "were not analysed",
    ):
        assert sentence in said
    assert "a_x" not in said
    assert "another model is better" not in said
    assert "Two heads was still improving" not in said


def test_segments_that_gensr_loses_are_said() -> None:
    row = {"task": "search", "by": "target", "segment": "tail", "samples": 9, "model": "gensr", "ndcg_at_10": 0.5}
    lost = row | {"baseline": "bm25", "lead": -0.25, "lead_low": -0.4, "lead_high": -0.1, "lead_p_holm": 0.01}
    others = [
        lost | {"segment": "head", "lead": 0.25},
        lost | {"segment": "unseen in training", "lead_p_holm": 0.2},
        lost | {"segment": "alone", "lead_p_holm": None},
    ]
    said = " ".join(what_did_not_work(facts(segments=[lost, *others, row | {"model": "bm25", "lead": None}])))
    assert "Search: another model is better than GenSR on target tail (BM25 by 0.250)." in said


def test_few_users_with_many_samples_are_said() -> None:
    known = facts()
    for row in known.summary["comparisons"]["search"].values():
        row["users"] = 400.0
    assert "users, some with" not in " ".join(what_did_not_work(known))
    for row in known.summary["comparisons"]["search"].values():
        row["users"] = 20.0
    assert "Search was tested on 20 users, some with many samples" in " ".join(what_did_not_work(known))


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        (
            {"gensr": -0.76},
            "is not seen here: its tasks pull apart (noise-corrected cosine: GenSR -0.26 [-0.51, -0.01]).",
        ),
        ({"gensr": -0.8, "unisar": 0.0}, "GenSR -0.30 [-0.55, -0.05] and UniSAR 0.50 [0.25, 0.75])."),
        (
            {"gensr": -0.7, "unisar": -0.7},
            "None of these pulls its tasks apart, so there is no gradient conflict to remove",
        ),
        ({"gensr": -0.7, "unisar": -0.8}, None),
        ({"gensr": 0.2}, None),
    ],
)
def test_conflict_is_told_by_the_cosine_less_noise(gaps: dict[str, float], said: str | None) -> None:
    known = facts()
    known.summary["analysis"] = made.gradients(**gaps)
    result = " ".join(what_did_not_work(known))
    if said is None:
        assert "gradient conflict" not in result
    else:
        assert said in result


def test_a_few_probes_say_nothing_of_conflict() -> None:
    known = facts()
    both = made.gradients(gensr=0.1, unisar=0.1)
    for hidden, blind in (("gensr/free", "GenSR (1)"), ("/free", "GenSR (1) and UniSAR (1)")):
        known.summary["analysis"] = {name: value for name, value in both.items() if hidden not in name}
        said = " ".join(what_did_not_work(known))
        assert f"Whether tasks conflict is unknown for {blind}: so few probes may be noise alone." in said
        assert "no gradient conflict" not in said


def test_a_baselines_speed_counts_its_own_batches() -> None:
    known = facts(
        training={"unisar": trained([0.1], "patience"), "gensr": trained([0.1], "patience")},
        stages=[
            stage | {"reused": False, "peak_bytes": 0, "peak_gpu_bytes": 0, "metrics": {"parameters": 7.0}}
            for stage in (
                {"label": "train-baseline-unisar", "seconds": 61.2},
                {"label": "finetune-gensr", "seconds": 2.0},
                {"label": "evaluate-unisar", "seconds": 4.0},
            )
        ],
    )
    known.summary["results"]["search"]["unisar"] = row(0.3)
    known.summary["config"]["rerank"]["batch_size"] = 200
    known.summary["config"]["train"] |= {"batch_size": 30, "accumulation": 2, "negatives": 4}
    made = run_tables.speed(known)
    assert made is not None
    shown = {cells[0].text: [cell.text for cell in cells[1:]] for cells in made.rows}
    # 5 steps a second, of 200 and of 60 positives with 4 negatives each.
    assert shown["UniSAR"][:4] == ["7", "1 min 01 s", "5.0", "5,000"]
    assert shown["GenSR"][:4] == ["7", "2.0 s", "5.0", "1,500"]


# --- the page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "users", "shown"),
    [("download", 68_223, True), ("folder", 68_000, True), ("folder", 8_317, False), ("generated", 68_223, False)],
)
def test_the_papers_numbers_stand_only_beside_the_papers_data(kind: str, users: int, shown: bool) -> None:
    page = render(facts(kind, manifest={"counts": {"users": users, "events": 5, "graph": 4}}))
    assert ("UniSAR" in page) == shown
    assert ("1,924,282" in page) == ("The paper's (Table 1)" in Parsed(page).text) == shown
    assert ("0.9687" in page) == shown, "GenSR's N@10 on search in Table 3"
    assert ("Not the paper's data" in page) == (not shown)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"negatives": 9}, "Histories leave out the sample's own instant (prepare.same_time: exclude)."),
        (
            {"same_time": "include"},
            "Histories hold earlier events of the sample's own instant (prepare.same_time: include).",
        ),
    ],
)
def test_the_page_says_which_histories_the_rule_of_one_instant_decides(config: dict[str, Any], sentence: str) -> None:
    values = {"touched_train": 0.371, "touched_valid": None, "touched_test": 0.5}
    figure = {"name": "same_time", "rule": "Shares.", "values": values}
    shown = Parsed(render(facts(manifest={"config": config}, audit_figures=[figure]))).text
    assert f"{sentence} The rule decides the histories of 37.1% of train and 50.0% of test samples." in shown


def test_a_run_of_which_little_is_known_has_a_page() -> None:
    page = render(facts())
    for left_out in ("training", "mechanisms", "examples", "segments", "data", "checks"):
        assert f'id="{left_out}"' not in page
        assert f'href="#{left_out}"' not in page
    assert "not in a checkout" in page


def test_every_variant_of_the_ablation_has_a_line_of_its_own_colour() -> None:
    record = {"validations": [{"step": n, "search/ndcg_at_5": 0.1 * n} for n in (1, 2)], "curve": []}
    variants = list(VARIANTS)
    (figure,) = run_tables.learning(facts(training=dict.fromkeys(variants, record)))
    drawn = re.findall(r'<g class="(c\d(?: dashed| dotted)?)"', figure.svg)
    assert len(set(drawn)) == len(variants) > COLORS
    assert set(Counter(drawn).values()) == {2}, "a line and its name in the legend"
    style = (Path(run_tables.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    assert all(f"svg .{name} {{ stroke: var(--{name}); }}" in style for name in {d.split()[0] for d in drawn})
    assert all(f"svg .{form} line, svg .{form} polyline" in style for form in ("dashed", "dotted"))
