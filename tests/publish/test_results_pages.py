"""The results pages are what the saved ranks give, and say so when they are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from called import gensr

from gensr_model.errors import DataError
from gensr_model.evaluation.cells import CellRecord, read_samples, write_cell, write_samples
from gensr_model.evaluation.compare import paired_bootstrap
from gensr_model.evaluation.metrics import RankCounts, counts_table
from gensr_model.evaluation.saved_ranks import widen
from tasks.compare.names import every_system
from tasks.publish.results_pages import Pages, build, differing

DOCS = Path(__file__).resolve().parents[2] / "docs"
USERS = 30


@pytest.fixture(scope="module")
def pages() -> Pages:
    return build(DOCS)


def test_the_pages_in_docs_are_what_the_saved_ranks_give(pages: Pages) -> None:
    """Else: gensr results build"""
    named = {"findings", "full_ranking_tables", "paper_claims", "studies", "tables"}
    assert {path.stem for path in pages.texts} == named
    assert differing(pages) == []


def test_every_cell_is_on_a_page(pages: Pages) -> None:
    """Else: gensr results build --prune"""
    assert pages.unused == []


def test_templates_hold_names_and_no_metrics() -> None:
    for template in (DOCS / "templates").glob("*.j2"):
        prose = re.sub(r"\{[{%].*?[%}]\}|```.*?```|`[^`]*`", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"(?<![\w.])\d?\.\d{2,}", prose) == [], template.name


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    write_samples(tmp_path / "results" / "cells" / "toy", pa.table({
        "sample_id": [f"{task}{n:02}" for task in "rs" for n in range(2 * USERS)],
        "task": ["recommendation"] * 2 * USERS + ["search"] * 2 * USERS,
        "user_idx": [n % USERS for _ in "rs" for n in range(2 * USERS)],
    }))  # fmt: skip
    return tmp_path


def save(docs: Path, system: str, greater: list[int], seed: int = 0, setting: str = "", **record: Any) -> pa.Table:
    """Ranks of both tasks: each list of ``greater``, repeated over the samples, is that of both."""
    cells = docs / "results" / "cells"
    samples = read_samples(cells / "toy")
    above = np.resize(np.array(greater, np.int32), len(samples))
    counts = RankCounts(above, np.zeros(len(samples), np.int32))
    ranks = counts_table(samples["sample_id"], samples["task"], counts, np.full(len(samples), 100))
    made = CellRecord(dataset="toy", study="rerank", system=system, setting=setting, seed=seed, title=system.upper(),
                      dataset_digest="d", config={}, commit="c", trained_at="today", **record)  # fmt: skip
    write_cell(made.path(cells), ranks, made)
    return ranks


def shown(docs: Path, template: str) -> str:
    (docs / "templates" / "page.md.j2").write_text(template, encoding="utf-8")
    [text] = build(docs).texts.values()
    return text


def test_a_metric_is_the_mean_over_samples_and_seeds(docs: Path) -> None:
    save(docs, "gensr", [0, 2], seed=0)  # ranks 1 and 3: (1 + 1 / 2) / 2
    save(docs, "gensr", [99], seed=1)  # nothing among the first ten
    text = shown(docs, '{{ metric("toy", "rerank", "gensr", "search") }} {{ seeds("toy", "rerank", "gensr") }}')
    assert text == ".3750 2"


def test_a_system_leads_clearly_where_its_interval_is_above_0(docs: Path) -> None:
    save(docs, "gensr", [0, 9, 0], costs={"epochs": 3.0})
    save(docs, "sasrec", [0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 99, 0, 0, 9, 0])
    save(docs, "din", [12])
    call = 'leads("toy", "rerank", "gensr", ["sasrec", "din"]{}) | map("last") | unique | join(" ")'
    every, clear = (f"{{{{ {call.format(more)} }}}}" for more in ("", ", clearly=true"))
    assert shown(docs, every) == "recall_at_10 ndcg_at_10"  # level at 5
    assert shown(docs, clear) == ""  # two of thirty users make the lead: one resample in eight has neither
    assert shown(docs, '{{ cost("toy", "rerank", "gensr", "epochs") }}') == "3.0"
    with pytest.raises(DataError, match="not every cell of din has the cost epochs"):
        shown(docs, '{{ cost("toy", "rerank", "din", "epochs") }}')


def test_a_difference_has_the_interval_of_the_paired_bootstrap_by_user(docs: Path) -> None:
    ours = [save(docs, "gensr", [0, 3, 1], seed=n) for n in range(2)]
    theirs = save(docs, "sasrec", [1, 0, 4, 20, 7])
    users = read_samples(docs / "results" / "cells" / "toy")
    by = paired_bootstrap(ours, [theirs], task="recommendation", users=users)
    template = '{% set d = difference("toy", "rerank", "gensr", "sasrec", "recommendation") %}'
    low, high = (f"{value:+.4f}".replace("0.", ".").replace("-", "−") for value in (by.low, by.high))
    assert shown(docs, template + "{{ d }} {{ d.word }}").endswith(f"[{low}, {high}] above")
    assert shown(docs, template + "{{ d.p }}") == str(by.p)


def test_a_sentence_that_does_not_hold_stops_the_build_with_its_line(docs: Path) -> None:
    save(docs, "gensr", [1])
    save(docs, "sasrec", [0])
    sentence = 'GenSR is first. {{ require(leader("toy", "rerank", "search") == "gensr") }}'
    with pytest.raises(DataError, match=r"page\.md\.j2, line 3, “GenSR is first\. .*”: the ranks do not say so"):
        shown(docs, f"# Page\n\n{sentence}\n")
    with pytest.raises(DataError, match=r"line 1.*no ranks of unisar in search"):
        shown(docs, '{{ metric("toy", "rerank", "unisar", "search") }}')
    with pytest.raises(DataError, match=r"line 2.*'nothing' is undefined"):
        shown(docs, "\n{{ nothing() }}")


def test_a_table_shows_what_is_missing_and_how_it_is_made(docs: Path) -> None:
    assert "No system has ranks yet. `python -m benchmarks.tables" in shown(docs, '{{ table("toy", "rerank") }}')
    save(docs, "gensr", [1], setting="laptop")
    assert "GenSR − it**" not in shown(docs, '{{ table("toy", "rerank", also=["gensr@laptop"]) }}')  # no GenSR yet
    save(docs, "gensr", [0])
    save(docs, "sasrec", [4], setting="earlier", converted_from="old.parquet")
    text = shown(docs, '{{ table("toy", "rerank", also=["gensr@laptop", "two_head@laptop"]) }}')
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "not trained yet" in rows["UniSAR"]
    assert "not trained yet" in rows["Two heads, preset `laptop`"]
    assert ".6309" in rows["GENSR, preset `laptop`"]
    assert "--only toy rerank" in text
    assert "**1.0000**" in rows["GENSR"]
    assert ".3869 | +.6131 [+.6131, +.6131]" in rows["SASREC†"]


def test_the_overview_says_who_is_first_and_leaves_out_what_gensr_does_not_rank(docs: Path) -> None:
    save(docs, "sasrec", [4], converted_from="old.parquet")
    template = '{{ overview([("Toys", "toy", "rerank")]) }}'
    assert shown(docs, template).count("\n") == 1
    save(docs, "gensr", [0])
    absent = len(every_system()) - 3  # but SASRec, GenSR and two heads
    row = f"| Toys | search | **GENSR** of 2, {absent} not trained | GENSR 1.0000 | SASREC† .3869 | +.6131"
    assert row in shown(docs, template)
    save(docs, "two_head", [0])
    assert shown(docs, template).splitlines()[2].endswith("| +.6131 [+.6131, +.6131] | +.0000 [+.0000, +.0000] |")
    save(docs, "din", [0])
    assert f"| Toys | search | **level** of 3, {absent - 1} not trained |" in shown(docs, template)


def test_ranks_of_other_samples_are_no_peers(docs: Path) -> None:
    ranks = save(docs, "sasrec", [0, 3])
    for table, name in ((ranks, "same"), (ranks.slice(1), "other")):
        pq.write_table(widen({"sasrec": table}), docs / "results" / f"{name}.parquet")
    assert "| SASREC | .7153 | .7153 | +.0000 [+.0000, +.0000] |" in shown(docs, '{{ peers("toy", "same.parquet") }}')
    with pytest.raises(DataError, match="have different samples"):
        shown(docs, '{{ peers("toy", "other.parquet") }}')


def test_a_new_cell_takes_the_place_of_an_earlier_one_which_no_page_has_then(docs: Path) -> None:
    save(docs, "sasrec", [4], setting="earlier", converted_from="old.parquet")
    template = '{{ metric("toy", "rerank", "sasrec", "search", "recall_at_1") }}'
    assert shown(docs, template) == ".0000"
    save(docs, "sasrec", [0])
    assert shown(docs, template) == "1.0000"
    assert [path.name for path in build(docs).unused] == ["sasrec@earlier-seed0.parquet"]


def test_the_command_writes_what_differs_and_a_check_writes_nothing(docs: Path) -> None:
    save(docs, "gensr", [0])
    page, template = docs / "results" / "page.md", docs / "templates" / "page.md.j2"
    template.write_text('{{ metric("toy", "rerank", "gensr", "search") }}', encoding="utf-8")
    done = gensr("results", "build", "--docs", docs, "--check")
    assert (done.exit_code, done.stdout) == (1, f"{page}: differs from what the ranks give\n")
    assert not page.exists()
    assert gensr("results", "build", "--docs", docs).exit_code == 0
    assert page.read_text(encoding="utf-8") == "1.0000"
    assert gensr("results", "build", "--docs", docs, "--check").exit_code == 0
    save(docs, "sasrec", [0])
    assert gensr("results", "build", "--docs", docs, "--check").exit_code == 1, "a cell is on no page"
    assert gensr("results", "build", "--docs", docs, "--prune").exit_code == 0
    assert gensr("results", "build", "--docs", docs, "--check").exit_code == 0
    page.write_text(".9999", encoding="utf-8")
    assert gensr("results", "build", "--docs", docs, "--check").exit_code == 1
