"""Layouts that are known by name, each on a few lines of the form that its page publishes (``CASES``).

Every case has two parts, optional columns absent, further columns, a null id, a bad time, and a text in another script.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from ingest_inputs import Raw, lines

from gensr_model.config.layouts import LAYOUTS
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.dataset_format import dataset_format, open_raw
from tasks.core.sql_runner import run
from tasks.ingest.formats.logs_prepare import engagements
from tasks.ingest.ingest import build_raw
from tasks.ingest.tables import text_chunks

MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
ISO = "2023-11-14T22:13:20.000Z"


class Case(NamedTuple):
    """Files of a layout, and what ingest makes of them."""

    page: str
    files: dict[str, bytes]
    events: list[tuple[Any, ...]]  # user, item, ts after MS, engagement, query, query id
    items: list[tuple[Any, ...]]  # item, title, brand, description, category paths
    rejects: list[tuple[str, int, str]]
    queries: tuple[tuple[str, str | None], ...] = ()


def as_lines(*rows: dict[str, Any]) -> bytes:
    return lines(*(json.dumps(row, ensure_ascii=False) for row in rows))


def ubi(action: str, item: Any, query_id: str | None, **more: Any) -> dict[str, Any]:
    """An event as the schema has it; without an item there is no object."""
    thing = {"object_id_field": "sku", "object_id": item, **more.pop("object", {})}
    attributes = None if item is None else {"object": thing, **more.pop("attributes", {})}
    event = {"action_name": action, "query_id": query_id, "client_id": "c1", "timestamp": ISO, "message": None}
    return {"application": "shop", **event, "event_attributes": attributes, **more}


NESTED = {"position": {"ordinal": {"index": 3}}}
QUERIES, EVENTS = {"index": {"_index": "ubi_queries", "_id": "1"}}, {"create": {"_index": "ubi_events"}}
CASES = {
    "ubi": Case(
        "https://docs.opensearch.org/docs/latest/search-plugins/ubi/schemas/",
        {
            "ubi_dump.1.ndjson": as_lines(
                QUERIES,
                {"query_id": "q1", "client_id": "c1", "user_query": "ＣＡＦÉ 杯", "query_response_hit_ids": ["7"]},
                EVENTS,
                ubi("add_to_cart", 7, "q1", timestamp="2023-11-14T22:13:22Z", attributes={"position": {"ordinal": 3}}),
                EVENTS,
                ubi("click", "7", "q1", user_id="", user_query="café 杯", attributes=NESTED),
                EVENTS,
                ubi("search", None, "q1", user_query="caf"),
                ubi("click", None, "q1"),
                ubi("click", "8", "q1", timestamp="yesterday"),
                ubi("click", "8", "q1", client_id=None),
            ),
            "ubi_events.2.jsonl": as_lines(
                ubi("watch", "红", None, user_id="u9", object={"description": "红杯"}, user_query="the last text"),
                ubi("type_ahead", "x", None),
            ),
            "ubi_queries.2.jsonl": as_lines({"query_id": "q2", "user_query": "never clicked", "timestamp": ISO}),
        },
        [
            ("c1", "7", 2000, "rec", None, "q1"),
            ("c1", "7", 0, "rec", "café 杯", "q1"),
            ("c1", None, 0, "ignored", "caf", "q1"),
            ("c1", None, 0, "ignored", None, "q1"),
            ("u9", "红", 0, "rec", "the last text", None),
            ("c1", "x", 0, "ignored", None, None),
        ],
        [],
        [
            ("ubi_dump.1.ndjson", 10, "time is not ISO 8601, as those of the rest of the file are"),
            ("ubi_dump.1.ndjson", 11, "no user_id or client_id"),
        ],
        (("q1", "café 杯"), ("q2", "never clicked")),
    ),
    "gensr-serve": Case(
        "gensr_model/serving/event_log.py",
        {
            "queries-2023-11-14.jsonl": as_lines(
                {"query_id": "q1", "client_id": "u1", "user_query": "杯", "query_response_hit_ids": ["7", "8"]},
                {"query_id": "q2", "client_id": "u1", "user_query": "", "query_response_hit_ids": ["9"]},
            ),
            "queries-2023-11-14-002.jsonl": as_lines({"query_id": "q3", "client_id": "q3", "user_query": ""}),
            "events-2023-11-14.jsonl": as_lines(
                ubi("click", "7", "q1"), ubi("click", "9", "q2"), ubi("view", None, "q2")
            ),
            "items.csv": lines("id,title", "7,cup"),
        },
        [
            ("c1", "7", 0, "rec", None, "q1"),
            ("c1", "9", 0, "rec", None, "q2"),
            ("c1", None, 0, "ignored", None, "q2"),
        ],
        [("7", "cup", None, None, None)],
        [],
        (("q1", "杯"), ("q2", None), ("q3", None)),
    ),
    "personalize": Case(
        "https://docs.aws.amazon.com/personalize/latest/dg/ECOMMERCE-datasets-and-schemas.html",
        {
            "interactions/part-0.csv": lines(
                "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE",
                "1,a,1700000000,View,phone",
                "1,b,1700000001,Purchase,",
                ",b,1700000001,View,",
                "2,b,soon,View,",
            ),
            "interactions/part-1.csv": lines("TIMESTAMP,USER_ID,ITEM_ID,EVENT_VALUE", "1700000002,3,b,4.5"),
            "items.csv": lines(
                "ITEM_ID,PRICE,CATEGORY_L1,CATEGORY_L2,PRODUCT_DESCRIPTION",
                "a,3.5,Küche,杯,红色的杯子",
                "b,,Garden,,",
            ),
        },
        [("1", "a", 0, "rec", None, None), ("1", "b", 1000, "rec", None, None), ("3", "b", 2000, "rec", None, None)],
        [("a", None, None, "红色的杯子", [["Küche", "杯"]]), ("b", None, None, None, [["Garden"]])],
        [
            ("interactions/part-0.csv", 4, "no USER_ID"),
            ("interactions/part-0.csv", 5, "time is not a number"),
        ],
    ),
    "google-retail": Case(
        "https://cloud.google.com/retail/docs/user-events, products: https://cloud.google.com/retail/docs/upload-catalog",
        {
            "user_events.1.json": as_lines(
                {"eventType": "search", "visitorId": "v1", "eventTime": ISO, "searchQuery": "杯",
                 "attributionToken": "t", "productDetails": [{"product": {"id": "p1"}}, {"product": {"id": "p2"}}]},
                {"eventType": "detail-page-view", "visitorId": "v1", "eventTime": ISO, "attributionToken": "t",
                 "productDetails": [{"product": {"id": "p1"}}]},
                {"eventType": "purchase-complete", "visitorId": "v1", "eventTime": "2023-11-14T22:13:21.123456789Z",
                 "productDetails": [{"product": {"id": "p1"}, "quantity": 2}, {"product": {"id": "p2"}}],
                 "purchaseTransaction": {"revenue": 3.5}, "userInfo": {"userId": "u1"}},
                {"eventType": "home-page-view", "visitorId": "v1", "eventTime": ISO},
                {"eventType": "add-to-cart", "visitorId": "v2", "eventTime": ISO, "productDetails": [{"product": {}}]},
            ),
            "user_events.2.json": as_lines(
                {"eventType": "detail-page-view", "visitorId": "v3", "eventTime": ISO, "attributionToken": "of a rec",
                 "productDetails": [{"product": {"id": "p9"}}]},
                {"eventType": "detail-page-view", "visitorId": "v3", "productDetails": [{"product": {"id": "p9"}}]},
            ),
            "products.json": as_lines(
                {"id": "p1", "title": "杯子", "brands": ["A", "B"], "categories": ["Home > Cups", "Sale"]},
                {"id": "p2", "title": "Cup", "priceInfo": {"price": 1}},
            ),
        },
        [
            ("v1", "p1", 0, "ignored", "杯", "t"),
            ("v1", "p2", 0, "ignored", "杯", "t"),
            ("v1", "p1", 0, "rec", None, "t"),
            ("u1", "p1", 1123, "rec", None, None),
            ("u1", "p2", 1123, "rec", None, None),
            ("v1", None, 0, "ignored", None, None),
            ("v3", "p9", 0, "rec", None, "of a rec"),
        ],
        [("p1", "杯子", "A B", None, [["Home", "Cups"], ["Sale"]]), ("p2", "Cup", None, None, None)],
        [
            ("user_events.1.json", 5, "no productDetails.product.id"),
            ("user_events.2.json", 2, "no eventTime"),
        ],
        (("t", "杯"),),
    ),
    "recbole": Case(
        "https://recbole.io/atomic_files.html",
        {
            "shop.part1.inter": lines(
                "user_id:token\titem_id:token\ttimestamp:float\tlabel:float",
                "u1\ti1\t1700000000.0\t1",
                "nan\ti1\t1700000000.0\t1",
                "u2\ti1\tx\t1",
            ),
            "shop.part2.inter": lines("user_id:token\titem_id:token\trating:float\ttimestamp:float", "u2\ti2\t4\t17e8"),
            "shop.item": lines(
                "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
                'i1\t"红 灯\t1995\tDrama War',
                "i2\tB\t\t",
            ),
            "shop.user": lines("user_id:token\tage:float", "u1\t30"),
        },
        [("u1", "i1", 0, "rec", None, None), ("u2", "i2", 0, "rec", None, None)],
        [("i1", '"红 灯', None, None, [["Drama War"]]), ("i2", "B", None, None, None)],
        [("shop.part1.inter", 3, "no user_id"), ("shop.part1.inter", 4, "time is not a number")],
    ),
    "amazon-2018": Case(
        "https://nijianmo.github.io/amazon/index.html",
        {
            "Gift_Cards_5.2017.json": as_lines(
                {"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1700000000, "overall": 5.0, "style": {}},
                {"reviewerID": None, "asin": "B1", "unixReviewTime": 1700000000, "overall": 5.0},
                {"reviewerID": "A2", "asin": "B1", "unixReviewTime": "11 14, 2023", "overall": 5.0},
            ),
            "Gift_Cards_5.2018.json": as_lines({"reviewerID": "A2", "asin": "B2", "unixReviewTime": 1700000001}),
            "meta_Gift_Cards.json": as_lines(
                {"asin": "B1", "title": "红<b>包</b>", "category": ["Cards", "A &amp; B"], "description": ["a", "b"]},
                {"asin": "B2", "category": [], "brand": "X", "rank": "1 in Gifts"},
            ),
            "Gift_Cards.csv": b"ratings alone, which the layout does not read\n",
        },
        [("A1", "B1", 0, "rec", None, None), ("A2", "B2", 1000, "rec", None, None)],
        [("B1", "红 包", None, "a b", [["Cards", "A & B"]]), ("B2", None, "X", None, None)],
        [
            ("Gift_Cards_5.2017.json", 2, "no reviewerID"),
            ("Gift_Cards_5.2017.json", 3, "time is not a number"),
        ],
    ),
    "amazon-2023": Case(
        "https://amazon-reviews-2023.github.io/",
        {
            "All_Beauty.1.jsonl": as_lines(
                {"user_id": "A1", "asin": "B1S", "parent_asin": "B1", "timestamp": MS, "rating": 5.0, "title": "good"},
                {"user_id": "A1", "asin": "B1S", "parent_asin": None, "timestamp": MS, "rating": 5.0},
                {"user_id": "A2", "asin": "B1S", "parent_asin": "B1", "timestamp": 0, "rating": 5.0},
            ),
            "All_Beauty.2.jsonl": as_lines({"user_id": "A2", "parent_asin": "B2", "timestamp": MS + 1}),
            "meta_All_Beauty.jsonl": as_lines(
                {"main_category": "All Beauty", "parent_asin": "B1", "title": "香 水", "store": "X", "price": None,
                 "categories": ["Hair Care", "Oils"], "features": ["f"], "description": ['a "b"', "c"]},
                {"main_category": None, "parent_asin": "B2", "title": "t", "categories": [], "description": []},
            ),
        },
        [("A1", "B1", 0, "rec", None, None), ("A2", "B2", 1, "rec", None, None)],
        [
            ("B1", "香 水", "X", 'f a "b" c', [["All Beauty", "Hair Care", "Oils"]]),
            ("B2", "t", None, None, None),
        ],
        [("All_Beauty.1.jsonl", 2, "no parent_asin"), ("All_Beauty.1.jsonl", 3, "time is zero")],
    ),
}  # fmt: skip


def config_of(layout: str, **logs: Any) -> PipelineConfig:
    given = {"layout": layout, **logs}
    tree = {"format": "logs", "logs": given, "ingest": {"max_reject_share": 0.9}, "prepare": {"threads": 1}}
    return PipelineConfig.model_validate(tree)


def ingest(folder: Path, config: PipelineConfig) -> Raw:
    out = folder.parent / "raw"
    out.mkdir()
    build_raw(config, folder, out)
    raw = Raw(out)
    assert all(file["accepted"] + file["rejected"] == file["read"] for file in raw.manifest["files"])
    return raw


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_each_layout_has_a_case() -> None:
    assert list(CASES) == list(LAYOUTS)


@pytest.mark.parametrize("layout", CASES)
def test_a_layout_as_its_page_publishes_it(layout: str, tmp_path: Path) -> None:
    case = CASES[layout]
    raw = ingest(written(tmp_path / "logs", case.files), config_of(layout))
    seen = [
        tuple(row[name] for name in ("user", "item", "ts", "engagement", "query", "query_id"))
        for row in raw.rows("events")
    ]
    assert seen == [(user, item, MS + ts, *more) for user, item, ts, *more in case.events]
    names = ("item", "title", "brand", "description", "category_paths")
    assert [tuple(row[name] or None for name in names) for row in raw.rows("items")] == case.items
    assert raw.rejects == case.rejects
    assert [(row["query_id"], row["query"]) for row in raw.rows("queries")] == list(case.queries)


def interactions(raw: Raw, config: PipelineConfig) -> list[tuple[Any, ...]]:
    """(user, item, ts after MS, behavior, query) of each engagement, in order of time and item."""
    con = duckdb.connect()
    open_raw(con, raw.folder, dataset_format("logs"))
    engagements(con, config, {})
    run(con, "logs/interactions")
    found = con.sql(f'select "user", item, ts - {MS}, behavior, query from interactions order by ts, item').fetchall()
    con.close()
    return found


def test_several_actions_on_an_item_in_a_search_are_one_engagement_at_the_first_time(tmp_path: Path) -> None:
    config = config_of("ubi")
    raw = ingest(written(tmp_path / "logs", CASES["ubi"].files), config)
    assert interactions(raw, config) == [("c1", "7", 0, "src", "café 杯"), ("u9", "红", 0, "rec", None)]
    assert [(row["position"], row["item_title"]) for row in raw.rows("events")[:2]] == [(3, None), (3, None)]
    assert [row["item_title"] for row in raw.rows("events") if row["item_title"]] == ["红杯"]


def test_a_click_on_a_list_that_nobody_searched_for_is_a_recommendation(tmp_path: Path) -> None:
    config = config_of("gensr-serve")
    raw = ingest(written(tmp_path / "logs", CASES["gensr-serve"].files), config)
    assert interactions(raw, config) == [("c1", "7", 0, "src", "杯"), ("c1", "9", 0, "rec", None)]
    assert [row["items"] for row in raw.rows("queries")] == [["7", "8"], ["9"], None]
    unknown = config_of("gensr-serve", queries={"without_text": "unknown"})
    assert interactions(raw, unknown) == [("c1", "7", 0, "src", "杯")]


def test_a_click_on_what_a_search_showed_has_its_query_and_one_on_a_recommendation_none(tmp_path: Path) -> None:
    config = config_of("google-retail")
    raw = ingest(written(tmp_path / "logs", CASES["google-retail"].files), config)
    assert interactions(raw, config)[:2] == [("v1", "p1", 0, "src", "杯"), ("v3", "p9", 0, "rec", None)]


def test_a_dump_by_elasticdump_is_a_bulk_dump(tmp_path: Path) -> None:
    case, config = CASES["ubi"], config_of("ubi")
    wrapped = {
        name: as_lines(
            *(
                {"_index": "ubi", "_type": "_doc", "_id": "1", "_score": 1, "_source": document}
                for document in map(json.loads, content.splitlines())
                if not document.keys() & {"index", "create"}
            )
        )
        for name, content in case.files.items()
    }
    folders = (written(tmp_path / n / "logs", files) for n, files in (("bulk", case.files), ("dump", wrapped)))
    bulk, dump = (ingest(folder, config) for folder in folders)
    for table in ("events", "queries"):
        rows = [[{**row, "line": 0} for row in raw.rows(table)] for raw in (bulk, dump)]
        assert rows[0] == rows[1]
    assert [reason for _, _, reason in dump.rejects] == [reason for _, _, reason in case.rejects]


def test_a_dump_whose_first_block_has_queries_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_chunks, "CHUNK", 150)
    first = [{"query_id": f"q{n}", "user_query": f"query {n}"} for n in range(9)]
    content = as_lines(*first, ubi("click", "i", "q7", user_id="u")) + b"{broken\n"
    raw = ingest(written(tmp_path / "logs", {"dump.json": content}), config_of("ubi", events={"name": "dump"}))
    assert [(row["user"], row["query_id"]) for row in raw.rows("events")] == [("u", "q7")]
    assert len(raw.rows("queries")) == 9
    counts = {file["name"]: (file["accepted"], file["rejected"]) for file in raw.manifest["files"]}
    assert counts == {"dump.json": (1, 1), "dump.json (queries)": (9, 1)}


def test_real_reviews_of_2018_are_those_that_format_amazon_reads(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "amazon-gift-cards"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    logs, other = tmp_path / "logs", tmp_path / "other"
    for config, out in ((config_of("amazon-2018"), logs), (PipelineConfig(format="amazon"), other)):
        out.mkdir()
        build_raw(config, source, out)
    ours, theirs = Raw(logs), Raw(other)
    names = ("user", "item", "ts")
    assert [[row[n] for n in names] for row in ours.rows("events")] == [
        [row[n] for n in names] for row in theirs.rows("reviews")
    ]
    texts = [
        [(row["item"], *(" ".join((row[n] or "").split()) for n in ("title", "brand"))) for row in raw.rows("items")]
        for raw in (ours, theirs)
    ]
    assert texts[0] == texts[1]


def test_a_real_dump_of_both_indices(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "ubi-sample"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    documents = [json.loads(line) for path in source.iterdir() for line in path.open(encoding="utf-8")]
    events = [document for document in documents if "action_name" in document]
    queries = {
        document["query_id"] for document in documents if "user_query" in document and "action_name" not in document
    }
    config = config_of("ubi")
    raw = ingest(written(tmp_path / "logs", {p.name: p.read_bytes() for p in source.iterdir()}), config)
    assert (raw.manifest["accepted"], raw.manifest["rejected"]) == (len(events) + len(queries), 0) == (1260, 0)
    assert Counter(row["behavior"] for row in raw.rows("events")) == Counter(event["action_name"] for event in events)
    clicked = {
        (event["client_id"], event["event_attributes"]["object"]["object_id"], event["query_id"])
        for event in events
        if event["action_name"] == "click"
    }
    found = interactions(raw, config)
    assert len(found) == len(clicked)
    assert {row[3] for row in found} == {"src"}
