"""What was shown: impressions of a log, and the candidates of the protocol shown, against plain Python."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from prepare_inputs import Rows, counts, rows
from pydantic import ValidationError
from served_logs import World, config, prepared, write_world
from test_prepare_logs import config as logs_config
from test_prepare_logs import event, others, raw
from test_prepare_logs import prepared as prepared_and_audited
from torch import Tensor, nn

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.evaluation.evaluate import rank_reference
from gensr_model.evaluation.metrics import RANKS_SCHEMA, summarize
from gensr_model.evaluation.scoring import lists_of, rank_samples
from gensr_model.runtime.progress import NullReport
from tasks.prepare.prepare import build_prepared
from tasks.prepare.schemas import TABLES
from tasks.validate.audit import audit_by_itself
from tasks.validate.validate import validate_prepared


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    folder = tmp_path_factory.mktemp("shown") / "served"
    world = write_world(folder)
    return world, prepared(folder, config())


def by_list(folder: Path) -> dict[int, Rows]:
    lists: dict[int, Rows] = defaultdict(list)
    for row in rows(folder, "impressions"):
        lists[row["list_idx"]].append(row)
    return lists


def test_every_shown_list_is_kept_with_its_user_query_places_and_clicks(served: tuple[World, Path]) -> None:
    world, folder = served
    users, items = ([row["raw_id"] for row in rows(folder, table)] for table in ("users", "items"))
    queries, events = [row["text"] for row in rows(folder, "queries")], rows(folder, "events")
    item_of = {event["source_row"]: event["item_idx"] for event in events}
    kept = sorted(
        (
            users[listed[0]["user_idx"]],
            "" if listed[0]["query_idx"] is None else queries[listed[0]["query_idx"]],
            tuple(items[row["item_idx"]] for row in listed),
            tuple(sorted(items[row["item_idx"]] for row in listed if row["source_row"] is not None)),
        )
        for listed in by_list(folder).values()
    )
    clicked: dict[str, set[str]] = defaultdict(set)
    for _, item, query_id, _ in world.clicks:
        if query_id:
            clicked[query_id].add(item)
    told = sorted(
        (shown.user, shown.query or "", tuple(shown.items), tuple(sorted(clicked[query_id])))
        for query_id, shown in world.lists.items()
    )
    assert kept == told
    for listed in by_list(folder).values():
        assert [row["position"] for row in listed] == list(range(len(listed)))
        assert {row["behavior"] for row in listed} == {"rec" if listed[0]["query_idx"] is None else "src"}
        assert all(item_of[row["source_row"]] == row["item_idx"] for row in listed if row["source_row"] is not None)


def test_candidates_are_the_first_items_beside_the_taken_one_that_the_user_never_took(
    served: tuple[World, Path],
) -> None:
    world, folder = served
    users, items = ([row["raw_id"] for row in rows(folder, table)] for table in ("users", "items"))
    met: dict[str, set[str]] = defaultdict(set)
    for user, item, _, _ in world.clicks:
        met[user].add(item)
    led = {(user, item, seconds): query_id for user, item, query_id, seconds in world.clicks}
    left_out: Counter[tuple[str, str]] = Counter()
    lengths: dict[tuple[str, str], list[int]] = defaultdict(list)
    for split in ("valid", "test"):
        stored = {
            c["sample_id"]: c["item_idx"] for c in rows(folder, f"candidates_{split}") if c["protocol"] == "shown"
        }
        for sample in rows(folder, f"samples_{split}"):
            user = users[sample["user_idx"]]
            query_id = led[user, items[sample["item_idx"]], sample["ts"] // 1000]
            beside = [] if query_id is None else [i for i in world.lists[query_id].items if i not in met[user]][:5]
            listed = stored.pop(sample["sample_id"], [])
            assert [items[item] for item in listed] == beside
            if listed:
                lengths[split, sample["task"]].append(len(listed))
            else:
                left_out[split, sample["task"]] += 1
        assert stored == {}
    assert len({length for each in lengths.values() for length in each}) > 2
    told = counts(folder)["shown"]
    for split in ("valid", "test"):
        assert sum(row["without_impressions"] for row in told[split].values()) > 0
        for task, row in told[split].items():
            assert row == {
                "samples": len(lengths[split, task]),
                "without_impressions": left_out[split, task],
                "median_negatives": statistics.median(lengths[split, task]),
            }


def test_threads_do_not_change_a_byte(served: tuple[World, Path], tmp_path: Path) -> None:
    _, folder = served
    build_prepared(folder.with_name("served-raw"), config(prepare={"threads": 4}), tmp_path)
    for path in folder.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    assert pq.read_schema(folder / "impressions.parquet").equals(TABLES["impressions"])


def test_a_good_dataset_passes_every_audit_and_expectation(served: tuple[World, Path], tmp_path: Path) -> None:
    _, folder = served
    assert [result for result in audit_by_itself(folder)[0] if result.violations] == []
    assert validate_prepared(folder, config(), tmp_path)["failed"] == 0


def test_ranks_of_shorter_lists_count_their_own_items_alone(served: tuple[World, Path]) -> None:
    _, folder = served
    dataset = PreparedDataset.open(folder)
    given = config(evaluation={"protocol": "shown"})
    ranks = rank_reference("popularity", dataset, "test", folder, given).to_pylist()
    stored = {c["sample_id"]: c["item_idx"] for c in rows(folder, "candidates_test") if c["protocol"] == "shown"}
    samples = {s["sample_id"]: s for s in rows(folder, "samples_test")}
    trained = Counter(s["item_idx"] for s in rows(folder, "samples_train") if s["task"] == "recommendation")
    assert {row["sample_id"] for row in ranks} == stored.keys()
    for row in ranks:
        own = trained[samples[row["sample_id"]]["item_idx"]]
        others = [trained[item] for item in stored[row["sample_id"]]]
        assert row["greater"] == sum(other > own for other in others)
        assert row["ties"] == sum(other == own for other in others)
        assert row["candidates"] == 1 + len(others)
    table = pa.Table.from_pylist(ranks, RANKS_SCHEMA)
    summary = summarize(table)
    for task, row in summary.items():
        assert row["median_candidates"] == statistics.median(r["candidates"] for r in ranks if r["task"] == task)
        assert row["recall_at_10"] == 1.0  # no list has more than six items


class ByNumber(nn.Module):
    """Scores a candidate by its number, so that the best of a list is known."""

    scores_in_bf16 = False

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def score(self, batch: Batch) -> Tensor:
        return batch.items[batch.candidates].float()


def test_a_model_ranks_lists_of_different_lengths_in_one_batch(served: tuple[World, Path]) -> None:
    dataset = PreparedDataset.open(served[1])
    lists = lists_of(dataset, "test", "shown", ("search",), None)
    ranks = rank_samples(ByNumber(), BatchBuilder(dataset, 5), lists, 16, NullReport()).to_pylist()  # type: ignore[arg-type]
    assert len({row["candidates"] for row in ranks}) > 1
    for row, item, negatives in zip(ranks, lists.samples.item, lists.negatives, strict=True):
        own = negatives[negatives >= 0]
        assert (row["greater"], row["ties"], row["candidates"]) == ((own > item).sum(), 0, 1 + len(own))


def test_the_protocol_is_refused_where_nothing_was_shown(tmp_path: Path) -> None:
    protocols = {"protocols": ["uniform", "shown"]}
    with pytest.raises(ValidationError, match="format 'amazon' has no impressions: reviews say what was bought"):
        PipelineConfig.model_validate({"format": "amazon", "prepare": protocols})
    given = logs_config()
    asked = given.model_copy(update={"prepare": given.prepare.model_copy(update=protocols)})
    with pytest.raises(DataError, match="names shown, but the data do not say what was shown"):
        prepared_and_audited(raw(tmp_path / "none", others()), asked)
    taken = [row | {"query_id": f"q{n}"} for n, row in enumerate(others())]
    shown = [{**row, "engagement": "shown", "ts": row["ts"] - 0.001} for row in taken]
    with pytest.raises(DataError, match="no test sample is of a list that showed another item"):
        prepared_and_audited(raw(tmp_path / "alone", [*taken, *shown], queries=queries_of(taken)), asked)


def queries_of(events: Rows) -> Rows:
    return [{"query_id": row["query_id"], "query": row["query"] or "w"} for row in events]


def test_events_say_what_was_seen_and_a_session_with_its_words_is_a_list(tmp_path: Path) -> None:
    seen = {"engagement": "shown"}
    events = [
        *others(),
        # The answer of q1 was longer than what was seen of it, and i3 is taken though nobody logged that it was shown.
        *(event("a", item, 10.0, query_id="q1", **seen) for item in ("i2", "i1", "i2")),
        event("a", "i3", 10.1, query_id="q1"),
        event("a", "i3", 10.2, query_id="q1"),  # click, then cart
        # A session: by its words a search, without words recommendations. Another user's session is another list.
        *(event("b", item, 11.0, "red", session="s", **seen) for item in ("i0", "i4")),
        *(event("b", item, 11.0, session="s", **seen) for item in ("i1", "i0")),
        *(event("b", item, 11.1, query, session="s") for item, query in (("i4", "red"), ("i0", None))),
        event("o1", "i1", 12.0, "red", session="s", **seen),
        # Nothing says to which list these belong, whose words those are, or what the item is.
        *(event("a", "i4", 13.0, **seen), event("a", "i4", 13.0, query_id="unknown", **seen)),
        event("a", "never taken", 10.0, query_id="q1", **seen),
    ]
    queries = [
        {"query_id": "q1", "query": "cup", "user": "a", "items": ["i0", "i1", "i2", "i3"]},
        {"query_id": "q2", "query": "cup", "user": "o2", "items": ["i4", "never taken", "i0", "i4"]},
        {"query_id": "q3", "query": None, "user": "o2", "items": ["i4"]},
        {"query_id": "q4", "query": "cup", "user": "stranger", "items": ["i4"]},
    ]

    def told(folder: Path) -> list[tuple[str, str, list[str], list[str]]]:
        names = {table: [row["raw_id"] for row in rows(folder, table)] for table in ("users", "items")}
        return sorted(
            (
                names["users"][listed[0]["user_idx"]],
                listed[0]["behavior"],
                [f"{names['items'][row['item_idx']]}@{row['position']}" for row in listed],
                [names["items"][row["item_idx"]] for row in listed if row["source_row"] is not None],
            )
            for listed in by_list(folder).values()
        )

    known = [
        ("a", "src", ["i2@0", "i1@1", "i3@None"], ["i3"]),
        ("b", "rec", ["i1@0", "i0@1"], ["i0"]),
        ("b", "src", ["i0@0", "i4@1"], ["i4"]),
        ("o1", "src", ["i1@0"], []),
        ("o2", "src", ["i4@0", "i0@2"], []),
    ]
    described = [{"item": f"i{n}", "title": "t"} for n in range(5)]
    folder = raw(tmp_path / "raw", events, queries, described)
    assert told(prepared_and_audited(folder, logs_config())) == known
    listed = prepared_and_audited(folder, logs_config(queries={"without_text": "recommendation"}))
    assert told(listed) == sorted([*known, ("o2", "rec", ["i4@0"], [])])


def test_logs_without_impressions_have_no_such_file(tmp_path: Path) -> None:
    folder = prepared_and_audited(raw(tmp_path / "raw", others()), logs_config())
    assert not (folder / "impressions.parquet").exists()
