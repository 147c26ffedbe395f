"""Drift: the population stability index against a plain loop, and what a run does about it."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from prepare_inputs import amazon_raw, config, prepared, random_amazon, rows

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from tasks.core.sql_runner import connect
from tasks.core.tracking import parent_run
from tasks.promote import model_registry
from tasks.validate.audit import open_prepared
from tasks.validate.drift import drift_sentence, measure_drift
from tasks.validate.profile import write_bins

PATHS = {item: [["Top", f"Kind {item}{item}"]] for item in "ABCDEFGHIJ"}


def bins_of(folder: Path, out: Path) -> Path:
    out.mkdir()
    with connect(config().prepare, out / "temp") as con:
        open_prepared(con, folder, config().prepare)
        write_bins(con, out)
    return out


def measured(prepared_folder: Path, reference: Path, out: Path, **retrain: object) -> dict[str, float]:
    out.mkdir()
    return measure_drift(prepared_folder, reference, with_rule(**retrain), out)


def with_rule(**retrain: object) -> PipelineConfig:
    return PipelineConfig.model_validate(config().model_dump(mode="json") | {"retrain": retrain})


def psi(old: list[int], new: list[int], uppers: list[int]) -> float:
    """Counts per bin, half a row added; what is above the last bin counts in it."""

    def shares(values: list[int]) -> list[float]:
        result = Counter(next((u for u in uppers if value <= u), uppers[-1]) for value in values)
        return [(result[upper] + 0.5) / (len(values) + 0.5 * len(uppers)) for upper in uppers]

    return sum((n - o) * math.log(n / o) for o, n in zip(shares(old), shares(new), strict=True))


def per_user(folder: Path) -> list[int]:
    return list(Counter(event["user_idx"] for event in rows(folder, "events")).values())


def test_psi_is_that_of_a_plain_loop_and_zero_on_the_same_data(tmp_path: Path) -> None:
    old = prepared(random_amazon(tmp_path / "old" / "raw"), config())
    new = prepared(random_amazon(tmp_path / "new" / "raw", seed=1, users=25, each=14), config())
    reference = bins_of(old, tmp_path / "bins")
    stored = json.loads((reference / "bins.json").read_text(encoding="utf-8"))
    uppers = [row["upper"] for row in stored if row["feature"] == "events_per_user"]
    assert 2 <= len(uppers) <= 10
    assert uppers[-1] < max(per_user(new)), "the new data have values above the last bin"
    assert sum(row["rows"] for row in stored if row["feature"] == "events_per_user") == 40

    same = measured(old, reference, tmp_path / "same")
    assert same.pop("drifted") == 0
    assert len(same) == 10
    assert all(value == pytest.approx(0, abs=1e-12) for value in same.values())

    result = measured(new, reference, tmp_path / "other")
    assert result["psi/events_per_user"] == pytest.approx(psi(per_user(old), per_user(new), uppers))
    assert result["psi/events_per_user"] > 1
    assert result["drifted"] >= 1
    assert result["psi/event_hour_utc"] == 0  # days only


def test_bins_of_many_values_are_about_equal(tmp_path: Path) -> None:
    """70 users with 3 to 72 purchases: ten bins of seven users."""
    purchases = [(f"u{user:02d}", "ABCDEFGH"[n % 8], n) for user in range(70) for n in range(user + 3)]
    purchases[-1], purchases[-73] = ("u69", "I", 71), ("u68", "J", 70)  # everybody has not met one of them
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, PATHS), config())
    stored = json.loads((bins_of(folder, tmp_path / "bins") / "bins.json").read_text(encoding="utf-8"))
    result = [(row["upper"], row["rows"]) for row in stored if row["feature"] == "events_per_user"]
    assert result == [(2 * (7 * n + 9), 7) for n in range(10)]  # a purchase is two events


def test_drift_is_told_of_or_stops_as_the_config_says(tmp_path: Path) -> None:
    old = prepared(random_amazon(tmp_path / "old" / "raw"), config())
    new = prepared(random_amazon(tmp_path / "new" / "raw", seed=1, users=25, each=14), config())
    reference = bins_of(old, tmp_path / "bins")
    warned = measured(new, reference, tmp_path / "warn", max_psi=0.25)
    report = json.loads((tmp_path / "warn" / "validation.json").read_text(encoding="utf-8"))
    assert report["failed"] == warned["drifted"] > 0
    assert (tmp_path / "warn" / "data_docs" / "index.html").is_file()
    says = drift_sentence(warned, 0.25)
    assert says.startswith("Warning, data drift since the champion's data: PSI above 0.25 for ")
    assert f"events_per_user {warned['psi/events_per_user']:.3f}" in says

    with pytest.raises(DataError, match=r"retrain\.on_drift is stop") as error:
        measured(new, reference, tmp_path / "stop", max_psi=0.25, on_drift="stop")
    assert "drift.events_per_user" in str(error.value)
    assert (tmp_path / "stop" / "validation.json").is_file()

    other = tmp_path / "other"
    other.mkdir()
    (other / "bins.json").write_text('[{"feature": "unheard of", "upper": 1, "rows": 2}]', encoding="utf-8")
    with pytest.raises(DataError, match="has no feature that measures drift"):
        measured(new, other, tmp_path / "unknown")

    wide = max(warned.values()) + 1
    calm = measured(new, reference, tmp_path / "wide", max_psi=wide, on_drift="stop")
    assert calm["drifted"] == 0
    assert "none, PSI at most" in drift_sentence(calm, wide)
    assert "unknown" in drift_sentence(None, 0.25)


def test_the_bins_of_a_version_are_those_of_the_run_that_registered_it(gensr_home: Path, tmp_path: Path) -> None:
    (tmp_path / "bins.json").write_text('[{"feature": "a", "upper": 1, "rows": 2}]', encoding="utf-8")
    with parent_run(PipelineConfig(), "retrain/nightly", "1" * 8) as run:
        place = gensr_home / "champions" / "data"
        assert model_registry.logged_data(run, run.run_id, place) is None
        assert not place.exists()
        run.artifacts(tmp_path, ("bins.json",))
        result = model_registry.logged_data(run, run.run_id, place)
        assert result is not None
        assert (result.path / "bins.json").read_text(encoding="utf-8") == (tmp_path / "bins.json").read_text(
            encoding="utf-8"
        )
        assert model_registry.logged_data(run, run.run_id, place) == result
        assert list(place.parent.iterdir()) == [place], "nothing half-fetched stays"
