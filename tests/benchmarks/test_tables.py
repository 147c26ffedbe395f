"""The list of trainings behind the results pages, and the command that goes through it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tables.plan import OURS, SCIENTIFIC, Cell, cells, config_of, is_finished
from gensr_model.config.data import GeneratedSource
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon
from gensr_model.evaluation.cells import read_cell
from gensr_model.evaluation.reference import REFERENCES


def test_each_cell_stands_once_and_after_the_cell_that_chooses_its_hyperparameters() -> None:
    every = list(cells({}))
    assert len(set(every)) == len(every)
    for place, cell in enumerate(every):
        assert cell.chosen_in is None or every.index(cell.chosen_in) <= place
    assert {cell.dataset for cell in every if cell.tunes} == {SCIENTIFIC}
    assert {cell.system for cell in every if cell.chosen_in is None} == {"references"}


def test_further_seeds_are_for_ours_and_what_is_near_the_best_of_a_column() -> None:
    def row(system: str) -> Cell:
        return Cell(SCIENTIFIC, "rerank", system)

    known = {row("gensr"): {"recommendation": 0.30, "search": 0.90}, row("sasrec"): {"recommendation": 0.28},
             row("gru4rec"): {"recommendation": 0.26}, row("qem"): {"search": 0.88}}  # fmt: skip
    repeated = {cell.system for cell in cells(known) if cell.seed == 2 and cell.study == "rerank"}
    assert repeated == {*OURS, "sasrec", "qem"}


def test_a_cell_that_chooses_nothing_has_the_hyperparameters_of_the_one_that_did() -> None:
    beauty = Cell("amazon-beauty", "rerank", "sasrec")
    config = PipelineConfig.model_validate(config_of(beauty, Path("data"), {"dropout": 0.2}))
    assert (config.rerank.tune, config.rerank.points) == (False, {"sasrec": {"dropout": 0.2}})
    ours = config_of(beauty._replace(system="gensr"), Path("data"), {"train.learning_rate": 3e-3, "model.beta": None})
    given = PipelineConfig.model_validate(ours)
    assert (given.train.learning_rate, given.train.epochs, given.model.beta) == (3e-3, 30, PipelineConfig().model.beta)
    tuned = PipelineConfig.model_validate(config_of(beauty.chosen_in, Path("data"), None))
    assert (tuned.rerank.tune, tuned.rerank.points) == (True, {})


def test_all_configs_are_valid() -> None:
    for cell in cells({}):
        assert PipelineConfig.model_validate(config_of(cell, Path("data"), None)).rerank.systems == cell.systems


@pytest.mark.slow
def test_the_command_saves_what_is_missing_and_then_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "data" / SCIENTIFIC).mkdir(parents=True)
    write_amazon(tmp_path / "data" / SCIENTIFIC, GeneratedSource(users=200, items=250))
    folders = ["--data", str(tmp_path / "data"), "--cells", str(tmp_path / "cells"), "--home", str(tmp_path / "home")]
    words = ["--only", "references", "rerank", SCIENTIFIC]

    def command(*more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.tables", *folders, *words, *more], stdout=subprocess.PIPE, text=True,
            check=True,
            encoding="utf-8",
        )  # fmt: skip
        return done.stdout.splitlines()

    assert command("--next")[0] == f"{SCIENTIFIC} rerank references seed 0: never trained"
    assert command()[-1] == "nothing"
    cell = Cell(SCIENTIFIC, "rerank", "references")
    assert is_finished(cell, tmp_path / "cells")
    read = {name: read_cell(tmp_path / "cells" / path) for name, path in cell.paths.items()}
    assert set(read) == set(REFERENCES)
    assert len(read["popularity"].ranks) > len(read["bm25"].ranks) > 0
    record = read["popularity"].record
    assert record.costs["seconds_to_score"] > 0
    assert str(tmp_path) not in json.dumps(record.model_dump())
    assert command("--next") == ["nothing"]
