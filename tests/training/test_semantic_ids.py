"""The stage's work on a small dataset: files, resume, bad input; and the figures on real data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_dataset import ITEMS, ROOMS, Log, write_cf, write_dataset, write_log
from transformers import T5Config, T5EncoderModel

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.semantic_ids.codes import read_codes
from gensr_model.training import semantic_ids
from gensr_model.training.semantic_ids import make_semantic_ids

SMALL = {"codes": 4, "levels": 2, "hidden": [16], "dim": 4, "steps": 24, "batch_size": 16}


class Killed(Exception):
    pass


class DiesAt(NullReport):
    """Listens until a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, done: int, total: int, note: str) -> None:
        if done >= self.step:
            raise Killed


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("ids") / "prepared")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_ids, "_CHECK_EVERY", 5)


def make(
    dataset: PreparedDataset, out: Path, cf: Path | None = None, report: NullReport | None = None, **changes: Any
) -> dict[str, float]:
    out.mkdir(exist_ok=True)
    config = PipelineConfig.model_validate({"seed": changes.pop("seed", 0), "semantic_ids": SMALL | changes})
    return make_semantic_ids(dataset, cf, config, out.with_name(f"{out.name}-steps"), out, report or NullReport())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("method", ["rq_vae", "residual_kmeans"])
def test_files_and_metrics(dataset: PreparedDataset, tmp_path: Path, method: str) -> None:
    result = make(dataset, tmp_path / "out", method=method)
    codes = read_codes(tmp_path / "out", dataset)
    assert codes.shape == (ITEMS, 3)
    assert len(np.unique(codes, axis=0)) == ITEMS
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["method"], report["vectors"], report["items"]) == (method, "tfidf", ITEMS)
    sizes = np.unique(codes[:, :2], axis=0, return_counts=True)[1]
    assert result["collisions"] == report["collisions"] == 1 - len(sizes) / ITEMS
    assert result["largest_bucket"] == codes[:, 2].max() + 1 == sizes.max()
    books = read_tensors(tmp_path / "out" / "weights.safetensors")["books"]
    assert books.shape[:2] == (2, 4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(dataset: PreparedDataset, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(dataset, tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")["weights.safetensors"] != files(tmp_path / "c")["weights.safetensors"]


@pytest.mark.parametrize("step", [5, 20])
def test_a_killed_training_goes_on_bit_for_bit(dataset: PreparedDataset, tmp_path: Path, step: int) -> None:
    make(dataset, tmp_path / "whole")
    with pytest.raises(Killed):
        make(dataset, tmp_path / "killed", report=DiesAt(step))
    torch.rand(7)  # another process begins with other numbers
    steps: list[int] = []

    class Listens(NullReport):
        def progress(self, done: int, total: int, note: str) -> None:
            steps.append(done)

    make(dataset, tmp_path / "killed", report=Listens())
    assert steps[0] == step + (5 if step < 20 else 4), "what was done is not done again"
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_the_weights_are_those_with_the_fewest_collisions_of_the_second_half(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    make(dataset, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [point["step"] for point in report["curve"]] == [5, 10, 15, 20, 24]
    assert report["collisions"] == min(point["collisions"] for point in report["curve"] if point["step"] >= 12)


def test_vectors_of_behavior(dataset: PreparedDataset, tmp_path: Path) -> None:
    cf = write_cf(tmp_path / "cf")
    assert make(dataset, tmp_path / "out", cf, vectors="cf")["items_without_vector"] == 1
    with pytest.raises(ConfigError, match=r"^semantic_ids\.vectors is 'cf', but the stage got no LightGCN table"):
        make(dataset, tmp_path / "other", vectors="cf")


def test_category_words_are_no_part_of_the_text_by_default(tmp_path: Path) -> None:
    """They make the queries."""
    made = []
    for name, word in (("a", "lamp"), ("b", "pump")):
        folder = write_dataset(tmp_path / name).folder
        table = pq.read_table(folder / "items.parquet")
        words = [f"{word} {item % 3}" for item in range(ITEMS)]
        table = table.set_column(table.column_names.index("category_text"), "category_text", [words])
        pq.write_table(table, folder / "items.parquet")
        make(PreparedDataset.open(folder), tmp_path / f"{name}-ids")
        made.append(read_tensors(tmp_path / f"{name}-ids" / "weights.safetensors"))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def titled(folder: Path, titles: list[str]) -> PreparedDataset:
    zeros = np.zeros(2, np.int64)
    log = Log(zeros, np.arange(2) + 1, zeros, np.arange(2), zeros - 1, np.arange(2))
    return write_log(folder, log, titles, ROOMS, lambda *_: [5])


def test_bad_input_is_one_sentence_before_training(dataset: PreparedDataset, tmp_path: Path) -> None:
    def says(dataset: PreparedDataset, error: type[Exception], words: str, **changes: Any) -> None:
        with pytest.raises(error, match=words):
            make(dataset, tmp_path / "out", report=DiesAt(0), **changes)
        assert not (tmp_path / "out-steps").exists()

    says(dataset, ConfigError, rf"^semantic_ids\.codes is 41, but .* has {ITEMS} items: give no more", codes=41)
    none = titled(tmp_path / "none", [""] * 20)
    says(none, DataError, r"items\.parquet: no item has a word of text, .*choose other semantic_ids\.vectors than 'tf")
    mute = titled(tmp_path / "mute", [""] * 257 + ["garden hose", "garden lamp", "kitchen knife"])
    says(mute, DataError, r"items\.parquet: 257 items have no word of text, and items of equal vectors get equal codes")
    twins = titled(tmp_path / "twins", ["garden hose"] * 257 + ["garden lamp", "kitchen knife"])
    says(twins, DataError, r"items\.parquet: 257 items have the same vector, and items of equal vectors")


def test_up_to_256_items_without_text_share_a_vector_and_are_counted(tmp_path: Path) -> None:
    some = titled(tmp_path / "some", [""] * 200 + ["garden hose", "garden lamp", "kitchen knife", "office chair"])
    result = make(some, tmp_path / "out", method="residual_kmeans")
    assert result["items_without_vector"] == 200
    assert read_codes(tmp_path / "out", some)[:200, 2].tolist() == list(range(200))


def test_a_t5_that_is_none(dataset: PreparedDataset, tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    T5EncoderModel(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "half"
    )  # no tokenizer
    (tmp_path / "empty").mkdir()
    for name in ("bert", "half", "empty", "absent"):
        with pytest.raises(ConfigError, match=rf"^semantic_ids\.vectors '.*{name}' is no T5 that can be loaded \("):
            make(dataset, tmp_path / "out", vectors=str(tmp_path / name))
