"""The last code, the file that generators read, and what is said of codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_dataset import ITEMS, Log, write_dataset, write_log

from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.runtime.stage_folder import write_manifest
from gensr_model.semantic_ids.codes import numbered, read_codes, write_codes
from gensr_model.semantic_ids.statistics import metrics, statistics


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("codes") / "prepared")


def test_the_last_code_numbers_items_of_equal_codes_in_item_order() -> None:
    codes = np.array([[1, 2, 3], [0, 0, 0], [1, 2, 3], [1, 2, 4], [0, 0, 0], [1, 2, 3]])
    result = numbered(codes)
    assert np.array_equal(result[:, :3], codes)
    assert result[:, 3].tolist() == [0, 0, 1, 0, 1, 2]


def test_as_many_items_of_equal_codes_as_the_last_code_has_values_and_no_more() -> None:
    codes = np.tile([7, 7, 7], (256, 1))
    assert numbered(codes)[:, 3].tolist() == list(range(256))
    with pytest.raises(
        DataError, match=r"^257 items have the semantic id 7-7-7, but at most 256 items can share one\. Raise"
    ):
        numbered(np.tile([7, 7, 7], (257, 1)))


def test_the_file_has_codes_in_item_order_and_is_read_for_its_own_dataset_only(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    codes = numbered(np.random.default_rng(0).integers(3, size=(ITEMS, 3)))
    write_codes(tmp_path, dataset, codes)
    table = pq.read_table(tmp_path / "codes.parquet")
    assert table.column_names == ["raw_id", "c1", "c2", "c3", "c4", "title"]
    assert table["raw_id"].to_pylist() == [f"i{item}" for item in range(ITEMS)]
    assert table["title"].to_pylist() == dataset.items["title"].to_pylist()
    result = read_codes(tmp_path, dataset)
    assert result.dtype == np.int64
    assert np.array_equal(result, codes)
    zeros = np.zeros(2, np.int64)
    log = Log(zeros, np.arange(2) + 1, zeros, np.arange(2), zeros - 1, np.arange(2))
    titles = dataset.items["title"].to_pylist()
    other = write_log(tmp_path / "other", log, titles, ["garden"], lambda *_: [5])
    with pytest.raises(
        DataError, match=r"codes\.parquet was made from the prepared dataset .* Run semantic-ids on this"
    ):
        read_codes(tmp_path, other)
    with pytest.raises(DataError, match=r"codes\.parquet: no such file, but generators need the codes of semantic-ids"):
        read_codes(dataset.folder, dataset)


def test_a_dataset_has_the_same_name_with_and_without_a_stage(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "prepared")
    codes = numbered(np.zeros((ITEMS, 3), np.int64))
    write_codes(tmp_path, dataset, codes)
    write_manifest(dataset.folder, "prepare", "key", {}, 0.0, (0, 0))
    assert np.array_equal(read_codes(tmp_path, dataset), codes)


def test_statistics_of_codes_by_hand() -> None:
    codes = np.array([[0, 0], [0, 1], [0, 0], [1, 1], [0, 0]])
    result = statistics(codes, 4, list("abcde"), seed=0)
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    assert result["levels"][0] == {"usage": 0.5, "perplexity": pytest.approx(np.exp(entropy))}
    assert result["collisions"] == pytest.approx(1 - 3 / 5)
    assert (result["pairs"], result["largest_bucket"]) == (3, 3)
    assert result["random_pairs"] == pytest.approx(10 / 16)
    assert result["prefixes"] == [{"prefix": [0], "items": 4, "titles": ["a", "b", "c", "e"]}]
    assert metrics(result)["usage_1"] == 0.5
    assert metrics(result)["largest_bucket"] == 3


def test_ten_prefixes_are_drawn_by_the_seed() -> None:
    codes = np.stack([np.arange(60) % 20, np.arange(60) % 2, np.arange(60)], axis=1)
    drawn = [statistics(codes, 64, ["x"] * 60, seed)["prefixes"] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(row["items"] == len(row["titles"]) == 3 for row in drawn[0])
