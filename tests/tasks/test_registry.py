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


def test_the_bins_of_a_version_are_those_of_the_run_that_registered_it(
    gensr_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "bins.json").write_text('[{"feature": "a", "upper": 1, "rows": 2}]')
    with parent_run(PipelineConfig(), "retrain/nightly", "1" * 8) as run:
        place = gensr_home / "champions" / "data"
        assert registry._data_of(run, run.run_id, place) is None
        assert not place.exists()
        run.artifacts(tmp_path, ("bins.json",))
        found = registry._data_of(run, run.run_id, place)
        assert found is not None
        assert (found.path / "bins.json").read_text() == (tmp_path / "bins.json").read_text()
        assert registry._data_of(run, run.run_id, place) == found
        assert list(place.parent.iterdir()) == [place], "nothing half-fetched stays"
