"""What a baseline needs beside the dataset comes from the stage that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_dataset import write_dataset

from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.tiger import CODES, LEVELS, TIGER
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.runtime.progress import NullReport
from gensr_model.training.baseline import fit_baseline
from gensr_model.training.needs import READERS
from gensr_model.training.semantic_ids import make_semantic_ids

SEMANTIC_IDS = {"method": "residual_kmeans", "codes": 4}


def test_tiger_says_the_codes_of_the_stage(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "prepared")
    config = PipelineConfig.model_validate({"semantic_ids": SEMANTIC_IDS, "rerank": {"batch_size": 64}})
    codes = tmp_path / "codes"
    codes.mkdir()
    make_semantic_ids(dataset, None, config, tmp_path / "steps", codes, NullReport())
    needs = {"codes": READERS["codes"](codes, dataset)}
    given = (BASELINES["tiger"], {"batch_size": 64}, dataset, None, config, 1, tmp_path / "fit", NullReport())
    model, _, _ = fit_baseline(*given, needs=needs)
    assert isinstance(model, TIGER)
    assert (model.ids - model.first_code - torch.arange(LEVELS) * CODES).tolist() == needs["codes"].tolist()
    assert len(needs["codes"].unique()) > 1


def test_without_a_stages_file_the_reader_says_what_to_run(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "prepared")
    with pytest.raises(DataError, match=r"codes\.parquet: no such file, but generators need the codes of semantic-ids"):
        READERS["codes"](tmp_path, dataset)
