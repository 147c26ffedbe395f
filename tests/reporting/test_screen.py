"""The end of a run in a terminal, from a saved summary: short, and true whoever is first."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import study_summaries as made
from rich.cells import cell_len
from rich.console import Console
from test_run_tables import compared, facts, row, trained

from flows.local import watch
from flows.local.installation import local
from gensr_model.reporting import screen
from gensr_model.reporting.findings import still_improving
from tasks.core.state_dir import StateDir


def summary(**search: float) -> dict[str, Any]:
    """Six models on both tasks: GenSR leads recommendation, and search as it is said."""
    known = facts().summary
    rows = {"gensr": 0.40, "two_head": 0.39, "unisar": 0.3, "popularity": 0.1, "item_knn": 0.2, "lightgcn": 0.15,
            "bm25": 0.35}  # fmt: skip
    for task, values in (("recommendation", rows), ("search", rows | search)):
        ours = values["gensr"]
        known["results"][task] = {name: row(value) for name, value in values.items()}
        known["comparisons"][task] = {
            name: compared(ours - value, ours - value - 0.005, ours - value + 0.005)
            for name, value in values.items()
            if name != "gensr"
        }
    known["mlflow"] = {"experiment_id": "1", "run_id": "ab" * 16}
    return json.loads(json.dumps(known))  # type: ignore[no-any-return]


def shown(known: dict[str, Any], width: int = 100, color: bool = False, **environment: str) -> str:
    out = io.StringIO()
    terminal = {"TERM": "xterm-256color"}
    console = Console(file=out, width=width, force_terminal=color or None, _environ=environment | terminal)
    screen.show(known, console)
    return out.getvalue()


def segment(task: str, by: str, name: str, model: str, samples: int, ndcg: float) -> dict[str, Any]:
    return {"task": task, "by": by, "segment": name, "model": model, "samples": samples, "ndcg_at_10": ndcg}


def findings(text: str) -> str:
    return " ".join(text[text.index("Findings") :].split())


def test_where_gensr_is_first_its_lead_over_the_next_stands_with_the_interval() -> None:
    said = findings(shown(summary(gensr=0.40, two_head=0.2)))
    assert (
        "1. GenSR is first in recommendation, before Two heads: GenSR − it is +0.0100 [+0.0050, +0.0150] in N@10."
        in said
    )
    assert "2. GenSR is first in search, before BM25: GenSR − it is +0.0500 [+0.0450, +0.0550] in N@10." in said
    assert "3. Two heads read what GenSR reads" in said
    assert "GenSR is above it in search (+0.2000 [+0.1950, +0.2050])." in said
    close = summary()
    close["comparisons"]["search"]["two_head"] = compared(0.01, -0.01, 0.03)
    assert (
        "GenSR and Two heads are level in search: GenSR − it is +0.0100 [−0.0100, +0.0300] in N@10, and the interval "
        "contains 0. 3." in findings(shown(close))
    )


def test_where_counting_is_first_the_share_of_repeated_queries_says_why() -> None:
    known = summary(query_count=0.48, same_query=0.2)
    rows = [(90, "5 to 19 searches"), (300, "1 to 4 searches"), (10, "0 searches")]
    known["diagnosis"] = [segment("search", "query in training", name, "gensr", n, 0.4) for n, name in rows]
    text = shown(known)
    assert (
        "2. Query count beats GenSR in search: GenSR − it is −0.0800 [−0.0850, −0.0750] in N@10. It counts "
        "what queries led to, and 98% of the test searches repeat a query of training." in findings(text)
    )
    assert "Search, 400 test samples: GenSR is at place 2 of 9 by N@10" in text
    assert "−0.0800  [−0.0850, −0.0750]" in text


def test_where_another_is_first_the_segment_with_most_of_the_gap_says_where() -> None:
    known = summary(two_head=0.5)
    values = {("target", "head"): (200, 0.4, 0.41), ("target", "tail"): (200, 0.4, 0.59),
              ("history", "0 events"): (200, 0.4, 0.5), ("history", "1 to 4 events"): (200, 0.4, 0.5)}  # fmt: skip
    known["diagnosis"] = [
        segment("search", *key, model, n, value)
        for key, (n, *ndcg) in values.items()
        for model, value in zip(("gensr", "two_head"), ndcg, strict=True)
    ]
    assert "95% of the gap is on 50% of the samples (target: tail)." in findings(shown(known))
    known["diagnosis"] = [each for each in known["diagnosis"] if each["by"] == "history"]
    assert "No measured segment explains the gap" in findings(shown(known))
    known["comparisons"]["search"]["two_head"] = compared(-0.1, -0.3, 0.1)
    said = findings(shown(known))
    assert "GenSR and Two heads are level in search: GenSR − it is −0.1000 [−0.3000, +0.1000] in N@10" in said
    assert "segment" not in said, "noise has no reason"


def test_a_short_table_has_gensr_the_best_three_two_heads_and_the_best_reference() -> None:
    known = summary(two_head=0.05, unisar=0.5, **{f"mine:m{n}": 0.6 + n / 100 for n in range(3)})
    lines = shown(known).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Search"))
    names = [line.partition("  ")[0] for line in lines[start + 2 : start + 8]]
    assert names == ["mine:m2", "mine:m1", "mine:m0", "GenSR", "BM25", "Two heads"]
    assert lines[start + 8] == "Two heads: a discriminative model on the same inputs."


def test_one_task_alone_has_one_table() -> None:
    known = summary()
    for part in ("results", "comparisons"):
        known[part]["recommendation"] = {}
    text = shown(known)
    assert "Search, 400" in text
    assert "Recommendation, " not in text
    assert "3. " in text


def test_a_failed_study_comes_first_and_its_error_is_cut() -> None:
    known = summary() | {"studies": {}, "studies_failed": {"sweep": "TrainingError: " + "loss is nan " * 90}}
    said = findings(shown(known))
    assert said.startswith("Findings 1. The study sweep failed: TrainingError: loss is nan")
    assert "…" in said
    assert "2. GenSR is first in recommendation" in said


@pytest.mark.parametrize("name", ["rerank-table", "sweep", "ablation", "full-ranking"])
def test_a_study_by_itself_says_what_it_came_to(name: str) -> None:
    study = getattr(made, {"rerank-table": "comparison", "full-ranking": "full_ranking"}.get(name, name))()
    known = {"results": {}, "comparisons": {}, "analysis": {}} | study
    text = shown(facts().summary | known)
    said = {
        "rerank-table": "QEM beats GenSR in search: GenSR − it is −0.2125 [−0.2500, −0.1700] in N@10",
        "sweep": "τ and β: 0.09",
        "ablation": "the lowest is GenSR − CF view",
        "full-ranking": "ranked among all 800 items",
    }[name]
    assert said in " ".join(text.split())
    assert ("GenSR − it" in text) == (name in ("rerank-table", "full-ranking"))


def test_a_model_that_was_still_improving_is_a_finding() -> None:
    known = summary()
    ended = trained([0.1, 0.2], "all epochs done")
    known["training"] = {"gensr": {"stopped": "all epochs done", "improving": still_improving(ended)}}
    text = shown(known)
    assert "3. GenSR was still improving when training ended: perhaps undertrained." in findings(text)
    assert "preset demo, a first look only." in " ".join(text.split())
    known["training"]["gensr"]["improving"] = still_improving(trained([0.2, 0.1], "all epochs done"))
    assert "improving" not in shown(known | {"preset": "best"})
    assert "first look" not in shown(known | {"preset": "best"})


@pytest.mark.parametrize("width", [80, 100, 200])
def test_it_fits_forty_lines_of_a_hundred_columns_with_any_title(width: int) -> None:
    long = "東京の検索エンジン比較モデル第二版 with a name that has no end"
    known = summary(**{long: 0.9, "query_count": 0.8, "query_user": 0.7}) | {"dataset": long * 2}
    known["studies_failed"], known["studies"] = {"sweep": "ваша ошибка " * 200}, {}
    lines = shown(known, width).splitlines()
    assert len(lines) + 7 <= 40, "with the links below"
    assert max(map(cell_len, lines)) <= min(width, 100)
    for line in lines:
        if "[" in line and "0.9000" in line:
            assert line.startswith("東京の検索エンジン")
            assert line.endswith("]"), "a long name cuts no number"


def test_colour_is_for_terminals_that_want_it() -> None:
    assert "\x1b[32m" in shown(summary(), color=True)
    assert "\x1b" not in shown(summary())
    assert "\x1b[32m" not in shown(summary(), color=True, NO_COLOR="1")
    assert shown(summary(), color=True, NO_COLOR="").count("\x1b[32m") > 0, "an empty one is none"


@pytest.mark.parametrize(
    ("kind", "preset", "dataset", "page", "command"),
    [
        ("generated", "demo", "generated-amazon", "serve --demo", "check --data FOLDER"),
        ("folder", "best", "my shop", "serve --model 'gensr-my shop'", "report --open"),
        ("folder", "demo", "toys", "serve --model gensr-toys", "run --data mine --preset best"),
    ],
)
def test_what_to_open_next_is_said_with_one_command(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    preset: str,
    dataset: str,
    page: str,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    known = summary() | {"preset": preset, "dataset": dataset}
    known["config"]["source"]["kind"] = kind
    following = watch.next_command(known, "run --data mine --preset best")
    run = tmp_path / ".gensr" / "runs" / "r1"
    watch.print_places(local()._replace(where=StateDir(tmp_path)), known, run, "http://127.0.0.1:4200/x", following)
    out = capsys.readouterr().out
    assert "Report   .gensr/runs/r1/report.html\n" in out
    assert f"/#/experiments/1/runs/{'ab' * 16}\n" in out
    assert out.count("\n") == 7
    assert f"gensr {page}   (a page" in out.splitlines()[-2]
    assert command in out.splitlines()[-1]
