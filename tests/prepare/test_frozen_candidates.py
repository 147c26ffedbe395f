"""Prepared data stay the same, row for row: saved ranks and published tables refer to these candidate lists.

The raw files lie in ``tests/prepare/frozen``, so a change of the generator does not reach them. A digest that differs
means that every saved rank on the old lists has lost its meaning. Change a constant only for a deliberate new version
of the prepared dataset.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from prepare_inputs import prepared, rows

from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.ingest import build_raw

FROZEN = Path(__file__).parent / "frozen"
DIGESTS: dict[str, dict[str, str]] = {
    "amazon": {
        "candidates_test": "650282ee13d24347",
        "candidates_valid": "0f1c89afd1790738",
        "events": "00ccf3da7445d9b0",
        "graph": "329368ac334e4ac5",
        "item_queries": "5347397cd793c339",
        "items": "898420198a1577d5",
        "queries": "429096440f83880d",
        "samples_test": "c00ec573b689cf75",
        "samples_train": "136f51b35a06dde1",
        "samples_valid": "23fa69c3bbe9ffe0",
        "users": "b7e39cf5e25db76e",
    },
    "kuaisar": {
        "candidates_test": "5b37d165deb6435e",
        "candidates_valid": "ee7fe28c49e7641c",
        "events": "856e7a9cdda9053f",
        "graph": "06ccdd1ada03a9d4",
        "items": "131cf3a1c0842d1f",
        "queries": "3b7778adf13ba16e",
        "samples_test": "8bdd21dd6119e7d8",
        "samples_train": "f0a7c539ac1018e6",
        "samples_valid": "e2c3d5a948bb7c95",
        "users": "27b81578cc7e9218",
    },
}
SCIENTIFIC: dict[str, str] = {
    "candidates_test": "9aa24901c93eaf09",
    "candidates_valid": "3f367b6e6714254d",
    "events": "5510105a24e85a15",
    "graph": "d77443ec3a9b6af6",
    "item_queries": "9b2c43c32e49fd4f",
    "items": "d5c6dd38b38365db",
    "queries": "bc9458370dd15e54",
    "samples_test": "3b1957f32e38e7ca",
    "samples_train": "10bbd6d090064963",
    "samples_valid": "eee4533c87426aa0",
    "users": "dbc40974e44bfe81",
}


def digests(source: Path, config: PipelineConfig, tmp_path: Path) -> dict[str, str]:
    """Table -> sha256 over its rows (16 hex digits), whatever the order in which the file holds them."""
    raw = tmp_path / "raw"
    raw.mkdir()
    build_raw(config, source, raw)
    folder = prepared(raw, config)
    return {path.stem: rows_digest(rows(folder, path.stem)) for path in sorted(folder.glob("*.parquet"))}


def rows_digest(table: list[dict[str, object]]) -> str:
    lines = sorted(json.dumps(row, sort_keys=True) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def three_protocols(data_format: str, **prepare: object) -> PipelineConfig:
    protocols = ["uniform", "popularity", "bm25"]
    return PipelineConfig.model_validate(
        {"name": "frozen", "format": data_format, "prepare": {"protocols": protocols, "threads": 1, **prepare}}
    )


@pytest.mark.parametrize("data_format", ["amazon", "kuaisar"])
def test_rows_of_small_raw_folders(data_format: str, tmp_path: Path) -> None:
    config = three_protocols(data_format, min_interactions=3, negatives=20)
    assert digests(FROZEN / data_format, config, tmp_path) == DIGESTS[data_format]


@pytest.mark.slow
def test_rows_of_amazon_scientific(real_data: Path, tmp_path: Path) -> None:
    config = three_protocols("amazon")
    assert digests(real_data / "amazon-scientific", config, tmp_path) == SCIENTIFIC
