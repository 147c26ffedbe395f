"""Training and ranking where nothing but the library is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_dataset import SMALL_MODEL, write_cf, write_dataset

from gensr_model import offline
from gensr_model.config import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.evaluate import rank_reference
from gensr_model.evaluation.kept import read_kept
from gensr_model.evaluation.metrics import summarize
from gensr_model.report import NullReport
from gensr_model.study_config import KeptRanks
from gensr_model.training import finetune
from tasks.kept import kept_systems

CONFIG = PipelineConfig.model_validate(
    {
        "model": SMALL_MODEL,
        "lightgcn": {"epochs": 2},
        "train": {"epochs": 1, "two_head_epochs": 1, "valid_samples": 20},
        "analysis": {"gradient_every": 0},
    }
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline") / "prepared"
    write_dataset(folder)
    return folder


def test_it_trains_and_ranks_once(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ["gensr", "two_head"]
    first = offline.run(prepared, tmp_path / "out", CONFIG, models, None, NullReport())
    kept = read_kept(tmp_path / "out" / "ranks.parquet")
    assert sorted(kept) == ["gensr", "item_knn", "popularity", "two_head"]
    samples = len(PreparedDataset.open(prepared).samples("test"))
    assert all(table.num_rows == samples for table in kept.values())
    assert first["gensr"]["test"] == summarize(kept["gensr"])
    assert (tmp_path / "out" / "lightgcn" / "lightgcn.safetensors").is_file()
    assert not list((tmp_path / "out").glob("*-checkpoints"))
    assert not list((tmp_path / "out").glob("*.part"))
    told = json.loads(pq.read_schema(tmp_path / "out" / "ranks.parquet").metadata[b"config"])
    assert PipelineConfig.model_validate(told) == CONFIG
    for name in models:
        monkeypatch.setitem(offline.TRAIN, name, None)  # whatever trains again fails
    assert offline.run(prepared, tmp_path / "out", CONFIG, models, None, NullReport()) == first


def test_a_training_that_was_cut_off_goes_on(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cf, out = write_cf(tmp_path / "cf"), tmp_path / "out"
    config = with_changes(CONFIG, {"train": {"checkpoint_every": 1, "batch_size": 16}})
    whole = offline.run(prepared, tmp_path / "whole", config, ["gensr"], cf, NullReport())

    class Cut(NullReport):
        def metrics(self, values: dict[str, float], step: int) -> None:
            if "train/loss" in values:
                raise KeyboardInterrupt

    real = finetune.finetune
    monkeypatch.setitem(offline.TRAIN, "gensr", lambda *rest: real(*rest[:-1], Cut()))
    with pytest.raises(KeyboardInterrupt):
        offline.run(prepared, out, with_changes(config, {}), ["gensr"], cf, NullReport())
    monkeypatch.setitem(offline.TRAIN, "gensr", real)
    found = offline.run(prepared, out, config, ["gensr"], cf, NullReport())
    assert found["gensr"]["training"]["resumed_at"] > 0
    assert found["gensr"]["test"] == whole["gensr"]["test"]


def test_a_folder_has_one_config_one_dataset_and_one_table(prepared: Path, tmp_path: Path) -> None:
    cf, out = write_cf(tmp_path / "cf"), tmp_path / "out"
    offline.run(prepared, out, CONFIG, [], cf, NullReport())
    with pytest.raises(ConfigError, match=r"holds work of another config, see inputs\.json"):
        offline.run(prepared, out, with_changes(CONFIG, {"seed": 1}), [], cf, NullReport())
    other = tmp_path / "other"
    shutil.copytree(prepared, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"raw_digest": "another"}))
    with pytest.raises(ConfigError, match="another manifest"):
        offline.run(other, out, CONFIG, [], cf, NullReport())
    with pytest.raises(ConfigError, match="another lightgcn"):
        offline.run(prepared, out, CONFIG, [], None, NullReport())
    offline.run(prepared, out, CONFIG, [], cf, NullReport())


def test_its_ranks_join_a_table_of_systems(prepared: Path, tmp_path: Path) -> None:
    cf, out = write_cf(tmp_path / "cf"), tmp_path / "out"
    offline.run(prepared, out, CONFIG, ["gensr"], cf, NullReport())
    dataset = PreparedDataset.open(prepared)
    popularity = rank_reference("popularity", dataset, "test", cf, CONFIG)
    file = KeptRanks(path=str(out / "ranks.parquet"))
    assert set(kept_systems((file,), {"popularity": [popularity]})) == {"gensr", "item_knn"}
    item_knn = rank_reference("item_knn", dataset, "test", cf, CONFIG)
    with pytest.raises(DataError, match="popularity has other ranks"):
        kept_systems((file,), {"popularity": [item_knn]})


def test_a_ranking_that_was_cut_off_is_made_again(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cf, out = write_cf(tmp_path / "cf"), tmp_path / "out"
    real = offline.write_table

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(offline, "write_table", full)
    with pytest.raises(OSError, match="no space left"):
        offline.run(prepared, out, CONFIG, ["gensr"], cf, NullReport())
    monkeypatch.setattr(offline, "write_table", real)
    monkeypatch.setitem(offline.TRAIN, "gensr", None)  # what is trained is not trained again
    found = offline.run(prepared, out, CONFIG, ["gensr"], cf, NullReport())
    assert found["gensr"]["test"]["search"]["samples"] > 0
    assert found["gensr"]["ranking"]["seconds"] > 0


def test_the_command_needs_nothing_of_the_pipeline(prepared: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(CONFIG.model_dump_json())
    absent = ("prefect", "duckdb", "mlflow", "great_expectations", "bm25s", "tasks", "flows")
    program = (
        "import runpy, sys\n"
        f"for name in {absent!r}: sys.modules[name] = None\n"  # an import of it raises
        "runpy.run_module('gensr_model.offline', run_name='__main__')\n"
    )
    arguments = [str(prepared), str(tmp_path / "out"), "--config", str(config)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["gensr", "recommendation"],
        ["gensr", "search"],
    ]


def test_a_bad_config_is_one_sentence(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["offline", str(prepared), str(tmp_path / "out"), "--config", str(tmp_path / "none.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"none\.json"):
        offline.main()
