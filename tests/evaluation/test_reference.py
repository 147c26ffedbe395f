import json
from dataclasses import replace
from pathlib import Path

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from gensr_model.config.model import TextConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError
from gensr_model.evaluation import reference
from gensr_model.evaluation.reference import REFERENCES, reference_scores, score_reference
from gensr_model.evaluation.reference_text import bm25, item_texts

# A world of 3 users and 6 items. Items 4 and 5 have no training event.
ITEMS = [
    ("Red kettle", "Acme", "boils water fast", "Home Kettles"),
    ("Blue kettle", "Acme", "boils water", "Home Kettles"),
    ("Laser level", "Bosch", "measures walls", "Tools Levels"),
    ("Hammer", "Bosch", "hits nails", "Tools Hammers"),
    ("Green kettle", "Brew", "", "Home Kettles"),
    ("", "", "", ""),
]
QUERIES = ["home kettles", "tools hammers", "zzz qqq"]
TRAIN = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2), (2, 3)]  # (user, item) in order of time
TEST = [(0, 2), (1, 3), (2, 4)]
NEGATIVES = [[3, 4, 5], [4, 5, 5], [0, 1, 5]]  # of both tasks' samples of a user


def sample_rows(pairs: list[tuple[int, int]], ts: list[int], end: list[int], split: str) -> pa.Table:
    queries = {0: 0, 1: 0, 3: 1, 4: 0}
    rows = [
        {
            "sample_id": f"{split}-{task}-{user}-{item}-{when}",
            "task": task,
            "user_idx": user,
            "item_idx": item,
            "query_idx": queries.get(item) if task == "search" else None,
            "ts": when,
            "history_end": stop,
        }
        for task in ("recommendation", "search")
        for (user, item), when, stop in zip(pairs, ts, end, strict=True)
        if task == "recommendation" or item in queries
    ]
    kinds = {"sample_id": pa.string(), "task": pa.string(), "ts": pa.int64(), "history_end": pa.int64()}
    names = ["sample_id", "task", "user_idx", "item_idx", "query_idx", "ts", "history_end"]
    return pa.Table.from_pylist(rows, pa.schema([(name, kinds.get(name, pa.int32())) for name in names]))


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    folder = tmp_path / "prepared"
    folder.mkdir()
    pairs = sorted([(u, t, i) for t, (u, i) in enumerate(TRAIN)] + [(u, 100, i) for u, i in TEST])
    start = {user: min(n for n, row in enumerate(pairs) if row[0] == user) for user in range(3)}
    tables = {
        "items": pa.table(
            {
                "item_idx": pa.array(range(6), pa.int32()),
                **{
                    name: [row[place] for row in ITEMS]
                    for place, name in enumerate(("title", "brand", "description", "category_text"))
                },
            }
        ),
        "users": pa.table({"user_idx": pa.array(range(3), pa.int32()), "raw_id": ["a", "b", "c"]}),
        "queries": pa.table({"query_idx": pa.array(range(3), pa.int32()), "text": QUERIES}),
        "events": pa.table(
            {
                "user_idx": pa.array([u for u, _, _ in pairs], pa.int32()),
                "item_idx": pa.array([i for _, _, i in pairs], pa.int32()),
                "behavior": ["rec"] * len(pairs),
                "query_idx": pa.array([None] * len(pairs), pa.int32()),
                "ts": pa.array([t for _, t, _ in pairs], pa.int64()),
            }
        ),
        "graph": pa.table({"user_idx": [u for u, _ in TRAIN if u != 2], "item_idx": [i for u, i in TRAIN if u != 2]}),
        "samples_train": sample_rows(TRAIN, list(range(7)), [start[u] for u, _ in TRAIN], "train"),
        "samples_test": sample_rows(TEST, [100] * 3, [pairs.index((u, 100, i)) for u, i in TEST], "test"),
    }
    tables["candidates_test"] = pa.table(
        {
            "sample_id": tables["samples_test"]["sample_id"],
            "protocol": ["uniform"] * tables["samples_test"].num_rows,
            "item_idx": pa.array([NEGATIVES[u] for u in tables["samples_test"]["user_idx"].to_pylist()]),
        }
    )
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1}), encoding="utf-8")
    return PreparedDataset.open(folder)


def scores(name: str, dataset: PreparedDataset, task: int, text: TextConfig | None = None) -> np.ndarray:
    samples, negatives = dataset.evaluated("test")
    rows = np.flatnonzero(samples.task == task)
    folder = dataset.folder.parent
    return reference_scores(name, dataset, samples.take(rows), negatives[rows], folder, text or TextConfig())


def test_popularity_counts_training_recommendation_targets(dataset: PreparedDataset) -> None:
    counts = np.bincount([item for _, item in TRAIN], minlength=6)
    expected = counts[np.array([[item, *NEGATIVES[user]] for user, item in TEST])]
    np.testing.assert_array_equal(scores("popularity", dataset, 0), expected)
    assert scores("popularity", dataset, 0)[2, 0] == 0  # item 4: the test event itself is not counted


def test_item_knn_is_the_sum_of_cosines_with_the_history(dataset: PreparedDataset) -> None:
    met = np.zeros((3, 6))
    for user, item in TRAIN:
        met[user, item] = 1
    unit = met / np.maximum(np.linalg.norm(met, axis=0), 1e-12)
    similar = unit.T @ unit
    np.fill_diagonal(similar, 0.0)
    got = scores("item_knn", dataset, 0)
    for row, (user, item) in enumerate(TEST):
        history = sorted({i for u, i in TRAIN if u == user})
        expected = [similar[history, candidate].sum() for candidate in [item, *NEGATIVES[user]]]
        np.testing.assert_allclose(got[row], expected, atol=1e-6)
    assert got[0, 0] > 0


def test_item_knn_does_not_reward_an_item_for_being_in_the_history(dataset: PreparedDataset) -> None:
    samples = replace(dataset.samples("test").take(np.array([1])), item=np.array([0]))  # user 1 met item 0
    negatives = np.array([[1, 2]])
    got = reference_scores("item_knn", dataset, samples, negatives, dataset.folder, TextConfig())
    assert got[0, 0] == pytest.approx(1 + 1 / 2)  # item 1: same users; item 2: one of two; item 0 itself: nothing


def test_lightgcn_is_the_dot_product_with_unknown_items_last(dataset: PreparedDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    user, item = (torch.randn(n, 8, generator=generator) for n in (3, 6))
    has_edges = torch.tensor([True, True, True, False, False, False])
    path = dataset.folder.parent / "lightgcn.safetensors"
    save_file({"user": user, "item": item, "item_has_edges": has_edges}, path)
    got = scores("lightgcn", dataset, 0)
    assert got[0, 0] == pytest.approx(float(user[0] @ item[2]), abs=1e-6)
    assert np.isneginf(got[0, 1:]).all()
    assert np.isneginf(got[1]).all()
    np.testing.assert_array_equal(got[2], np.zeros(4))  # user 2 is not in the graph


def test_bm25_reads_the_configured_fields_and_finds_the_words(dataset: PreparedDataset) -> None:
    without = scores("bm25", dataset, 1)
    # The samples with a query: user 1's hammer and user 2's green kettle.
    assert without.shape == (2, 4)
    assert without[1, 0] == 0  # "kettles" is no word of "Green kettle"
    with_categories = scores("bm25", dataset, 1, TextConfig(include_category=True))
    assert (with_categories[1, :3] > 0).all()  # items 4, 0, 1: all kettles
    assert with_categories[1, 3] == 0  # the item without text
    assert with_categories[0, 0] > 0


def test_bm25_equals_the_library_on_every_pair(dataset: PreparedDataset) -> None:
    text = TextConfig(include_category=True)
    corpus = bm25s.tokenize(item_texts(dataset.items, text), stopwords="en", show_progress=False)
    index = bm25s.BM25(method="lucene")
    index.index(corpus, show_progress=False)
    queries = np.array([0, 1])
    samples = dataset.samples("test")
    samples = replace(samples.take(np.array([0, 0])), query=queries)
    got = bm25(dataset, text, queries)(samples, np.tile(np.arange(6), (2, 1)))
    for row, query in enumerate(queries):
        np.testing.assert_allclose(got[row], index.get_scores(QUERIES[query].split()), rtol=1e-5)
    assert (got > 0).tolist() == [[True, True, False, False, True, False], [False, False, True, True, False, False]]


def test_bm25_budgets_cut_each_field() -> None:
    items = pa.table({"title": ["a b c d"], "brand": ["e"], "description": ["f  g h"], "category_text": ["i j k"]})
    cut = TextConfig(include_category=True, title_tokens=3, description_tokens=2, category_tokens=1)
    assert item_texts(items, cut) == ["a b c f g i"]
    assert item_texts(items, TextConfig(include_category=False, title_tokens=0)) == [" f g h"]


def test_bm25_of_a_catalogue_without_text_ties_everything(dataset: PreparedDataset) -> None:
    items = pq.read_table(dataset.folder / "items.parquet")
    for name in ("title", "brand", "description"):
        items = items.set_column(items.schema.get_field_index(name), name, pa.array([""] * 6))
    pq.write_table(items, dataset.folder / "items.parquet")
    assert not scores("bm25", PreparedDataset.open(dataset.folder), 1).any()


def test_same_query_knows_training_pairs_and_never_the_sample_itself(dataset: PreparedDataset) -> None:
    got = scores("same_query", dataset, 1)
    # User 1 searches "tools hammers" for item 3, which one training search of user 2 reached.
    assert got[0].tolist() == [1, 0, 0, 0]
    # User 2 searches "home kettles" for item 4, which only the sample itself pairs with that query.
    assert got[1].tolist() == [0, 1, 1, 0]


def test_same_query_also_knows_the_catalogue(dataset: PreparedDataset) -> None:
    table = pa.table({"item_idx": pa.array([0, 4], pa.int32()), "query_idx": pa.array([0, 0], pa.int32())})
    pq.write_table(table, dataset.folder / "item_queries.parquet")
    assert scores("same_query", dataset, 1)[1].tolist() == [1, 1, 1, 0]


def test_query_count_counts_training_searches_and_not_the_catalogue(dataset: PreparedDataset) -> None:
    table = pa.table({"item_idx": pa.array([0, 4], pa.int32()), "query_idx": pa.array([0, 0], pa.int32())})
    pq.write_table(table, dataset.folder / "item_queries.parquet")
    # "tools hammers" found item 3 once; "home kettles" found items 0 and 1 twice each, item 4 in the sample alone.
    assert scores("query_count", dataset, 1).tolist() == [[1, 0, 0, 0], [0, 2, 2, 0]]
    unseen = replace(dataset.samples("test").take(np.array([0])), query=np.array([2]))
    got = reference_scores("query_count", dataset, unseen, np.array([[0, 1, 5]]), dataset.folder, TextConfig())
    assert not got.any()  # a query that training has not met: all level


@pytest.mark.parametrize("listed", [[], [0, 4, 4]])
def test_query_user_adds_the_history_to_what_is_known_of_the_query(dataset: PreparedDataset, listed: list[int]) -> None:
    if listed:
        queries = pa.array([0] * len(listed), pa.int32())
        table = pa.table({"item_idx": pa.array(listed, pa.int32()), "query_idx": queries})
        pq.write_table(table, dataset.folder / "item_queries.parquet")
    known = np.array([[1, 0, 0, 0], [1, 3, 2, 0] if listed else [0, 2, 2, 0]])  # one more where the catalogue lists it
    expected = np.log1p(known) + reference.HISTORY_WEIGHT * scores("item_knn", dataset, 1)
    np.testing.assert_allclose(scores("query_user", dataset, 1), expected, rtol=1e-6)
    assert scores("item_knn", dataset, 1).any()


@pytest.mark.parametrize("name", ["popularity", "item_knn", "bm25", "same_query", "query_count", "query_user"])
def test_chunks_change_nothing(name: str, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(name, dataset, 1)
    monkeypatch.setattr(reference, "_CHUNK", 1)
    np.testing.assert_array_equal(scores(name, dataset, 1), whole)


def test_text_rankers_have_rows_for_queries_only(dataset: PreparedDataset) -> None:
    samples, negatives = dataset.evaluated("test")
    for name in set(REFERENCES) - {"lightgcn"}:
        ranks = score_reference(name, dataset, samples, negatives, dataset.folder, TextConfig())
        tasks = ranks["task"].to_pylist()
        expected = ["search"] * 2 if name in reference.NEEDS_QUERY else ["recommendation"] * 3 + ["search"] * 2
        assert tasks == expected, name
    with pytest.raises(ConfigError, match="ranks by query"):
        reference_scores("bm25", dataset, samples, negatives, dataset.folder, TextConfig())
    with pytest.raises(ConfigError, match=r"unknown.*item_knn"):
        score_reference("knn", dataset, samples, negatives, dataset.folder, TextConfig())
