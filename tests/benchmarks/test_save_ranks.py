"""Saved ranks give the run's own figures back, and nothing but them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.save_ranks import keep
from gensr_model.evaluation.evaluate import RANKS
from gensr_model.evaluation.metrics import RankCounts, counts_table, ranks_table
from gensr_model.evaluation.saved_ranks import read_saved_ranks, widen


def ranks(rng: np.random.Generator, tasks: list[str]) -> pa.Table:
    """Of the samples of some tasks, in an order of their own."""
    order = rng.permutation([(f"{task[0]}{n}", task) for task in tasks for n in range(20)])
    return ranks_table(order[:, 0], order[:, 1], rng.integers(0, 6, (len(order), 10)).astype(float))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, dict[str, pa.Table]]:
    rng = np.random.default_rng(0)
    both = ["recommendation", "search"]
    made = {"gensr": ranks(rng, both), "popularity": ranks(rng, both), "bm25": ranks(rng, ["search"])}
    stages = [{"label": "prepare", "key": "p"}]
    for name, table in made.items():
        folder = tmp_path / "home" / "store" / "evaluate" / f"key-{name}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / RANKS)
        stages.append({"label": f"evaluate-{name}", "key": folder.name})
    place = tmp_path / "home" / "runs" / "latest"
    place.mkdir(parents=True)
    config = {"source": {"kind": "folder", "path": "/somewhere/here/mine"}}
    facts = {"dataset": "mine", "seed": 3, "config": config, "dataset_digest": "d", "config_hash": "c"}
    (place / "summary.json").write_text(json.dumps(facts | {"stages": stages}), encoding="utf-8")
    (place / "table.md").write_text("# mine\n", encoding="utf-8")
    return place, made


def test_kept_ranks_are_those_of_the_run(run: tuple[Path, dict[str, pa.Table]], tmp_path: Path) -> None:
    place, made = run
    table, parquet = keep(place, tmp_path / "saved_ranks")
    assert (table.name, parquet.name) == ("mine-seed3.md", "mine-seed3.parquet")
    assert b"somewhere" not in parquet.read_bytes()
    saved = read_saved_ranks(parquet)
    assert saved.keys() == made.keys()
    for name, expected in made.items():
        assert saved[name].sort_by("sample_id") == expected.sort_by("sample_id"), name


def test_a_folder_that_is_no_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nothing has no summary\.json.*<home>/runs"):
        keep(tmp_path / "nothing", tmp_path / "saved_ranks")
    assert not (tmp_path / "saved_ranks").exists()


def test_a_full_ranking_run_is_kept_under_a_name_of_its_own(
    run: tuple[Path, dict[str, pa.Table]], tmp_path: Path
) -> None:
    """Its lists are the catalogue without what each user met: of many lengths, and longer than 16 bits can say."""
    place, made = run
    rng = np.random.default_rng(1)
    length = dict(zip(made["gensr"]["sample_id"].to_pylist(), rng.integers(50_000, 60_000, 40), strict=True))
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    summary |= {"study": "full-ranking", "stages": [{"label": "prepare", "key": "p"}]}
    full = {}
    for name, table in made.items():
        lengths = np.array([length[i] for i in table["sample_id"].to_pylist()])
        counts = RankCounts(rng.integers(0, 40_000, len(table)).astype(np.int32), np.zeros(len(table), np.int32))
        full[name] = counts_table(table["sample_id"], table["task"], counts, lengths)
        folder = tmp_path / "home" / "store" / "evaluate-full" / f"key-{name}"
        folder.mkdir(parents=True)
        pq.write_table(full[name], folder / RANKS)
        summary["stages"].append({"label": f"evaluate-full-{name}", "key": folder.name})
    (place / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    table_md, parquet = keep(place, tmp_path / "saved_ranks")
    assert (table_md.name, parquet.name) == ("mine-full-ranking-seed3.md", "mine-full-ranking-seed3.parquet")
    saved = read_saved_ranks(parquet)
    assert saved.keys() == full.keys()
    for name, expected in full.items():
        assert saved[name].sort_by("sample_id") == expected.sort_by("sample_id"), name
    with pytest.raises(ValueError, match="lists of two lengths"):
        widen({"gensr": full["gensr"], "popularity": made["popularity"]})


def test_a_comparison_is_kept_with_what_was_chosen_and_without_folders(
    run: tuple[Path, dict[str, pa.Table]], tmp_path: Path
) -> None:
    place, made = run
    pq.write_table(widen(made), place / RANKS)
    config = {
        "source": {"kind": "generated"},
        "rerank": {"saved_ranks": ["/somewhere/here/ours.parquet", {"path": "/somewhere/b.parquet"}]},
    }
    facts = {"dataset": "mine", "seeds": [0, 2], "config": config, "config_hash": "c", "chosen": {"gensr": {"beta": 1}}}
    (place / "summary.json").write_text(json.dumps(facts), encoding="utf-8")
    table, parquet = keep(place, tmp_path / "saved_ranks")
    assert (table.name, parquet.name) == ("mine-rerank-seed0-2.md", "mine-rerank-seed0-2.parquet")
    assert b"somewhere" not in parquet.read_bytes()
    saved_ranks = json.loads(pq.read_schema(parquet).metadata[b"config"])["rerank"]["saved_ranks"]
    assert [of["path"] for of in saved_ranks] == ["ours.parquet", "b.parquet"]
    assert json.loads(pq.read_schema(parquet).metadata[b"chosen"]) == {"gensr": {"beta": 1}}
    assert read_saved_ranks(parquet).keys() == made.keys()


def test_a_sweep_is_kept_with_a_row_per_point(run: tuple[Path, dict[str, pa.Table]], tmp_path: Path) -> None:
    place, _ = run
    points = pa.table({"tau": [0.05, 0.09], "beta": [0.1, 0.1], "metric": [0.5, 0.6]})
    pq.write_table(points, place / "sweep.parquet")
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8")) | {"study": "sweep", "stages": []}
    (place / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    table, parquet = keep(place, tmp_path / "saved_ranks")
    assert (table.name, parquet.name) == ("mine-sweep-seed3.md", "mine-sweep-seed3.parquet")
    assert pq.read_table(parquet).to_pylist() == points.to_pylist()
    assert b"somewhere" not in parquet.read_bytes()
