"""Relative change between variants, by values worked out by hand, and the rows of the study."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import ttest_rel

from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.config.variants import USUAL_VARIANTS, VARIANTS
from gensr_model.errors import DataError
from gensr_model.evaluation.ablation import METRIC, ablation_rows, relative_change
from gensr_model.evaluation.compare import holm
from gensr_model.evaluation.metrics import RankCounts, counts_table, of_task, per_sample
from gensr_model.reporting.model_names import MODELS

SECOND = 1 / math.log2(3)  # NDCG of rank 2


def ranked(places: list[int], task: str = "search", order: int = 1) -> pa.Table:
    """Positives with so many candidates above them."""
    n = len(places)
    ids = [f"{task}{i:03d}" for i in range(n)]
    counts = RankCounts(np.array(places, np.int32), np.zeros(n, np.int32))
    return counts_table(ids, [task] * n, counts, np.full(n, 10))[::order]


def test_a_constant_share_has_no_spread() -> None:
    """Every sample second instead of first: N@5 is .63 of itself in every resample. Rows may lie in any order."""
    result = relative_change([ranked([1] * 8, order=-1)], [ranked([0] * 8)], METRIC, samples=50, users=None)
    assert result.change == result.low == result.high == pytest.approx(SECOND - 1)
    assert (result.base, result.value, result.n) == (1.0, pytest.approx(SECOND), 8)


def test_samples_are_drawn_in_pairs_and_the_base_with_them() -> None:
    """Both miss the same half. A resample's base swings by a third, the ratio not at all."""
    base, other = ranked([0, 9] * 20), ranked([1, 9] * 20)
    result = relative_change([other], [base], METRIC, samples=200, users=None)
    assert result.base == pytest.approx(0.5)
    assert result.change == pytest.approx(SECOND - 1)
    assert result.high - result.low < 1e-12
    one_worse = relative_change([ranked([0] * 9 + [9])], [ranked([0] * 10)], METRIC, samples=4_000, users=None)
    # The lost sample is drawn k times of 10 with chance Binomial(10, 1/10): 2.5% is beyond 3 times, 35% are none.
    assert (one_worse.low, one_worse.high) == (pytest.approx(-0.3), 0.0)
    assert one_worse.change == pytest.approx(-0.1)


def test_seeds_are_averaged_sample_by_sample() -> None:
    result = relative_change([ranked([0, 9]), ranked([9, 0])], [ranked([0, 0])], METRIC, samples=50, users=None)
    assert (result.low, result.high) == (pytest.approx(-0.5), pytest.approx(-0.5))


def test_other_samples_and_a_base_without_gain_are_refused() -> None:
    with pytest.raises(DataError, match="ranked 2 samples, not the 3 of the whole model"):
        relative_change([ranked([0, 0])], [ranked([0, 0, 0])], METRIC, users=None)
    with pytest.raises(DataError, match="no relative change is defined"):
        relative_change([ranked([0])], [ranked([9])], METRIC, users=None)


def test_rows_stand_beside_the_papers_percentages() -> None:
    both = pa.concat_tables([ranked([0, 0, 0]), ranked([1, 1], "recommendation")])
    other = pa.concat_tables([ranked([1, 1, 1]), ranked([1, 1], "recommendation")])
    searches = other.filter(pc.equal(other["task"], "search"))
    given = {"gensr": [both, both], "no_soft_filter": [other, both], "search_only": [searches, searches]}
    rows = ablation_rows(given, PipelineConfig(), None)  # type: ignore[arg-type]
    assert [(row["task"], row["variant"]) for row in rows] == [
        ("recommendation", "gensr"), ("recommendation", "no_soft_filter"),
        ("search", "gensr"), ("search", "no_soft_filter"), ("search", "search_only"),
    ]  # fmt: skip
    assert [row["paper"] for row in rows] == [None, -0.122, None, -0.031, None]
    half = rows[3]
    assert half["change"] == pytest.approx((SECOND - 1) / 2)
    assert half["std_over_seeds"] == pytest.approx((1 - SECOND) / math.sqrt(2))
    assert rows[4]["change"] == pytest.approx(SECOND - 1)
    assert rows[2]["change"] == 0
    assert rows[1]["seeds"] == 2


def test_tests_are_of_the_mean_over_seeds_and_corrected_over_variants_and_tasks() -> None:
    def both(search: list[int], recommendation: list[int]) -> pa.Table:
        return pa.concat_tables([ranked(search), ranked(recommendation, "recommendation")])

    whole = [both([0, 1, 0, 2], [0, 3, 1, 0]), both([1, 0, 0, 3], [1, 2, 0, 0])]
    other = [both([1, 2, 0, 4], [1, 3, 2, 1]), both([3, 0, 1, 4], [0, 4, 0, 2])]
    third = [both([9, 9, 9, 9], [8, 9, 9, 8]), both([8, 9, 9, 9], [9, 9, 9, 9])]
    rows = ablation_rows({"gensr": whole, "no_cf_view": other, "no_contrastive": third}, PipelineConfig(), None)
    tested = [row for row in rows if row["variant"] != "gensr"]
    expected = []
    for row in tested:
        means = [
            np.mean([per_sample(of_task(table, row["task"]), METRIC) for table in tables], axis=0)
            for tables in ({"no_cf_view": other, "no_contrastive": third}[row["variant"]], whole)
        ]
        expected.append(float(ttest_rel(*means).pvalue))
    assert [row["p"] for row in tested] == pytest.approx(expected)
    assert [row["p_holm"] for row in tested] == pytest.approx(holm(expected))
    assert all(row["p"] is row["p_holm"] is None for row in rows if row["variant"] == "gensr")
    first, second = both([0] * 4, [0] * 4), both([1] * 4, [1] * 4)
    constant = ablation_rows({"gensr": [first], "no_cf_view": [second]}, PipelineConfig(), None)
    assert {row["p_holm"] for row in constant} == {row["p"] for row in constant} == {None}, "no spread, no test"


SWITCHES = {
    "preset": "laptop",
    "seed": 4,
    "model": {
        "departures": {
            "searches_in_text": {"enabled": True, "leave_one_out": True},
            "folds": 3,
            "interaction": True,
            "query_interaction": True,
            "cold_items": 0.2,
            "filter_identity": True,
        }
    },
}


def leaves(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Dotted path -> value."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result |= leaves(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return result


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_config_and_differs_in_what_it_names_alone(variant: str) -> None:
    config = PipelineConfig.model_validate(SWITCHES)
    changed = leaves(with_changes(config, VARIANTS[variant].changes).model_dump())
    named = leaves(VARIANTS[variant].changes)
    assert {path: changed[path] for path in named} == named
    assert {p for p, value in leaves(config.model_dump()).items() if changed[p] != value} == set(named)
    assert MODELS[variant] == VARIANTS[variant].title


def test_the_default_variants_are_those_that_any_config_can_be_without() -> None:
    plain = PipelineConfig.model_validate({"preset": "laptop"})
    assert plain.ablation.variants == USUAL_VARIANTS
    assert [v for v in USUAL_VARIANTS if with_changes(plain, VARIANTS[v].changes) == plain] == ["gensr"]
    assert {v for v in VARIANTS if VARIANTS[v].paper} <= set(USUAL_VARIANTS)


@pytest.mark.parametrize(("variant", "tokens"), [("prompts_24", 24), ("prompts_64", 64)])
def test_longer_prompts_have_as_many_words_and_placeholders_as_they_say(variant: str, tokens: int) -> None:
    model = with_changes(PipelineConfig.model_validate({"preset": "laptop"}), VARIANTS[variant].changes).model
    for prompt in (model.recommendation_prompt, model.search_prompt):
        words = " ".join(prompt.segments).replace("{query}", "").split()
        assert len(words) + 4 == tokens
    assert "{query}" in model.search_prompt.segments[0]
    assert "{query}" not in " ".join(model.recommendation_prompt.segments)
