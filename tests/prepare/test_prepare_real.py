"""The real data on hand: the figures of DATA.md, and promises that only real quirks can break."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepare_inputs import counts, prepared, rows

from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.ingest import build_raw
from tasks.validate.audit import audit_by_itself


def raw_of(folder: Path, config: PipelineConfig, tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    build_raw(config, folder, raw)
    return raw


def of(folder: Path, **prepare: object) -> PipelineConfig:
    source = {"kind": "folder", "path": str(folder)}
    return PipelineConfig.model_validate({"name": folder.name, "source": source, "prepare": prepare})


def test_digital_music(real_data: Path, tmp_path: Path) -> None:
    """DATA.md: 268 users, 206 items, 2,480 events after the paper's filters: a 5-core of purchases, ties and all."""
    config = of(real_data / "amazon-digital-music")
    folder = prepared(raw_of(real_data / "amazon-digital-music", config, tmp_path), config)
    result = counts(folder)
    assert (result["users"], result["items"], result["category_queries"]["purchases"]) == (268, 206, 2480)
    assert result["events"] == 4960
    assert result["samples"]["test"]["search"] == {"samples": 268, "empty_history": 1}
    results, figures = audit_by_itself(folder)
    assert [r for r in results if r.violations] == []
    cut = next(f.values for f in figures if f.name == "position_cut")
    # Every search sample would see its own purchase, and further samples another purchase of their day.
    moments = {(event["user_idx"], event["ts"]) for event in rows(folder, "events")}
    assert (cut["samples"], cut["answer_in_history"]) == (4960, 2480)
    assert cut["history_not_earlier"] == 4960 - len(moments) == 2811


@pytest.mark.timeout(300)
def test_scientific_counts_and_bytes(real_data: Path, tmp_path: Path) -> None:
    """DATA.md: 8,317 users, 4,344 items, 58,492 purchases, 765 paths, 131 items without; two runs, the same bytes."""
    config = of(real_data / "amazon-scientific", threads=1)
    raw = raw_of(real_data / "amazon-scientific", config, tmp_path)
    folder = prepared(raw, config)
    result = counts(folder)
    assert (result["users"], result["items"], result["category_queries"]["purchases"]) == (8317, 4344, 58492)
    assert result["items"] - result["category_queries"]["items_with_path"] == 131
    assert result["samples"]["test"]["recommendation"]["samples"] == 8317
    assert [r for r in audit_by_itself(folder)[0] if r.violations] == []
    again = prepared(raw, of(real_data / "amazon-scientific", threads=4, memory_limit="1GB"), "again")
    for path in sorted(folder.glob("*.parquet")):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
