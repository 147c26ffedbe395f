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
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.runtime.files import read_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.semantic_ids.codes import read_codes
from gensr_model.training import semantic_ids
from gensr_model.training.semantic_ids import make_semantic_ids

SMALL = {"distinct": False, "codes": 4, "levels": 2, "hidden": [16], "dim": 4, "steps": 24, "batch_size": 16}


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
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
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
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in report["curve"]] == [5, 10, 15, 20, 24]
    assert report["collisions"] == min(point["collisions"] for point in report["curve"] if point["step"] >= 12)


def test_distinct_codes_leave_the_weights_and_the_collisions_of_the_nearest(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    plain = make(dataset, tmp_path / "plain", codes=16)
    spread = make(dataset, tmp_path / "spread", codes=16, distinct=True)
    weights = [files(tmp_path / name)["weights.safetensors"] for name in ("plain", "spread")]
    assert weights[0] == weights[1]
    assert plain["collisions"] == plain["nearest_collisions"] == spread["nearest_collisions"] > 0
    assert spread["collisions"] == 0


def test_vectors_of_behavior(dataset: PreparedDataset, tmp_path: Path) -> None:
    cf = write_cf(tmp_path / "cf")
    assert make(dataset, tmp_path / "out", cf, vectors="cf")["items_without_vector"] == 1
    with pytest.raises(ConfigError, match=r"^semantic_ids\.vectors is 'cf', but the stage has no LightGCN table"):
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

    says(dataset, ConfigError, rf"^semantic_ids\.codes is 41, but .* has only {ITEMS} items", codes=41)
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


def tiny_t5(words: int) -> T5EncoderModel:
    torch.manual_seed(0)
    return T5EncoderModel(T5Config(vocab_size=words, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).eval()


def test_a_t5_gives_each_item_the_mean_of_its_states(dataset: PreparedDataset, tmp_path: Path) -> None:
    titles = dataset.items["title"].to_pylist()
    words = ["<pad>", "</s>", "<unk>", *sorted({word for title in titles for word in title.split()})]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(tmp_path / "t5")
    encoder = tiny_t5(len(words))
    encoder.save_pretrained(tmp_path / "t5")
    make(dataset, tmp_path / "out", vectors=str(tmp_path / "t5"), method="residual_kmeans", codes=ITEMS, levels=1)
    with torch.no_grad():
        states = [encoder(torch.tensor([[words.index(w) for w in t.split()]])).last_hidden_state for t in titles]
    means = torch.cat([state.mean(dim=1) for state in states])
    expected = torch.nn.functional.normalize(means - means.mean(dim=0), dim=1)
    (books,) = read_tensors(tmp_path / "out" / "weights.safetensors")["books"]
    first = read_codes(tmp_path / "out", dataset)[:, 0]
    torch.testing.assert_close(books[torch.from_numpy(first)], expected, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["vectors"] == "t5", (
        "no path in a report"
    )


def test_a_t5_that_is_none(dataset: PreparedDataset, tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    tiny_t5(9).save_pretrained(tmp_path / "half")  # no tokenizer
    (tmp_path / "empty").mkdir()
    for name in ("bert", "half", "empty", "absent"):
        with pytest.raises(ConfigError, match=rf"^semantic_ids\.vectors '.*{name}' is no T5 that can be loaded \("):
            make(dataset, tmp_path / "out", vectors=str(tmp_path / name))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rq_vae", "residual_kmeans"])
def test_codes_of_a_real_catalogue(real_data: Path, tmp_path: Path, method: str) -> None:
    """Codebooks in use, few collisions. Of residual k-means the later levels are less even: it is the control."""
    from benchmarks.common import prepared

    source = {"kind": "folder", "path": str(real_data / "amazon-scientific")}
    dataset, config = prepared(0, 0, source, semantic_ids={"method": method})
    result = make_semantic_ids(dataset, None, config, tmp_path, tmp_path, NullReport())
    assert result["usage_1"] >= 0.95
    assert min(result["usage_2"], result["usage_3"]) >= 0.8
    least = config.semantic_ids.codes / (2 if method == "rq_vae" else 3)
    assert min(result[f"perplexity_{level}"] for level in (1, 2, 3)) >= least
    assert result["collisions"] < 0.1
    assert result["largest_bucket"] <= 16
    assert result["nearest_collisions"] < (0.35 if method == "rq_vae" else 0.6)
