"""The table of the comparison from finished stages: what is shown, and what is kept of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ranked_data import data_of
from small_dataset import write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.studies import SavedRanks
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.comparison_table import COLUMNS, means
from gensr_model.evaluation.metrics import RankCounts, counts_table
from gensr_model.evaluation.saved_ranks import read_saved_ranks, saved_labels, widen
from gensr_model.runtime.progress import NullReport
from tasks.compare import baselines
from tasks.compare.baselines import Ranked
from tasks.compare.saved_ranks import saved_costs, saved_systems
from tasks.core.stage import StageResult
from tasks.core.work import Work
from tasks.evaluate.rank import read_ranks
from tasks.publish import comparison_table
from tasks.publish.comparison_table import Failed
from tasks.publish.publish import markdown

CONFIG = PipelineConfig.model_validate(
    {
        "name": "small",
        "model": {"max_history": 6},
        "train": {"valid_samples": 20},
        "prepare": {"negatives": 9},
        "rerank": {"seeds": [0, 1], "epochs": 1, "batch_size": 64, "trials": 2, "trial_epochs": 1},
    }
)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> list[Ranked]:
    """Two baselines with two seeds; the stages' own functions, in this process. ZAM stands in for ours."""
    root = tmp_path_factory.mktemp("table")
    prepared = write_dataset(root / "prepared").folder
    result = []
    for name, label in (("qem", "qem"), ("zam", "gensr")):
        for seed in CONFIG.rerank.seeds:
            config = CONFIG.model_copy(update={"seed": seed})
            done = []
            for step in ("tune", "train", "rank"):
                out = root / f"{name}-{seed}-{step}"
                out.mkdir()
                work = Work(out, root / f"checkpoints-{name}-{seed}-{step}", NullReport())
                before = [StageResult("", "", prepared, {}, 1.0, False), *done[-1:]]
                inputs = [stage.path for stage in before]
                made = {
                    "tune": baselines.tune_baseline,
                    "train": baselines.train_baseline,
                    "rank": baselines.rank_baseline,
                }[step](work, config, *inputs, name)
                known = {"train": {"peak_memory_mb": 300.0 + seed}, "rank": {"seconds_to_score": 2.0}}
                made |= known.get(step, {})
                done.append(StageResult(step, f"{name}{seed}", out, made, 9.0, False, f"{step}-{label}"))
            result.append(Ranked(label, seed, done[2], done[1], {"learning_rate": 1e-3}))
    return result


def test_the_page_has_a_row_per_system_and_says_what_failed(ranked: list[Ranked], tmp_path: Path) -> None:
    data = data_of(tmp_path / "prepared", [o.ranks for o in ranked], per_user=7)
    done = comparison_table.compare(CONFIG, data, [*ranked, Failed("aem", 1, "no | more\nmemory")])
    tested = [(v["n"], v["users"], v["baseline"]) for v in done.summary["verdicts"]]
    assert tested == [(70, 10, "qem")] * len(COLUMNS)
    page = markdown(done.summary)
    assert "among the same 9 frozen negatives (uniform); mean of 2 seeds." in page
    assert "**Search: 2 systems, 70 test samples of 10 users**\n" in page
    assert "Recommendation: " not in page, "nobody ranked it"
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in page.splitlines()]
    head = next(n for n, row in enumerate(cells) if row[0] == "System")
    assert cells[head] == ["System", "Kind", "R@5", "R@10", "N@5", "N@10", "± seeds", "Seeds", "Epochs", "s/epoch",
                           "s to score", "Parameters", "Peak memory"]  # fmt: skip
    body = {row[0]: row for row in cells[head + 2 : head + 4]}
    assert set(body) == {"QEM", "GenSR"}
    assert body["QEM"][3] == body["GenSR"][3] == "**1.0000**"  # R@10 among ten: everyone's best
    assert body["GenSR"][-1] == "315 MB"  # the mean of 300 and 301 MiB
    assert body["GenSR"][-3] == "2.0"  # not the stage's 9: a process's start is not in it
    assert ["AEM", "1", r"no \| more memory"] in cells


@pytest.mark.parametrize(
    ("difference", "p_holm", "starred"), [(0.1, 0.009, True), (0.1, 0.011, False), (-0.1, 0.001, False)]
)
def test_a_star_needs_a_lead_that_holds_after_correction(
    ranked: list[Ranked], tmp_path: Path, difference: float, p_holm: float, starred: bool
) -> None:
    data = data_of(tmp_path / "prepared", [o.ranks for o in ranked], per_user=7)
    summary = comparison_table.compare(CONFIG, data, list(ranked)).summary
    summary["verdicts"] = [v | {"mean_difference": difference, "p_holm": p_holm} for v in summary["verdicts"][:1]]
    row = next(line for line in markdown(summary).splitlines() if line.startswith("| GenSR"))
    assert [bool(re.search(r"\d\*(\s|\*\*\s|</u>)", cell)) for cell in row.split("|")[3:7]] == [starred, *[False] * 3]


def test_what_is_kept_is_json_and_gives_the_ranks_back(ranked: list[Ranked], tmp_path: Path) -> None:
    data = data_of(tmp_path / "prepared", [o.ranks for o in ranked], per_user=7)
    summary, tables = comparison_table.compare(CONFIG, data, list(ranked))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["chosen"] == {"gensr": {"learning_rate": 1e-3}, "qem": {"learning_rate": 1e-3}}
    assert {v["metric"] for v in summary["verdicts"]} == set(COLUMNS)
    assert {"t", "p", "low", "high", "baseline"} <= set(summary["verdicts"][0])
    pq.write_table(tables["ranks"], tmp_path / "ranks.parquet")
    saved = read_saved_ranks(tmp_path / "ranks.parquet")
    assert set(saved) == {f"{name}/seed{seed}" for name in ("gensr", "qem") for seed in (0, 1)}
    of_seed = next(o for o in ranked if (o.name, o.seed) == ("qem", 1))
    columns = ["sample_id", "greater", "ties"]
    expected = read_ranks(of_seed.ranks).select(columns).sort_by("sample_id")
    assert saved["qem/seed1"].select(columns).sort_by("sample_id").equals(expected)


def of(file: Path, **rest: object) -> SavedRanks:
    return SavedRanks.model_validate({"path": str(file), **rest})


def test_saved_systems_join_only_over_the_same_candidates(ranked: list[Ranked], tmp_path: Path) -> None:
    """References are stood in for by QEM's ranks: what counts is that they are the same here and there."""
    ours = {"popularity": [read_ranks(ranked[0].ranks)]}
    other = {"popularity": read_ranks(ranked[0].ranks), "gensr": read_ranks(ranked[2].ranks),
             "aem/seed0": read_ranks(ranked[1].ranks), "aem/seed1": read_ranks(ranked[3].ranks)}  # fmt: skip
    file = tmp_path / "saved.parquet"
    pq.write_table(widen(other), file)
    result = saved_systems((of(file),), ours, ours)
    assert {name: len(tables) for name, tables in result.items()} == {"gensr": 1, "aem": 2}
    assert saved_systems((of(file),), ours, [*ours, "gensr"]).keys() == {"aem"}  # failed here or not
    assert means(ours | result)[0].keys() == means(ours)[0].keys()
    with pytest.raises(DataError, match=r"both hold aem, gensr, perhaps under other settings"):
        saved_systems((of(file), of(file)), ours, ours)
    only = of(file, systems=("gensr",))
    assert saved_systems((only, of(file, systems=("aem",))), ours, ours).keys() == {"gensr", "aem"}
    more = saved_systems((of(file), of(file, systems=("gensr",), again=True)), ours, ours)
    assert {name: len(tables) for name, tables in more.items()} == {"gensr": 2, "aem": 2}
    with pytest.raises(ConfigError, match=r"saved\.parquet has no ranks of jsr, tem"):
        saved_systems((of(file, systems=("tem", "gensr", "jsr")),), ours, ours)
    with pytest.raises(DataError, match="shares no reference ranker"):
        saved_systems((of(file),), {"qem": ours["popularity"]}, ["qem"])
    moved = ours["popularity"][0].to_pydict()
    moved["greater"][0] += 1 if moved["greater"][0] < 9 else -1
    changed = pa.table(moved, schema=ours["popularity"][0].schema)
    with pytest.raises(DataError, match="popularity has other ranks in"):
        saved_systems((of(file),), {"popularity": [changed]}, ours)
    with pytest.raises(DataError, match=r"popularity has other ranks in .* \(not of the same samples\)"):
        saved_systems((of(file),), {"popularity": [ours["popularity"][0].slice(1)]}, ours)
    with pytest.raises(ConfigError, match=r"none\.parquet does not exist, seen from"):
        saved_systems((of(tmp_path / "none.parquet"),), ours, ours)
    (tmp_path / "page.md").write_text("no ranks", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"page\.md is no readable Parquet file"):
        saved_systems((of(tmp_path / "page.md"),), ours, ours)
    pq.write_table(pa.table({"tau": [0.05]}), tmp_path / "sweep.parquet")
    with pytest.raises(ConfigError, match=r"sweep\.parquet holds no ranks"):
        saved_systems((of(tmp_path / "sweep.parquet"),), ours, ours)


def test_one_that_fails_here_is_taken_from_no_saved_file_and_takes_no_table_down(
    ranked: list[Ranked], tmp_path: Path
) -> None:
    """Nor do two files that hold it, which is known only after hours where nothing else asks."""
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for file in files:
        ranks = {"popularity": read_ranks(ranked[0].ranks), "aem": read_ranks(ranked[1].ranks)}
        pq.write_table(widen(ranks), file)
    config = CONFIG.model_copy(
        update={"rerank": CONFIG.rerank.model_copy(update={"saved_ranks": tuple(map(of, files))})}
    )
    popularity = Ranked("popularity", 0, ranked[0].ranks, None, {})
    outcomes = [*ranked, popularity, Failed("aem", 0, "no memory")]
    data = data_of(tmp_path / "prepared", [o.ranks for o in ranked], per_user=7)
    result = comparison_table.compare(config, data, outcomes)
    assert result.summary["saved_ranks"] == []
    page = markdown(result.summary)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    assert [row for row in cells if row[0] == "AEM"] == [["AEM", "0", "no memory"]]


def test_saved_trainings_are_numbered_and_claim_no_seed(ranked: list[Ranked], tmp_path: Path) -> None:
    saved = {"aem": [read_ranks(ranked[n].ranks) for n in (0, 1)], "tem": [read_ranks(ranked[2].ranks)]}
    pq.write_table(comparison_table.all_ranks(ranked[:1], saved), tmp_path / "ranks.parquet")
    assert saved_labels(tmp_path / "ranks.parquet") == ["qem", "aem/training0", "aem/training1", "tem"]


def test_what_saved_systems_took_comes_with_them(ranked: list[Ranked], tmp_path: Path) -> None:
    files, saved = [], {"popularity": read_ranks(ranked[0].ranks), "aem": read_ranks(ranked[1].ranks)}
    for number, seconds in enumerate((2.0, 4.0)):
        costs = {"aem": {"seconds_per_epoch": seconds, "parameters": 7.0}, "gensr": {"seconds_per_epoch": 9.0}}
        table = widen(saved | {"gensr": read_ranks(ranked[2].ranks)})
        files.append(tmp_path / f"saved{number}.parquet")
        pq.write_table(table.replace_schema_metadata({"costs": json.dumps(costs)}), files[-1])
    silent = tmp_path / "silent.parquet"
    pq.write_table(widen({"popularity": saved["popularity"], "gensr": saved["aem"]}), silent)
    result = saved_costs((of(files[0], systems=("aem",)), of(files[1])), ["aem", "gensr", "qem"])
    assert [cost["seconds_per_epoch"] for cost in result["aem"]] == [2.0, 4.0]
    assert [cost["seconds_per_epoch"] for cost in result["gensr"]] == [9.0], "the first file is of AEM alone"
    assert result["qem"] == []
    aem = comparison_table.mean_saved_cost(result["aem"])
    assert (aem.seconds_per_epoch, aem.parameters) == (3.0, 7.0)
    assert math.isnan(aem.epochs)
    assert all(math.isnan(value) for value in comparison_table.mean_saved_cost([]))

    gensr = saved_costs((of(files[1]), of(silent)), ["gensr"])["gensr"]
    assert gensr == [{"seconds_per_epoch": 9.0}, {}], "a seed of which nothing is known is one"
    assert math.isnan(comparison_table.mean_saved_cost(gensr).seconds_per_epoch), "no mean of three where two are known"
    seeds = widen(saved | {"aem/seed0": saved["aem"], "aem/seed1": saved["aem"]}).drop(["aem/greater", "aem/ties"])
    pq.write_table(seeds.replace_schema_metadata({"costs": json.dumps({"aem": {"epochs": 3.0}})}), silent)
    pq.write_table(widen(saved).replace_schema_metadata({"costs": json.dumps({"aem": {"epochs": 6.0}})}), files[0])
    both = saved_costs((of(silent), of(files[0])), ["aem"])["aem"]
    assert comparison_table.mean_saved_cost(both).epochs == 4.0, "a file of two seeds counts twice"


def test_seconds_per_epoch_leave_out_what_was_trained_before_a_crash() -> None:
    trained = {"epochs": 4.0, "steps": 40.0, "resumed_at": 20.0, "seconds": 10.0, "parameters": 7.0}
    ranks = StageResult("evaluate", "k", Path("nowhere"), {}, 3.0, False)
    whole = comparison_table.mean_cost([Ranked("a", 0, ranks, ranks._replace(metrics=trained), {})])
    assert (whole.seconds_per_epoch, whole.seconds_to_score, whole.parameters) == (5.0, 3.0, 7.0)


def test_rounding_a_trained_reference_and_other_text_tell_no_candidates_apart(tmp_path: Path) -> None:
    def ranks(moved: int) -> pa.Table:
        counts = RankCounts(np.array([5] * (300 - moved) + [6] * moved, np.int32), np.zeros(300, np.int32))
        return counts_table([f"s{n:03d}" for n in range(300)], ["search"] * 300, counts, np.full(300, 10))

    file = tmp_path / "saved.parquet"
    pq.write_table(widen({"popularity": ranks(0), "lightgcn": ranks(0), "bm25": ranks(0), "tem": ranks(9)}), file)
    other = {"lightgcn": [ranks(300)], "bm25": [ranks(300)]}  # trained, and of other text
    for here in ({"popularity": [ranks(3)]}, {"popularity": [ranks(0)], **other}):
        assert saved_systems((of(file),), here, here).keys() - other.keys() == {"tem"}
    for here in ({"popularity": [ranks(4)]}, {"lightgcn": [ranks(300)]}, {"bm25": [ranks(300)]}):
        with pytest.raises(DataError, match=r"other ranks in .* \((4|300) of 300 samples\)"):
            saved_systems((of(file),), here, here)
