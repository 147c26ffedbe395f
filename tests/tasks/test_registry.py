"""The champion that retraining compares with: only a model that we registered ourselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from gensr_model.config import PipelineConfig
from gensr_model.errors import DataError
from tasks import registry
from tasks.stage import StageResult
from tasks.tracking import parent_run


def test_no_champion_then_a_foreign_one_then_one_without_a_bundle(gensr_home: Path, tmp_path: Path) -> None:
    with parent_run(PipelineConfig(), "retrain/nightly", "0" * 8) as run:
        assert registry.champion(run, "gensr-x") is None
        run.client.create_registered_model("gensr-x")
        assert registry.champion(run, "gensr-x") is None
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
        by_hand = run.client.create_model_version("gensr-x", (tmp_path / "model").as_uri(), run.run_id)
        registry.crown(run, "gensr-x", by_hand.version)
        with pytest.raises(DataError, match=r"version 1 of the model gensr-x .* was not registered by"):
            registry.champion(run, "gensr-x")

        bundle = StageResult("finetune", "k1", tmp_path, {}, 0.0, False)
        version = registry.register(run, "gensr-x", (tmp_path / "model").as_uri(), bundle, "first")
        registry.crown(run, "gensr-x", version)
        with pytest.raises(DataError, match="0 model bundles"):
            registry.champion(run, "gensr-x")
        assert not list((gensr_home / "champions").iterdir()), "nothing half-fetched stays"
