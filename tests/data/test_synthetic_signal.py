"""The generated data has something to learn: the reference rankers, through the pipeline's own ingest and prepare.

Bounds lie well outside what nine seeds gave (in brackets; chance is .10 everywhere: 1 positive, 99 negatives), so
that they tell a broken world from an unlucky one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from gensr_model.config.known_formats import Format
from gensr_model.config.model import TextConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.evaluation.metrics import ranks_table, summarize
from gensr_model.evaluation.reference import reference_scores
from tasks.ingest.ingest import build_raw, source_files
from tasks.prepare.prepare import build_prepared

RECALL = "recall_at_10"


class Prepared:
    """A generated dataset as the pipeline prepares it, and what the rankers reach on its test split."""

    def __init__(self, format: Format, seed: int, folder: Path) -> None:
        source = {"kind": "generated", "users": 1_000, "items": 400, "world_seed": seed}
        config = PipelineConfig.model_validate({"format": format, "source": source})
        raw, prepared = folder / "raw", folder / "prepared"
        raw.mkdir()
        prepared.mkdir()
        build_raw(config, source_files(config, folder), raw)
        build_prepared(raw, config, prepared)
        self.folder, self.dataset = folder, PreparedDataset.open(prepared)
        self.samples, self.negatives = self.dataset.evaluated("test")

    def recall(self, task: str, *names: str, text: TextConfig | None = None) -> float:
        """R@10 of a reference ranker, or of the sum of several by the places they give."""
        rows = np.flatnonzero(self.samples.task == (task == "search"))
        samples, negatives = self.samples.take(rows), self.negatives[rows]
        places = [
            rankdata(
                reference_scores(name, self.dataset, samples, negatives, self.folder, text or TextConfig()), axis=1
            )
            for name in names
        ]
        ranks = ranks_table(samples.sample_id, samples.task_names, np.sum(places, axis=0))
        return summarize(ranks)[task][RECALL]


@pytest.fixture(scope="module", params=[0, 1, 2])
def amazon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared("amazon", request.param, tmp_path_factory.mktemp("amazon"))


@pytest.fixture(scope="module", params=[0, 1, 2])
def kuaisar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared("kuaisar", request.param, tmp_path_factory.mktemp("kuaisar"))


def test_amazon_histories_tell_more_than_popularity_and_popularity_more_than_chance(amazon: Prepared) -> None:
    popularity = amazon.recall("recommendation", "popularity")  # [.16, .21]
    assert 0.13 < popularity < 0.30
    assert amazon.recall("recommendation", "item_knn") > popularity + 0.2  # [+.31, +.36]


def test_amazon_words_find_the_item_but_less_well_than_its_query(amazon: Prepared) -> None:
    words = amazon.recall("search", "bm25")  # [.64, .74]
    assert words > amazon.recall("search", "popularity") + 0.3  # [+.43, +.55]
    matching = amazon.recall("search", "same_query")  # [1.0]
    assert words < matching - 0.12
    with_categories = amazon.recall("search", "bm25", text=TextConfig(include_category=True))  # [1.0]
    assert with_categories > words + 0.12


def test_amazon_query_and_history_add_up(amazon: Prepared) -> None:
    both = amazon.recall("search", "bm25", "item_knn")
    assert both > amazon.recall("search", "bm25") + 0.01  # [+.04, +.11]
    assert both > amazon.recall("search", "item_knn") + 0.1  # [+.20, +.24]


def test_kuaisar_histories_tell_more_than_popularity_and_popularity_more_than_chance(kuaisar: Prepared) -> None:
    popularity = kuaisar.recall("recommendation", "popularity")  # [.18, .22]
    assert 0.13 < popularity < 0.30
    assert kuaisar.recall("recommendation", "item_knn") > popularity + 0.12  # [+.22, +.28]


def test_kuaisar_words_find_the_item_and_history_adds_to_them(kuaisar: Prepared) -> None:
    words = kuaisar.recall("search", "bm25")  # [.39, .45]
    assert words > kuaisar.recall("search", "popularity") + 0.1  # [+.19, +.29]
    assert words > kuaisar.recall("search", "same_query") + 0.05  # [+.13, +.22]: queries are seldom asked twice
    both = kuaisar.recall("search", "bm25", "item_knn")
    assert both > words + 0.05  # [+.11, +.19]
    assert both > kuaisar.recall("search", "item_knn") + 0.05  # [+.12, +.16]
