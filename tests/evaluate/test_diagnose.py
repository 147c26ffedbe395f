"""Rows of a run's diagnosis, with GenSR's lead in each segment."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_dataset import write_dataset

from gensr_model.config.evaluation import StatisticsConfig
from gensr_model.evaluation import diagnosis
from gensr_model.evaluation.diagnosis import diagnose, leads
from gensr_model.evaluation.metrics import ranks_table
from tasks.evaluate.diagnose import segments_of

LEAD = ["baseline", "lead", "lead_low", "lead_high", "lead_p_holm"]


def test_gensrs_rows_have_its_lead_and_nothing_that_json_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "FEWEST_USERS", 20)
    dataset = write_dataset(tmp_path / "prepared")
    samples, rng = dataset.samples("test"), np.random.default_rng(0)
    ranks = {
        name: ranks_table(samples.sample_id, samples.task_names, rng.normal(size=(len(samples), 10)))
        for name in ("gensr", "two_head", "bm25")
    }
    how = StatisticsConfig(bootstrap_samples=200, confidence=0.8)
    rows = segments_of(dataset, ranks, how, seed=3)
    plain = diagnose(dataset, ranks)
    assert [list(row) for row in rows] == [plain.column_names + LEAD] * len(plain)
    assert [{name: row[name] for name in plain.column_names} for row in rows] == plain.to_pylist()
    assert {row[name] for row in rows if row["model"] != "gensr" for name in LEAD} == {None}
    result = {lead[:3]: lead for lead in leads(dataset, ranks, "gensr", 200, 0.8, seed=3)}
    ours = [row for row in rows if row["model"] == "gensr"]
    assert len(ours) == len(result)
    for row in ours:
        lead = result[row["task"], row["by"], row["segment"]]
        untested = math.isnan(lead.lead_p_holm)
        assert [row[name] for name in LEAD] == [*lead[3:7], None if untested else lead.lead_p_holm]
    assert 0 < sum(row["lead_p_holm"] is None for row in ours) < len(ours)
    assert pa.Table.from_pylist(rows).column_names == plain.column_names + LEAD
