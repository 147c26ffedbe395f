"""``report.html`` from what a real run left, read as a browser without JavaScript would."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from parsed import Parsed
from tiny_run import Finished

from gensr_model.errors import DataError
from gensr_model.reporting.page import render
from gensr_model.reporting.run_facts import RunFacts
from tasks.publish.report import collect, rewrite

LINKS = {"MLflow": "http://127.0.0.1:5000/#/experiments/1/runs/a", "Prefect": "http://127.0.0.1:4200/runs/flow-run/b"}
EVIL = "<script>alert('x')</script> \"R&B\" <img src=http://evil.example/x.png onerror=alert(1)>"


@pytest.fixture(scope="module", params=["amazon", "kuaisar"])
def facts(request: pytest.FixtureRequest, finished: Callable[[str], Finished]) -> RunFacts:
    home, summary = finished(request.param)
    return replace(collect(summary, home / "store"), links=LINKS)


@pytest.fixture(scope="module")
def html(facts: RunFacts) -> str:
    """The page, made once: that takes over a second."""
    return render(facts)


@pytest.fixture(scope="module")
def page(html: str) -> Parsed:
    return Parsed(html)


def test_the_page_asks_nothing_of_the_network(html: str, page: Parsed) -> None:
    addresses = [attrs.get(name) for _, attrs in page.tags for name in ("src", "href", "data", "action", "srcset")]
    outside = {a for a in addresses if a and not a.startswith(("#", "data:"))}
    assert outside == set(LINKS.values())
    assert "url(" not in html
    assert "@import" not in html
    assert {a["href"][1:] for a in page.all("a") if str(a["href"]).startswith("#")} <= set(page.ids)  # type: ignore[index]
    assert len(page.ids) == len(set(page.ids))


def test_tables_have_heads_and_figures_are_not_empty(page: Parsed) -> None:
    assert len(page.all("table")) >= 10
    assert len(page.all("caption")) == len(page.all("table"))
    assert {attrs.get("scope") for attrs in page.all("th")} == {"col", "row"}
    assert len(page.drawn) >= 7
    assert all(page.drawn), "a figure without a line or a point"
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in page.all("svg"))


def test_every_section_is_there_and_says_what_was_run(facts: RunFacts, page: Parsed) -> None:
    names = [str(a["href"])[1:] for a in page.all("a") if str(a["href"]).startswith("#")]
    expected = {
        "short",
        "run",
        "data",
        "checks",
        "check",
        "results",
        "training",
        "mechanisms",
        "speed",
        "examples",
        "failed",
    } | ({"systems", "full", "ablation", "sweep"} if "studies" in facts.summary else set())
    assert expected <= set(names)
    summary = facts.summary
    for said in (
        summary["dataset"], summary["dataset_digest"], summary["config_hash"], "Generated data",
        "Not the paper's data", "What was understood of the data", "23 audits, 0 broken", "GenSR",
        "Two heads", "Item-kNN", "BM25", "finetune-gensr",
    ):  # fmt: skip
        assert said in page.text, said
    for task in ("recommendation", "search"):
        for name, row in summary["results"][task].items():
            assert f"{row['ndcg_at_10']:.4f}" in page.text, (task, name)
    assert "the paper" not in {attrs.get("data-value") for attrs in page.all("th")}
    assert "UniSAR" not in page.text
    assert summary["commit"] is None or summary["commit"] in page.text


def test_ten_examples_are_drawn_by_the_seed_and_the_true_item_is_marked(facts: RunFacts, page: Parsed) -> None:
    assert [e["task"] for e in facts.examples] == ["recommendation"] * 5 + ["search"] * 5
    assert page.text.count("Taken item:") == 10
    shown = sum(t["true"] for e in facts.examples for t in e["top"])
    assert [attrs.get("class") for attrs in page.all("li")].count("true") == shown
    for example in facts.examples:
        probabilities = [t["probability"] for t in example["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(probabilities) == 5
        assert (example["query"] is None) == (example["task"] == "recommendation")
        if example["true"]["level"] == 0:
            place = [n for n, t in enumerate(example["top"], 1) if t["true"]]
            assert place == ([example["true"]["place"]] if example["true"]["place"] <= 5 else [])


def test_html_in_the_data_is_shown_as_text(facts: RunFacts, page: Parsed) -> None:
    summary = facts.summary | {"dataset": EVIL, "config": facts.summary["config"] | {"name": EVIL}}
    examples = [
        e
        | {
            "query": EVIL,
            "user": EVIL,
            "history": [{"title": EVIL, "behaviors": ["rec"]}],
            "top": [t | {"title": EVIL} for t in e["top"]],
            "true": e["true"] | {"title": EVIL, "place": 9},
        }
        for e in facts.examples
    ]
    evil = replace(
        facts,
        summary=summary,
        examples=examples,
        profile=[row | {"min": EVIL, "max": EVIL, "column": EVIL} for row in facts.profile],
        reading=facts.reading | {"rejected": 3},
        rejects={EVIL: 3},
        audits=[a | {"rule": EVIL} for a in facts.audits],
        segments=[{"task": "search", "by": EVIL, "segment": EVIL, "model": EVIL, "samples": 1, "ndcg_at_10": 0.5}],
        training={EVIL: facts.training["gensr"]},
    )
    page, good = Parsed(render(evil)), page
    assert len(page.all("script")) == len(good.all("script")) == 1
    assert page.all("img") == good.all("img"), "the picture of parameter space alone"
    assert page.text.count("<script>alert") > 60
    # As a value that is sorted by, too, the text stays inside its attribute.
    names, usual = ({name for _, attrs in p.tags for name in attrs} for p in (page, good))
    assert names <= usual


def test_segments_are_those_of_the_diagnosis_and_a_lost_stage_is_named(
    finished: Callable[[str], Finished], tmp_path: Path
) -> None:
    home, summary = finished("amazon")
    row = {"task": "search", "by": "history", "segment": "cold users", "samples": 12}
    rows = [row | {"model": "gensr", "ndcg_at_10": 0.125}]
    store = tmp_path / "store"
    shutil.copytree(home / "store", store)
    page = Parsed(render(collect(summary | {"diagnosis": rows}, store)))
    assert "history: cold users 12 0.1250" in page.text
    assert any(a.get("href") == "#segments" for a in page.all("a"))
    assert len(collect(summary, store).segments) == len(summary["diagnosis"]) > 0
    key = next(s["key"] for s in summary["stages"] if s["label"] == "evaluate-gensr")
    shutil.rmtree(store / "evaluate" / key)
    with pytest.raises(DataError, match=r"evaluate-gensr .* is gone; run the pipeline again"):
        collect(summary, store)


def test_the_folder_of_the_raw_files_stays_private(finished: Callable[[str], Finished]) -> None:
    home, summary = finished("amazon")
    source = {"kind": "folder", "path": "/home/somebody/secret/mine"}
    page = render(collect(summary | {"config": summary["config"] | {"source": source}}, home / "store"))
    assert "mine" in page
    assert "somebody" not in page


def test_errors_are_told_without_the_folders_that_they_name(finished: Callable[[str], Finished]) -> None:
    home, summary = finished("amazon")
    said = "/data/secret/kept.parquet: see http://127.0.0.1:5000/runs/a, (not '/home/me/b c') and/or docs/results"
    shown = "kept.parquet: see http://127.0.0.1:5000/runs/a, (not 'b c') and/or docs/results"
    failed = [{"name": "qem", "seed": 0, "error": said}]
    table = summary["studies"]["rerank-table"] | {"failed": failed}
    page = Parsed(
        render(
            collect(
                summary | {"studies_failed": {"sweep": said}, "studies": summary["studies"] | {"rerank-table": table}},
                home / "store",
            )
        )
    )
    assert f"The study sweep failed: {shown}" in page.text
    assert page.text.count(shown) == 3, "among the findings, in the study's table, and where it is said what failed"
    assert "secret" not in page.text
    assert failed[0]["error"] == said, "the summary itself is left as it is"


def test_the_report_of_an_earlier_run_can_be_made_again(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    home, summary = finished("amazon")
    run = home / "runs" / summary["flow_run_id"]
    published = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").unlink()
    assert rewrite(run) == run / "report.html"
    minute = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    again = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").write_text(published, encoding="utf-8")  # other tests read it
    assert re.sub(minute, "", again) == re.sub(minute, "", published)
    with pytest.raises(DataError, match=r"no summary\.json"):
        rewrite(tmp_path)
