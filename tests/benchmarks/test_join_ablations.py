"""Ablations that were run and kept one seed at a time are one ablation again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.join_ablations import join, read
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.evaluation.ablation import ablation_rows
from gensr_model.evaluation.metrics import ranks_table
from gensr_model.evaluation.saved_ranks import widen

STATISTICS = {"seed": 5, "statistics": {"confidence": 0.9, "bootstrap_samples": 500}}
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def ranks(rng: np.random.Generator, better: float) -> pa.Table:
    """Of 40 samples of each task, in an order of their own; the positive's score is higher by ``better``."""
    order = rng.permutation([(f"{task[0]}{n}", task) for task in ("recommendation", "search") for n in range(40)])
    scores = rng.normal(size=(len(order), 10))
    scores[:, 0] += better
    return ranks_table(order[:, 0], order[:, 1], scores)


def saved(path: Path, tables: dict[str, pa.Table], seeds: list[int], **config: Any) -> Path:
    settings = {"name": "mine", "format": "amazon", "ablation": {"seeds": seeds}} | STATISTICS | config
    metadata = {"config": json.dumps(settings), "dataset_digest": json.dumps("d")}
    pq.write_table(widen(tables).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def made() -> dict[str, list[pa.Table]]:
    rng = np.random.default_rng(0)
    strength = {"gensr": 2.0, "no_cf_view": 0.5, "no_soft_filter": 1.5}
    return {name: [ranks(rng, better) for _ in range(3)] for name, better in strength.items()}


def test_files_of_one_seed_give_the_rows_of_one_run(tmp_path: Path, made: dict[str, list[pa.Table]]) -> None:
    """Two seeds in the first file, one in the second, which was made with one more variant and a setting of its own."""
    pair = {
        name if seed == 4 else f"{name}-seed{seed}": tables[number]
        for name, tables in made.items()
        for number, seed in enumerate((4, 7))
    }
    single = {name: tables[2] for name, tables in made.items()} | {"no_contrastive": made["gensr"][2]}
    here = {"prepare": {"threads": 2}, "train": {"precision": "auto"}}
    there = {"prepare": {"threads": 8}, "train": {"precision": "no"}}
    a = saved(tmp_path / "a.parquet", pair, [4, 7], model={"beta": 0.1}, **here)
    b = saved(tmp_path / "b.parquet", single, [9], model={"beta": 0.2, "new": True}, **there)
    page = join([read(a), read(b)], None)
    assert "# mine: ablation of 3 seeds" in page
    assert "Seeds of training: 4, 7, 9." in page
    expected = ablation_rows(made, PipelineConfig.model_validate(STATISTICS), None)  # type: ignore[arg-type]
    assert len(expected) == 6
    grid = [[c.strip() for c in line.replace("−", "-").strip("|").split("|")] for line in page.splitlines()]
    for row in expected:
        cells = [f"{row['value']:.4f}", f"{row['std_over_seeds']:.4f}"]
        (line,) = [each for each in grid if each[2:4] == cells]
        if row["variant"] != "gensr":
            change, low, high = (f"{100 * row[name]:+.1f}" for name in ("change", "low", "high"))
            p = "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
            assert line[4:7] == [f"{change}%", f"[{low}, {high}]", p]
    assert "GenSR − contrastive" not in page
    assert "left out, as not in every file: no_contrastive" in page
    assert "`model.beta` 0.2 instead of 0.1, `model.new` true instead of absent" in page
    assert '`train.precision` "no" instead of "auto"' in page
    assert "prepare.threads" not in page
    assert "90% interval, %" in page


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, made: dict[str, list[pa.Table]]) -> None:
    one = {name: tables[0] for name, tables in made.items()}
    a = read(saved(tmp_path / "a.parquet", one, [0]))
    with pytest.raises(SystemExit, match="0, 0: one is there twice"):
        join([a, a], None)
    drawn = read(saved(tmp_path / "b.parquet", one, [1], seed=1, prepare={"negatives": 9}))
    with pytest.raises(SystemExit, match=r"b\.parquet: not comparable with .*prepare\.negatives, seed"):
        join([a, drawn], None)
    with pytest.raises(SystemExit, match=r"b\.parquet: of other raw files"):
        join([a, drawn._replace(dataset="e", config=a.config)], None)
    with pytest.raises(SystemExit, match=r"none\.parquet: no such file"):
        read(tmp_path / "none.parquet")
    with pytest.raises(SystemExit, match="not of an ablation; it has the ranks of gensr"):
        read(saved(tmp_path / "c.parquet", {"gensr": one["gensr"]}, [0]))


def test_settings_of_an_older_file_are_compared_where_they_stand(
    tmp_path: Path, made: dict[str, list[pa.Table]]
) -> None:
    """The statistics were once part of ``retrain``: with the same values the files fit, with others they do not."""
    one = {name: tables[0] for name, tables in made.items()}
    new = read(saved(tmp_path / "new.parquet", one, [0]))
    older = {"confidence": 0.9, "bootstrap_samples": 500, "delta": 0.005}
    old = read(saved(tmp_path / "old.parquet", one, [1], statistics={}, retrain=older))
    assert old.config["statistics"] == new.config["statistics"]
    assert "90% interval, %" in join([old, new], None)
    other = read(saved(tmp_path / "other.parquet", one, [2], statistics={}, retrain=older | {"confidence": 0.8}))
    with pytest.raises(SystemExit, match=r"they differ in statistics\.confidence"):
        join([new, other], None)


def test_the_joined_tables_in_docs_are_of_the_files_that_they_name() -> None:
    pages = sorted(RESULTS.glob("*-ablation-seed*-*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        files = re.findall(r"^- \[([^]]+\.parquet)\]", text, flags=re.MULTILINE)
        assert join([read(RESULTS / name) for name in files], None) == text
