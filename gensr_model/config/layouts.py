"""Known layouts of logs. Each layout fills a part of the config section ``logs``.

A column whose name ends in ? is optional. ``tests/ingest/test_layouts.py`` names the page that publishes each layout.
"""

from __future__ import annotations

from typing import Any

_IGNORED, _ENGAGED = "ignored", "rec"
#: Values of ``logs.<table>.lines``: ``sql/tables/lines_<name>.sql`` turns JSON lines into lines of one row each.
LINE_STEPS: tuple[str, ...] = ("ubi_events", "ubi_queries", "google_events", "google_searches")
#: One dump may hold both indices of UBI, so both tables read each file.
_UBI: dict[str, Any] = {
    "events": {
        "name": "ubi",
        "lines": "ubi_events",
        "without_item": "ignored",
        "search_by": "id",
        "columns": {
            "user": ["user_id?", "client_id"],
            "item": "event_attributes.object.object_id",
            "time": "timestamp",
            "behavior": "action_name",
            "query": "user_query",
            "query_id": "query_id",
            "session": "session_id",
            "position": ["event_attributes.position.ordinal.index", "event_attributes.position.ordinal"],
            "item_title": "event_attributes.object.description",
        },
    },
    "queries": {
        "name": "ubi",
        "lines": "ubi_queries",
        # UBI requires a text of each query. The empty one is of a list that nobody searched for.
        "without_text": "recommendation",
        "columns": {
            "query_id": "query_id",
            "query": "user_query",
            "user": ["user_id?", "client_id"],
            "time": "timestamp",
            "items": "query_response_hit_ids",
        },
    },
    # Event types of OpenSearch's examples, in addition to the usual ones.
    "behaviors": {
        **dict.fromkeys(("item_click", "product_purchase"), _ENGAGED),
        **dict.fromkeys(("on_search", "type_ahead", "product_hover", "product_sort", "brand_filter"), _IGNORED),
        **dict.fromkeys(("type_filter", "button_click", "global_click", "declined_product"), _IGNORED),
        **dict.fromkeys(("new_user_entry", "page_exit"), _IGNORED),
    },
}
#: The files of ``gensr_model/serving/event_log.py``: UBI under other names.
_SERVED: dict[str, Any] = {
    **_UBI,
    "events": {**_UBI["events"], "name": "events"},
    "queries": {**_UBI["queries"], "name": "queries"},
}
_PERSONALIZE: dict[str, Any] = {
    "events": {
        "name": "interactions",
        "columns": {
            "user": "USER_ID",
            "item": "ITEM_ID",
            "time": "TIMESTAMP",
            "behavior": "EVENT_TYPE?",
            "weight": "EVENT_VALUE?",
        },
    },
    "items": {
        "columns": {
            "item": "ITEM_ID",
            "title": ["TITLE?", "NAME?", "ITEM_NAME?", "PRODUCT_NAME?"],
            "brand": "BRAND?",
            "category": ["CATEGORY_L1?", "CATEGORY_L2?", "CATEGORY_L3?", "GENRES?", "GENRE_L2?", "GENRE_L3?"],
            "description": ["PRODUCT_DESCRIPTION?", "DESCRIPTION?"],
        },
    },
}
_GOOGLE_RETAIL: dict[str, Any] = {
    "events": {
        "name": "user_events",
        "lines": "google_events",
        # The token of a click names the response that showed the product: a search or a recommendation.
        "search_by": "known_id",
        "columns": {
            "user": ["userInfo.userId", "visitorId"],
            "item": "productDetails.product.id",
            "time": "eventTime",
            "behavior": "eventType",
            "query": "searchQuery",
            "query_id": "attributionToken",
            "session": "sessionId",
            "item_title": "productDetails.product.title",
        },
    },
    "queries": {
        "name": "user_events",
        "lines": "google_searches",
        "columns": {"query_id": "attributionToken", "query": "searchQuery"},
    },
    "items": {
        "name": "products",
        "columns": {
            "item": "id",
            "title": "title",
            "brand": "brands",
            "category": "categories",
            "description": "description",
        },
    },
    "behaviors": dict.fromkeys(("promotion-offered", "promotion-not-offered"), _IGNORED),
}
_TEXT_FILE: dict[str, Any] = {"delimiter": "\t", "quoted": False}
_RECBOLE: dict[str, Any] = {
    "events": {
        "name": "*.inter",
        **_TEXT_FILE,
        "columns": {"user": "user_id", "item": "item_id", "time": "timestamp", "weight": "rating?"},
    },
    "items": {
        "name": "*.item",
        **_TEXT_FILE,
        "columns": {
            "item": "item_id",
            "title": ["title?", "movie_title?", "name?", "item_name?"],
            "brand": "brand?",
            "category": ["categories?", "category?", "genre?", "genres?", "class?"],
            "description": "description?",
        },
    },
    "users": {"name": "*.user", **_TEXT_FILE, "columns": {"user": "user_id"}},
}
_AMAZON_2018: dict[str, Any] = {
    "events": {
        "name": "*.json",
        "time_unit": "s",
        "columns": {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "weight": "overall"},
    },
    "items": {
        "name": "meta_*",
        "columns": {
            "item": "asin",
            "title": "title",
            "brand": "brand",
            "category": "category",
            "description": "description",
        },
    },
    "split": {"by": "leave_one_out"},
}
_AMAZON_2023: dict[str, Any] = {
    "events": {
        "name": "*.json",
        "time_unit": "ms",
        # The metadata describe the product (parent_asin), not one of its colours and sizes (asin).
        "columns": {"user": "user_id", "item": "parent_asin", "time": "timestamp", "weight": "rating"},
    },
    "items": {
        "name": "meta_*",
        "columns": {
            "item": "parent_asin",
            "title": "title",
            "brand": "store",
            "category": ["main_category", "categories"],
            "description": ["features", "description"],
        },
    },
    "split": {"by": "leave_one_out"},
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "ubi": _UBI,
    "gensr-serve": _SERVED,
    "personalize": _PERSONALIZE,
    "google-retail": _GOOGLE_RETAIL,
    "recbole": _RECBOLE,
    "amazon-2018": _AMAZON_2018,
    "amazon-2023": _AMAZON_2023,
}
