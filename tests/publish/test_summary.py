"""The summary of a run and its Markdown table, from hand-made ranks with figures worked out by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ranked_data import data_of

from gensr_model.config.base import digest
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.metrics import METRICS, RANKS_SCHEMA, summarize
from tasks.core.stage import StageResult
from tasks.publish.publish import markdown as table
from tasks.publish.study_summary import summarize_ablation
from tasks.publish.summary import comparisons, numbers_of, results, summarize_run

SECOND = 0.6309  # 1 / log2(3): NDCG of rank 2
CONFIG = PipelineConfig.model_validate({"name": "toys", "statistics": {"confidence": 0.8}})
ANALYSIS = {
    **{f"information/gensr/search/{name}": value for name, value in (
        ("mine_nats", 0.5), ("mine_std", 0.0625), ("infonce_nats", 0.475), ("infonce_std", 0.125), ("smile_nats", 0.55),
        ("smile_std", 0.25), ("mine_bits", 0.7213), ("exact_nats", 0.625), ("exact_bits", 0.9017), ("label_nats", 0.25),
        ("label_bits", 0.3607), ("bound_nats", 0.6931), ("raw_score_nats", 1.75), ("samples", 200.0))},
    **{f"gradient/two_head/{name}": value for name, value in (
        ("mean_cosine", -0.25), ("std_cosine", 0.125), ("min_cosine", -0.75), ("share_negative", 0.875),
        ("mean_halves", -0.2), ("share_negative_halves", 0.75), ("mean_null", 0.1), ("share_negative_null", 0.25),
        ("gap", -0.3), ("gap_error", 0.0625), ("mean_norm_recommendation", 0.5), ("mean_norm_search", 2.0),
        ("probes", 12.0))},
    **{f"space/gensr_untrained/{name}": value for name, value in (
        ("probe_accuracy", 0.9375), ("chance", 0.5), ("silhouette", 0.125), ("overlap", 0.25),
        ("overlap_chance", 0.875))},
    **{f"theorem/independent/{n}/{name}": value for n in (1000, 30) for name, value in (
        ("generative_error", 1.5), ("discriminative_error", 9.5), ("error_holds", 0.99),
        ("generative_gaussian", 1.6), ("discriminative_gaussian", 3.3), ("true_gaussian", 1.25),
        ("gaussian_holds", 0.0),
        ("generative_label", 0.4), ("discriminative_label", 0.3), ("true_label", 0.5), ("label_holds", 0.95))},
}  # fmt: skip


def evaluated(folder: Path, name: str, **places: list[tuple[int, int]]) -> StageResult:
    """Evaluation of one ranker: per task, the (candidates above, candidates level) of its samples among 10."""
    rows = [
        {"sample_id": f"{task}-{n}", "task": task, "greater": above, "ties": level, "candidates": 10}
        for task, of_task in places.items()
        for n, (above, level) in enumerate(of_task)
    ]
    ranks = pa.Table.from_pylist(rows, schema=RANKS_SCHEMA)
    (folder / name).mkdir()
    pq.write_table(ranks, folder / name / RANKS)
    metrics = {f"{task}/{m}": value for task, row in summarize(ranks).items() for m, value in row.items()}
    return StageResult("evaluate", f"key-{name}", folder / name, metrics, 0.25, True, f"evaluate-{name}")


@pytest.fixture
def ranks(tmp_path: Path) -> dict[str, StageResult]:
    """GenSR first on recommendation and on three searches of four; popularity second, level with one, or with all."""
    return {
        "gensr": evaluated(tmp_path, "gensr", recommendation=[(0, 0), (0, 0)], search=[(0, 0), (0, 0), (0, 0), (1, 0)]),
        "popularity": evaluated(
            tmp_path, "popularity", recommendation=[(1, 0), (1, 0)], search=[(1, 0), (0, 1), (0, 9), (1, 0)]
        ),
        "bm25": evaluated(tmp_path, "bm25", search=[(0, 0), (0, 0), (0, 0), (0, 0)]),
    }


def compared(ranks: dict[str, StageResult], tmp_path: Path) -> dict[str, dict[str, dict[str, float]]]:
    prepared = data_of(tmp_path / "prepared", ranks.values()).prepared
    return comparisons({name: [result] for name, result in ranks.items()}, prepared, CONFIG)


@pytest.fixture
def summary(ranks: dict[str, StageResult], tmp_path: Path) -> dict[str, Any]:
    source = StageResult("ingest", "raw-digest", tmp_path, {}, 1.5, False, "ingest")
    data = data_of(tmp_path / "prepared", ranks.values())._replace(source=source)
    trained = StageResult("finetune", "key-gensr", tmp_path, {}, 61.25, False, "finetune-gensr")
    ended = {"steps": 36, "epochs": 4.5, "best_metric": 0.3, "stopped": "patience", "seconds": 1.0}
    (tmp_path / "training.json").write_text(json.dumps(ended | {"chosen_by": "ndcg_at_10"}), encoding="utf-8")
    return summarize_run(CONFIG, data, [source, trained], ranks, ANALYSIS)


def block(markdown: str, caption: str) -> list[str]:
    """Lines of the grid below the caption that starts like this."""
    lines = markdown.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"**{caption}")) + 2
    return list(itertools.takewhile(bool, lines[start:]))


def cells(markdown: str, heading: str) -> list[list[str]]:
    """Cells of that table: the head, then the rows."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block(markdown, heading)]
    assert all(set(cell) <= {"-", ":"} for cell in rows[1])
    return [rows[0], *rows[2:]]


def test_results_are_by_task_and_a_ranker_without_the_task_has_no_row(ranks: dict[str, StageResult]) -> None:
    result = results(ranks)
    assert list(result) == ["recommendation", "search"]
    assert list(result["recommendation"]) == ["gensr", "popularity"]
    assert list(result["search"]) == ["gensr", "popularity", "bm25"]
    assert set(result["search"]["bm25"]) == {*METRICS, "samples"}
    assert result["search"]["gensr"]["recall_at_1"] == 0.75
    assert result["search"]["popularity"]["recall_at_1"] == pytest.approx((0 + 1 / 2 + 1 / 10 + 0) / 4)
    assert result["recommendation"]["popularity"]["samples"] == 2


def test_differences_are_gensr_minus_the_other_at_the_chosen_confidence(
    ranks: dict[str, StageResult], tmp_path: Path
) -> None:
    result = compared(ranks, tmp_path)
    assert {task: list(rows) for task, rows in result.items()} == {
        "recommendation": ["popularity"],
        "search": ["popularity", "bm25"],
    }
    # The same difference on both samples: every resample has that mean.
    always = result["recommendation"]["popularity"]
    assert [always[k] for k in ("mean_difference", "low", "high")] == pytest.approx([1 - SECOND] * 3, abs=1e-4)
    assert always["n"] == 2
    assert "t" not in always  # infinite
    bm25 = result["search"]["bm25"]
    assert bm25["mean_difference"] == pytest.approx((SECOND - 1) / 4, abs=1e-4)
    # Four samples, one of them worse: a resample holds it 3 times or more with chance 5%, never with chance 32%. So
    # the tails of 10% begin at 2 times and at 0; with tails of 2.5% it would be 3 times.
    assert bm25["high"] == 0
    assert bm25["low"] == pytest.approx(2 * (SECOND - 1) / 4, abs=1e-4)


def test_models_are_compared_by_user(ranks: dict[str, StageResult], tmp_path: Path) -> None:
    """Two samples of recommendation and four of search, each two of one user."""
    made = summarize_run(CONFIG, data_of(tmp_path / "prepared", ranks.values(), per_user=2), [], ranks, {})
    result = {(task, row["n"], row["users"]) for task, rows in made["comparisons"].items() for row in rows.values()}
    assert result == {("recommendation", 2, 1), ("search", 4, 2)}
    assert "**Search: 4 test samples of 2 users, 1 positive" in table(made)
    of_one_user = made["comparisons"]["recommendation"]["popularity"]
    assert (of_one_user["low"], of_one_user["high"]) == (-1, 1)  # of one user nothing is known
    assert "p" not in of_one_user


def test_an_ablation_is_compared_by_user(tmp_path: Path) -> None:
    config = PipelineConfig.model_validate({"ablation": {"variants": ["no_contrastive"], "seeds": [0]}})
    ranked = {
        "gensr": evaluated(tmp_path, "gensr", search=[(0, 0)] * 6),
        "no_contrastive": evaluated(tmp_path, "no_contrastive", search=[(1, 0), (0, 0)] * 3),
    }
    data = data_of(tmp_path / "prepared", ranked.values(), per_user=3)
    made = summarize_ablation(config, data, [], ranked)
    assert [(row["n"], row["users"]) for row in made["ablation"]] == [(6, 2)] * 2
    assert made["comparisons"]["search"]["no_contrastive"]["users"] == 2


def test_p_is_corrected_for_the_models_of_both_tasks_together(tmp_path: Path) -> None:
    best, worse_once = [(0, 0)] * 4, [(1, 0), *[(0, 0)] * 3]
    ranked = {
        "gensr": evaluated(tmp_path, "gensr", recommendation=best, search=best),
        "popularity": evaluated(tmp_path, "popularity", recommendation=worse_once, search=worse_once),
        "bm25": evaluated(tmp_path, "bm25", search=[(1, 0), (2, 0), (1, 0), (2, 0)]),
    }
    result = compared(ranked, tmp_path)
    p = {(task, name): row["p"] for task, rows in result.items() for name, row in rows.items()}
    assert p["search", "popularity"] == p["recommendation", "popularity"] == pytest.approx(0.391, abs=1e-3)
    assert result["search"]["bm25"]["p_holm"] == pytest.approx(3 * p["search", "bm25"])
    for task in result:  # the second smallest of three is doubled, and the largest is not below it
        assert result[task]["popularity"]["p_holm"] == pytest.approx(2 * p[task, "popularity"])


def test_the_summary_is_json_and_says_what_was_run(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["dataset"], summary["source"], summary["preset"]) == ("toys", "generated data", "demo")
    assert PipelineConfig.model_validate(summary["config"]) == CONFIG
    assert summary["config_hash"] == digest(CONFIG)
    assert summary["dataset_digest"] == "raw-digest"
    assert [stage["label"] for stage in summary["stages"]] == [
        "ingest", "finetune-gensr", "evaluate-gensr", "evaluate-popularity", "evaluate-bm25"
    ]  # fmt: skip


def test_the_table_of_a_task_has_a_row_per_ranker_and_the_difference(summary: dict[str, Any]) -> None:
    markdown = table(summary)
    assert markdown.startswith("# toys (amazon, generated data, preset demo)\n")
    assert "**Recommendation: 2 test samples, 1 positive among 99 negatives**\n" in markdown
    assert "**Search: 4 test samples, 1 positive among 99 negatives**\n" in markdown
    head, gensr, popularity = cells(markdown, "Recommendation")
    assert head == ["Model", "R@1", "R@5", "R@10", "R@20", "N@5", "N@10", "N@20", "MRR", "GenSR − it",
                    "80% interval"]  # fmt: skip
    assert gensr == ["GenSR", *["**1.0000**"] * 8, "", ""]
    assert popularity == ["Popularity", "<u>0.0000</u>", *["**1.0000**"] * 3, *["<u>0.6309</u>"] * 3, "<u>0.5000</u>",
                          "+0.3691", "[+0.3691, +0.3691]"]  # fmt: skip  # the same everywhere: no t-test
    head, gensr, popularity, bm25 = cells(markdown, "Search: 4")
    assert head[-1] == "p (Holm)"
    # MRR: (1 + 1 + 1 + 1/2) / 4; N: (3 + 0.6309) / 4.
    assert gensr == ["GenSR", "<u>0.7500</u>", *["**1.0000**"] * 3, *["<u>0.9077</u>"] * 3, "<u>0.8750</u>",
                     "", "", ""]  # fmt: skip
    # Level with all 9 others: R@5 is 5/10. Level with one: MRR (1 + 1/2) / 2.
    assert popularity[:4] == ["Popularity", "0.1500", "<u>0.8750</u>", "**1.0000**"]
    assert popularity[8] == f"{(0.5 + 0.75 + 0.29290 + 0.5) / 4:.4f}"
    # Of two tests the smaller p is doubled: 2 · 0.1015. The larger stays.
    assert popularity[-1] == "0.203"
    assert bm25 == ["BM25", *["**1.0000**"] * 8, "−0.0923", "[−0.1845, +0.0000]", "0.391"]


def test_a_task_without_samples_has_no_table(ranks: dict[str, StageResult], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    only = {"gensr": evaluated(tmp_path / "one", "gensr", recommendation=[(0, 0)])}
    data = data_of(tmp_path / "prepared", only.values())
    made = summarize_run(CONFIG, data, [], {**only, "bm25": ranks["bm25"]}, {})
    assert made["comparisons"] == {"recommendation": {}, "search": {}}
    assert [row[0] for row in cells(table(made), "Recommendation")] == ["Model", "GenSR"]
    gensr_only = summarize_run(CONFIG, data, [], only, {})
    assert "Search:" not in table(gensr_only)


def test_the_analyses_have_their_tables_and_none_without_them(summary: dict[str, Any]) -> None:
    markdown = table(summary)
    _, row = cells(markdown, "What an answer tells")
    assert row == ["GenSR", "search", "0.500", "0.062", "0.721", "0.625", "0.902", "0.693", "0.250", "0.361", "200"]
    _, row = cells(markdown, "The same by other estimators")
    assert row[2:] == ["0.500", "0.062", "0.475", "0.125", "0.550", "0.250", "1.750"]
    assert "How much more GenSR's answers tell" not in markdown
    assert "Labels stand 1:1, drawn candidates to positives." in markdown
    _, row = cells(markdown, "Cosine of the task gradients")
    assert row == ["Two heads", "−0.250", "0.125", "−0.750", "0.875", "−0.200", "0.750", "0.100", "0.250",
                   "−0.300", "0.062", "0.500", "2.000", "12"]  # fmt: skip
    assert "oise-corrected cosine" not in markdown
    less = {"free": 0.25, "free_low": -0.5, "free_high": 1.0, "less": -0.5, "less_low": -0.75, "less_high": -0.25,
            "less_p_holm": 0.03}  # fmt: skip
    less = {f"gradient/two_head/{name}": value for name, value in less.items()}
    compared = table({**summary, "analysis": ANALYSIS | less})
    assert cells(compared, "Noise-corrected cosine of the tasks")[1][1:] == [
        "0.25", "[−0.50, +1.00]", "−0.50", "[−0.75, −0.25]", "0.030"
    ]  # fmt: skip
    _, row = cells(markdown, "How far the tasks lie apart")
    assert row == ["GenSR, untrained", "0.938", "0.500", "0.125", "0.250", "0.875"]
    _, row, more = cells(markdown, "Parameter error")
    assert more[1] == "1,000"  # by number, whatever the order of names
    assert row == ["independent", "30", "1.50", "9.50", "99%", "1.600", "3.300", "1.250", "0%"]
    assert cells(markdown, "Both sides of Eq. 4")[1][2:] == ["0.400", "0.300", "0.500", "95%"]
    without = table(summary | {"analysis": {}})
    for caption in ("What an answer tells", "Cosine of the task", "lie apart", "Theorem"):
        assert caption not in without


def test_the_paper_is_not_spoken_of_where_nobody_knows_whose_data_these_are(summary: dict[str, Any]) -> None:
    assert "Not the paper's data" not in table(summary)


def test_numbers_of_analyses_leave_out_what_is_no_finding(tmp_path: Path) -> None:
    result = {"space/gensr/overlap": 0.5, "peak_memory_mb": 900.0}
    assert numbers_of([StageResult("analyze-space", "k", tmp_path, result, 1.0, False)]) == {"space/gensr/overlap": 0.5}


def test_segments_have_a_table_per_task_with_a_column_per_model(summary: dict[str, Any]) -> None:
    assert "by segment" not in table(summary)
    row = {"task": "search", "by": "target", "segment": "head", "samples": 3, "ndcg_at_10": 0.5,
           "ndcg_at_10_error": 0.1}  # fmt: skip
    tail = {"segment": "tail", "samples": 1, "ndcg_at_10": 0.25, "ndcg_at_10_error": None}
    rows = [row | {"model": "gensr"}, row | {"model": "gensr"} | tail, row | {"model": "bm25", "ndcg_at_10": 1.0}]
    markdown = table(summary | {"diagnosis": rows})
    assert "Recommendation: NDCG@10 by segment" not in markdown
    assert cells(markdown, "Search: NDCG@10 by segment") == [
        ["Segment", "Samples", "GenSR", "BM25"],
        ["target: head", "3", "0.5000 ± 0.196", "1.0000"],
        ["target: tail", "1", "0.2500", "–"],
    ]
    led = {"baseline": "bm25", "lead": -0.5, "lead_low": -0.7, "lead_high": -0.3, "lead_p_holm": None}
    rows[0] |= led
    rows[1] |= led | {"lead_p_holm": 0.04}
    _, *shown = cells(table(summary | {"diagnosis": rows}), "Search: GenSR's lead by segment")
    assert [row[3:] for row in shown] == [
        ["BM25", "−0.5000", "[−0.7000, −0.3000]", "–"],
        ["BM25", "−0.5000", "[−0.7000, −0.3000]", "0.040"],
    ]


def test_the_studies_have_their_tables(summary: dict[str, Any]) -> None:
    row = {"task": "search", "variant": "gensr", "seeds": 1, "base": 0.5, "value": 0.5, "change": 0.0, "low": 0.0,
           "high": 0.0, "n": 9, "std_over_seeds": None, "paper": None, "p_holm": None}  # fmt: skip
    worse = {"variant": "no_soft_filter", "value": 0.45, "change": -0.1, "low": -0.15, "high": 0.02,
             "std_over_seeds": 0.01, "paper": -0.031, "p_holm": 0.125}  # fmt: skip
    study = {"study": "ablation", "ablation": [row, row | worse]}
    assert cells(table(summary | study), "What each part is worth") == [
        ["Model", "Task", "N@5", "± seeds", "Change", "80% interval, %", "p (Holm)", "Paper, Amazon"],
        ["GenSR", "search", "0.5000", "–", "", "", "", "–"],
        ["GenSR − soft filter", "search", "0.4500", "0.0100", "−10.0%", "[−15.0, +2.0]", "0.125", "−3.1%"],
    ]
    point = {"tau": 0.05, "beta": 0.001, "metric": 0.25, "recommendation": 0.25, "search": None, "chosen": True}
    change = {"change": -0.1, "low": -0.2, "high": 0.05, "p": 0.2, "p_holm": 0.4}
    other = point | {"beta": 0.3, "chosen": False} | {f"recommendation_{name}": v for name, v in change.items()}
    markdown = table(summary | {"study": "sweep", "sweep": [point, other]})
    assert cells(markdown, "Validation NDCG@5 of every point") == [
        [
            "τ",
            "β",
            "Mean",
            "Recommendation",
            "Recommendation, from the chosen",
            "80% interval, %",
            "p (Holm)",
            "Chosen",
        ],
        ["0.05", "0.001", "**0.2500**", "**0.2500**", "", "", "", "chosen"],
        ["0.05", "0.3", "**0.2500**", "**0.2500**", "−10.0%", "[−20.0, +5.0]", "0.400", ""],
    ]


def test_a_baseline_that_was_trained_stands_beside_gensr(ranks: dict[str, StageResult], tmp_path: Path) -> None:
    training = {"steps": 8, "epochs": 2.0, "best_metric": 0.25, "stopped": "patience"}
    (tmp_path / "training.json").write_text(json.dumps(training | {"point": {}}), encoding="utf-8")
    stages = [
        StageResult("tune", "t", tmp_path, {}, 1.0, False, "tune-unisar"),
        StageResult("train-baseline", "k", tmp_path, {}, 1.0, False, "train-baseline-unisar"),
    ]
    made = summarize_run(
        CONFIG, data_of(tmp_path / "prepared", ranks.values()), stages, ranks, {"space/unisar/overlap": 0.5}
    )
    assert made["training"] == {"unisar": training | {"chosen_by": "ndcg_at_5", "improving": False}}
    assert cells(table(made | {"analysis": {}}), "How training ended")[1][0] == "UniSAR"
    renamed = {name.replace("gensr_untrained", "unisar"): value for name, value in ANALYSIS.items()}
    assert cells(table(made | {"analysis": renamed}), "How far the tasks lie apart")[1][0] == "UniSAR"


def test_training_says_why_it_stopped(summary: dict[str, Any]) -> None:
    assert summary["training"] == {
        "gensr": {"steps": 36, "epochs": 4.5, "best_metric": 0.3, "stopped": "patience", "chosen_by": "ndcg_at_10",
                  "improving": False}
    }  # fmt: skip
    assert cells(table(summary), "How training ended") == [
        ["Model", "Epochs", "Steps", "Best valid", "of", "Stopped because"],
        ["GenSR", "4.5", "36", "0.3000", "N@10", "patience"],
    ]
    assert "## Training" not in table(summary | {"training": {}})


def test_stages_say_how_long_they_took_and_whether_they_were_reused(summary: dict[str, Any]) -> None:
    assert cells(table(summary), "Time per stage")[:4] == [
        ["Stage", "Time", "In this run"],
        ["ingest", "1.5 s", "built"],
        ["finetune-gensr", "1 min 01 s", "built"],
        ["evaluate-gensr", "0.2 s", "reused"],
    ]
    stages = [s | {"reused": True, "built_on": "a lent GPU"} for s in summary["stages"]]
    assert cells(table(summary | {"stages": stages}), "Time per stage")[1] == [
        "ingest",
        "1.5 s",
        "reused, built on a lent GPU",
    ]


@pytest.mark.parametrize("caption", ["Recommendation", "What an answer", "Cosine of the task", "Both sides", "Time"])
def test_the_columns_line_up_in_a_terminal(summary: dict[str, Any], caption: str) -> None:
    bars = {tuple(n for n, c in enumerate(line) if c == "|") for line in block(table(summary), caption)}
    assert len(bars) == 1
