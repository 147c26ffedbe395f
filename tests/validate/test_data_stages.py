"""The stages that check data: what a failing expectation stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.runtime.progress import NullReport
from tasks.core.work import Work
from tasks.ingest.ingest import ingest
from tasks.ingest.ingest import source_files as raw_files
from tasks.validate.validate import check_raw


def test_a_bad_raw_table_is_stopped_before_prepare_sees_it(tmp_path: Path, tiny: Callable[..., PipelineConfig]) -> None:
    config = tiny()
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    ingest.build(Work(raw, tmp_path, NullReport()), config, raw_files(config, tmp_path))
    reviews = pq.read_table(raw / "reviews.parquet")
    users = reviews["user"].to_pylist()
    users[0] = None
    at = reviews.schema.get_field_index("user")
    pq.write_table(reviews.set_column(at, "user", [users]), raw / "reviews.parquet")
    with pytest.raises(DataError, match=r"raw_reviews\.user"):
        check_raw.build(Work(out, tmp_path, NullReport()), config, raw)
    assert (out / "validation.json").is_file()
    assert (out / "data_docs" / "index.html").is_file()
