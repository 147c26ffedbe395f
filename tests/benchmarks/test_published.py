"""TIGER and SASRec by the published protocol, on a tiny catalogue: budgets, resume, and the lines of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_dataset import write_dataset

from benchmarks.published import sasrec, tiger
from benchmarks.published.protocol import METRICS, Results, check_counts
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.training import trainer

SETTINGS = tiger.Settings(
    method="residual_kmeans", codes=4, dim=16, layers=1, latest=4, batch_size=64, warmup_steps=2, constant_steps=4,
    mean=0.5, validate_every=2, valid_samples=30, learning_rate=1e-2,
)  # fmt: skip
BUDGETS = (4, 8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("published") / "prepared")


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "cpu_s"} for row in rows]


@pytest.fixture(scope="module")
def whole(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return timeless(list(tiger.measure(dataset, SETTINGS, BUDGETS, tmp_path_factory.mktemp("whole"))))


def test_a_larger_budget_has_more_steps_and_its_best_mean_until_then(whole: list[dict[str, Any]]) -> None:
    assert [row["steps"] for row in whole] == list(BUDGETS)
    assert all(row["best_step"] <= row["budget"] and row["best_step"] % 2 == 0 for row in whole)
    assert whole[0]["test"] != whole[1]["test"]
    assert all(0 < row[split][name] <= 1 for row in whole for split in ("valid", "test") for name in METRICS)


def test_a_budget_goes_on_from_the_one_before(
    dataset: PreparedDataset, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [row for budget in BUDGETS for row in tiger.measure(dataset, SETTINGS, [budget], tmp_path)]
    assert timeless(rows) == whole
    with pytest.raises(ConfigError, match=r"^--budget 4: the checkpoint in .* has 8 steps"):
        list(tiger.measure(dataset, SETTINGS, [4], tmp_path))
    with pytest.raises(ConfigError, match=r"^--budget 9: give a multiple of 2 steps"):
        list(tiger.measure(dataset, SETTINGS, [9], tmp_path))


@pytest.mark.parametrize("step", [3, 7])
def test_a_killed_training_goes_on_to_the_same_figures(
    dataset: PreparedDataset, whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real, begun = trainer.TrainingData.batch, []

    def dies(self: trainer.TrainingData, number: int) -> tuple[Any, Any]:
        begun.append(number)
        if len(begun) > step:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(trainer.TrainingData, "batch", dies)
    rows: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        rows.extend(tiger.measure(dataset, SETTINGS, BUDGETS, tmp_path))
    begun.clear()
    monkeypatch.setattr(trainer.TrainingData, "batch", lambda *given: begun.append(given[1]) or real(*given))
    left = BUDGETS[len(rows) :]
    assert timeless(rows + list(tiger.measure(dataset, SETTINGS, left, tmp_path))) == whole
    assert begun[0] == step, "the last checkpoint is read"


def test_the_learning_rate_rises_stays_and_falls_whatever_the_budget() -> None:
    settings = tiger.Settings()
    rates = [settings.rate(step) for step in (0, 499, 10_000, 40_000, 160_000)]
    assert rates == pytest.approx([2e-6, 1e-3, 1e-3, 5e-4, 2.5e-4])


def test_a_t5s_folder_stands_in_results_by_its_name() -> None:
    assert tiger.Settings(vectors="/somewhere/t5").shown()["vectors"] == "t5"


def test_sasrec_by_its_histories_and_the_lines_of_results(dataset: PreparedDataset, tmp_path: Path) -> None:
    results = Results(tmp_path / "docs" / "out.jsonl")
    for histories in ("by-position", "strict"):
        results.add(sasrec.measure("bce", histories, dataset, 1, tmp_path / "state"))
    again = Results(results.file)
    assert again.rows == [json.loads(line) for line in results.file.read_text(encoding="utf-8").splitlines()]
    row = again.find("sasrec", sasrec.settings_of("bce", "by-position"), 1)
    assert row is not None
    assert row["ratios"][0] == pytest.approx(row["test"]["recall_at_5"] / 0.0387, abs=0.01)
    strict = again.find("sasrec", sasrec.settings_of("bce", "strict"), 1)
    assert strict is not None
    assert "ratios" not in strict, "nobody published these"
    assert again.find("sasrec", sasrec.settings_of("bce", "strict"), 2) is None


def test_other_data_than_beauty_are_refused(dataset: PreparedDataset) -> None:
    with pytest.raises(DataError, match="this is not Beauty as published: it has "):
        check_counts(dataset)
