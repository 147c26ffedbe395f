"""The text of ``/openapi.json``: the fields of requests and answers, with examples."""

from __future__ import annotations

from typing import Any

from gensr_model.data.prepared import BEHAVIORS
from gensr_model.serving.event_log import ACTIONS
from gensr_model.serving.fields import Limits
from gensr_model.serving.http.versions import Served

ABOUT = (
    "Recommendations and search results of one model. Errors have one form: field, value, what was expected, and a "
    "message. Ids may be numbers; they are read as text."
)
_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}


def routes(served: Served | None, limits: Limits) -> dict[str, dict[str, Any]]:
    """The arguments that document each route. Examples name a user and an item that ``served`` knows."""
    users = served.service.store.users("", 1) if served else []
    items = served.service.ranker.raw_ids[:1] if served else []
    user, item = (users or ["U1"])[0], (items or ["I1"])[0]
    asked, short = _asked(limits), _short(item)
    ranked = short | {"rank": {"type": "integer"}, "score": _NUMBER | {"description": "higher is better"}}
    ranked |= {"explanation": {"type": "object", "description": "where asked for"}}
    answer = _answer(ranked)
    query = {"query": _TEXT | {"maxLength": limits.query_characters}}
    example = {"user": user, "top_n": 3}
    return {
        "recommendations": _post(
            "Recommend", asked, [], {"a known user": example, "a history": {"history": [item], "top_n": 3}}, answer
        ),
        "search": _post(
            "Search", query | asked, ["query"], {"for a known user": {"query": "blue lamp", **example}}, answer
        ),
        "items": _get(
            "Find items by words of their title", {"items": {"type": "array", "items": _object(short)}},
            [_parameter("text", "words of the title"), _limit("items")],
        ),
        "item": _get(
            "One item", short | {"description": _TEXT},
            [{"name": "item_id", "in": "path", "required": True, "schema": _TEXT, "example": item}],
        ),
        "users": _get(
            "Find users by the beginning of their id", {"users": _TEXTS},
            [_parameter("prefix", "beginning of the id"), _limit("users")],
        ),
        "versions": _get(
            "The versions of the model", {
                "model": _TEXT, "serving": _TEXT,
                "versions": {"type": "array", "items": _object({
                    "version": _TEXT, "aliases": _TEXTS, "created": _MAYBE, "outcome": _MAYBE, "run_url": _MAYBE,
                })},
            },
        ),
        "events": _post(
            "Say what a person did with a shown item",
            {
                "query_id": _TEXT | {"description": "that of the answer that showed the item"},
                "action": _TEXT | {"enum": list(ACTIONS)}, "item": _TEXT, "user": _TEXT,
                "position": {"type": "integer", "minimum": 1, "description": "place of the item in the answer"},
            },
            ["query_id", "action", "item"],
            {"a click": {"query_id": "…", "action": "click", "item": item, "position": 1}},
            {"logged": {"type": "boolean", "description": "false where the server writes no log, or cannot"}},
            status=202,
        ),
        "healthz": _get("Whether the process lives", {"alive": {"type": "boolean"}}),
        "readyz": _get(
            "Whether a version serves",
            {
                "ready": {"type": "boolean"}, "model": _TEXT, "version": _MAYBE,
                "refused": _object({"version": _TEXT, "reason": _TEXT}) | {"description": "the refused version"},
                "events": _MAYBE | {"description": "what is wrong with the log of events"},
            },
        ),
        "metrics": {"summary": "Metrics for Prometheus", "operation_id": "metrics", "response_model": None},
    }  # fmt: skip


def _asked(limits: Limits) -> dict[str, Any]:
    item = _TEXT | {"maxLength": limits.id_characters}
    ids: dict[str, Any] = {"type": "array", "items": item, "maxItems": limits.ids}
    return {
        "user": item | {"description": "its stored history counts"},
        "history": ids | {"description": "item ids, oldest first; replaces the stored history"},
        "behaviors": ids | {"items": _TEXT | {"enum": list(BEHAVIORS)}, "description": "for each item of `history`"},
        "candidates": ids | {"description": "item ids to rank; left out: the whole catalogue"},
        "top_n": {"type": "integer", "minimum": 1, "maximum": limits.top_n, "default": 10},
        "explain": {"type": "boolean", "default": False},
        "version": item | {"description": "another version of the model"},
    }


def _short(item: str) -> dict[str, Any]:
    return {"id": _TEXT | {"example": item}, "title": _MAYBE, "brand": _MAYBE, "category": _MAYBE}


def _answer(ranked: dict[str, Any]) -> dict[str, Any]:
    past = _object({"id": _TEXT, "title": _MAYBE, "behavior": _TEXT | {"enum": list(BEHAVIORS)}})
    return {
        "query_id": _TEXT | {"description": "names this answer in /v1/events"},
        "task": _TEXT | {"enum": ["recommendation", "search"]},
        "model": _TEXT,
        "version": _TEXT,
        "run_url": _TEXT | {"description": "page of the run that made the version"},
        "candidate_source": _TEXT | {"enum": ["given", "retrieved", "full-ranking", "popular"]},
        "history_source": _TEXT | {"enum": ["given", "stored", "unknown-user", "none"]},
        "notes": _TEXTS | {"description": "what was left out or cut"},
        "history": {"type": "array", "items": past, "description": "what the model read, oldest first"},
        "items": {"type": "array", "items": _object(ranked), "description": "best first"},
        "explanation_schema": {"type": "object", "description": "what each field of an explanation means"},
    }


def _post(
    summary: str, fields: dict[str, Any], required: list[str], examples: dict[str, Any], answer: dict[str, Any],
    status: int = 200,
) -> dict[str, Any]:  # fmt: skip
    schema = _object(fields) | {"required": required, "additionalProperties": False}
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}}
    return _route(summary, answer, status) | {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


def _get(summary: str, answer: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return _route(summary, answer, 200) | {"openapi_extra": {"parameters": parameters or []}}


def _route(summary: str, answer: dict[str, Any], status: int) -> dict[str, Any]:
    error = _object({"field": _MAYBE, "value": _MAYBE, "expected": _MAYBE, "message": _TEXT})
    return {
        "summary": summary,
        "operation_id": summary.lower().replace(" ", "_"),
        "status_code": status,
        "response_model": None,
        "responses": {
            status: {"description": "the answer", "content": {"application/json": {"schema": _object(answer)}}},
            "default": {
                "description": "an error: 400, 401, 404, 413, 422, 429, 503 or 504",
                "content": {"application/json": {"schema": _object({"error": error})}},
            },
        },
    }


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def _parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": _TEXT, "description": description}


def _limit(what: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    return {"name": "limit", "in": "query", "schema": schema, "description": f"{what} at most"}
