"""The HTTP server of a model: recommendations, search, items, users, versions, events, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from gensr_model.data.prepared import BEHAVIORS
from gensr_model.errors import DataError, FieldError
from gensr_model.serving import fields
from gensr_model.serving.event_log import ACTIONS, EventLog
from gensr_model.serving.explain import explain as explain_items
from gensr_model.serving.explain import explanation_schema
from gensr_model.serving.fields import LIMITS, Limits
from gensr_model.serving.http import documentation
from gensr_model.serving.http.batching import Batcher, Busy, Explain, Ranked
from gensr_model.serving.http.bodies import read_object, read_parameters
from gensr_model.serving.http.errors import Refusal, busy
from gensr_model.serving.http.guard import Access, Guard, as_json, as_response
from gensr_model.serving.http.metrics import Metrics
from gensr_model.serving.http.versions import Served, TooManyLoads, UnknownVersion, Versions
from gensr_model.serving.service import ReadRequest

_LOG = logging.getLogger("gensr.serve")
PAGE = Path(__file__).with_name("page")
_HEADERS = {  # of the page: it asks nobody but this server
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ASKED = ("user", "history", "behaviors", "candidates", "top_n", "explain", "version")
_EVENT = ("query_id", "action", "item", "user", "position")


class Settings(NamedTuple):
    """What a server allows."""

    access: Access = Access()
    limits: Limits = LIMITS
    body_bytes: int = 600_000  # above what lists of ids may hold
    seconds: float = 10.0  # for an answer
    load_seconds: float = 120.0  # for a version that is not in memory
    waiting: int = 256  # requests that may wait for the model
    at_once: int = 256  # candidates in a batch; 1 answers each request by itself
    top_n: int = 10  # where a request names none
    listed: int = 100  # items or users in a list


DEFAULT = Settings()


class _Server:
    """The handlers of one app."""

    def __init__(self, versions: Versions, settings: Settings, events: EventLog | None, explain: Explain) -> None:
        self.versions, self.settings, self.events, self.explain = versions, settings, events, explain
        self.metrics = Metrics(versions)
        self.batcher = Batcher(settings.waiting, settings.at_once, self.metrics.batches.observe)
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)

    async def recommend(self, request: HttpRequest) -> Response:
        """Without a known item in the history, the most popular items answer."""
        return await self._rank(request, search=False)

    async def search(self, request: HttpRequest) -> Response:
        """A query ranks the items, and the user's history counts too."""
        return await self._rank(request, search=True)

    async def _rank(self, request: HttpRequest, search: bool) -> Response:
        settings = self.settings
        given = await read_object(request, ("query", *_ASKED), settings.body_bytes, settings.seconds)
        if not search and "query" in given:
            message = "query: recommendations have none. Send the request to /v1/search."
            raise FieldError(message, field="query", value=given["query"], wanted="no query")
        explain = fields.flag("explain", given.pop("explain", False))
        version = _text("version", given.pop("version", None))
        asked = fields.parse_request(given, settings.top_n, settings.limits)
        if search and not (asked.query or "").strip():
            raise FieldError("query: expected words, got none", field="query", value=asked.query, wanted="words")
        served = await self._version(version)
        read = served.service.read(asked)
        ranked = await self._ranked(served, read, explain)
        self.metrics.answers.labels(read.task, read.source).inc()
        return as_json(self._content(served, read, ranked))

    async def item(self, request: HttpRequest) -> Response:
        """The fields of one item."""
        read_parameters(request, ())
        wanted = request.path_params["item_id"]
        found = self._current().items.whole(wanted)
        if found is None:
            message = f"There is no item {fields.shortened(wanted)}."
            raise Refusal(404, message, field="id", value=wanted, expected="an item of the model's catalogue")
        return as_json(found)

    async def items(self, request: HttpRequest) -> Response:
        """Items whose titles have some words, most popular first."""
        given = read_parameters(request, ("text", "limit"))
        words = fields.text("text", given.get("text", ""), self.settings.limits.id_characters)
        found = await run_in_threadpool(self._current().items.find, words, self._limit(given))
        return as_json({"items": found})

    async def users(self, request: HttpRequest) -> Response:
        """User ids that begin with a prefix."""
        given = read_parameters(request, ("prefix", "limit"))
        prefix = fields.text("prefix", given.get("prefix", ""), self.settings.limits.id_characters)
        return as_json({"users": self._current().service.store.users(prefix, self._limit(given))})

    async def listing(self, request: HttpRequest) -> Response:
        """All versions of the model."""
        read_parameters(request, ())
        current = self._current()
        try:
            versions = await run_in_threadpool(self.versions.source.listing)
        except Exception as error:  # the registry is another server: answers do not depend on it
            _LOG.warning("the versions of %s cannot be listed: %s", current.model, str(error).partition("\n")[0])
            versions = [
                {
                    "version": current.version,
                    "aliases": [],
                    "created": None,
                    "outcome": None,
                    "run_url": current.run_url,
                }
            ]
        return as_json({"model": current.model, "serving": current.version, "versions": versions})

    async def event(self, request: HttpRequest) -> Response:
        """An action on an item that was shown."""
        settings = self.settings
        given = await read_object(request, _EVENT, settings.body_bytes, settings.seconds)
        values = {name: _text(name, given.get(name)) for name in ("query_id", "action", "item", "user")}
        for name in ("query_id", "action", "item"):
            if not (values[name] or "").strip():
                raise FieldError(f"{name} is missing. Give it.", field=name, value=given.get(name), wanted="text")
        if values["action"] not in ACTIONS:
            expected = f"one of {', '.join(ACTIONS)}"
            message = f"action is {fields.shortened(values['action'])}. Give {expected}."
            raise FieldError(message, field="action", value=values["action"], wanted=expected)
        place = fields.whole("position", given["position"], 1, settings.limits.top_n) if "position" in given else None
        if self.events is not None:
            self.events.event(str(values["action"]), values["query_id"], str(values["item"]), values["user"], place)
        return as_json({"logged": self.events is not None and self.events.problem is None}, 202)

    async def ready(self, request: HttpRequest) -> Response:
        """Whether a version serves, and the one that was refused."""
        del request
        current, refused = self.versions.current, self.versions.refused
        content = {
            "ready": current is not None,
            "model": self.versions.source.model,
            "version": current.version if current else None,
            "refused": refused._asdict() if refused else None,
            "events": self.events.problem if self.events else None,
        }
        return as_json(content, 200 if current else 503, None if current else {"Retry-After": "5"})

    async def measured(self, request: HttpRequest) -> Response:
        """In Prometheus' text format."""
        del request
        return Response(self.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    def _current(self) -> Served:
        if self.versions.current is None:
            raise Refusal(503, "No version of the model is loaded yet.", headers={"Retry-After": "5"})
        return self.versions.current

    async def _version(self, version: str | None) -> Served:
        if version is None:
            return self._current()
        try:
            loading = asyncio.wrap_future(self.versions.get(version))
            return await asyncio.wait_for(asyncio.shield(loading), self.settings.load_seconds)
        except TooManyLoads:
            raise busy() from None
        except TimeoutError:
            message = f"Version {version} is still being loaded. Ask again later."
            raise Refusal(504, message, field="version", value=version, headers={"Retry-After": "10"}) from None
        except UnknownVersion as error:
            raise Refusal(404, str(error), field="version", value=version, expected="one of /v1/versions") from None
        except DataError as error:
            message = f"Version {version} cannot serve: {error}"
            raise Refusal(422, message, field="version", value=version, expected="one of /v1/versions") from error

    async def _ranked(self, served: Served, read: ReadRequest, explain: bool) -> Ranked:
        try:
            result = self.batcher.submit(served.service, read, self.explain if explain else None)
        except Busy:
            raise busy() from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(result), self.settings.seconds)
        except TimeoutError:
            message = f"No answer within {self.settings.seconds:g} seconds. Ask again later, or for fewer candidates."
            raise Refusal(504, message, headers={"Retry-After": "5"}) from None

    def _content(self, served: Served, read: ReadRequest, ranked: Ranked) -> dict[str, Any]:
        answer, explanations = ranked.answer, ranked.explanations
        items = [
            {"rank": rank, **served.items.short(item), "score": score}
            for rank, (item, score) in enumerate(zip(answer.items, answer.scores, strict=True), 1)
        ]
        for place, explanation in enumerate(explanations or ()):
            parts = {"filter": explanation.filter._asdict(), "views": explanation.views._asdict()}
            items[place]["explanation"] = explanation._asdict() | parts
        content: dict[str, Any] = {
            "query_id": self._shown(read, answer.items, served.version),
            "task": answer.task,
            "model": served.model,
            "version": served.version,
            "candidate_source": answer.candidate_source,
            "history_source": answer.history_source,
            "notes": answer.notes,
            "history": _history(served, read),
            "items": items,
        }
        if served.run_url:
            content["run_url"] = served.run_url
        if explanations is not None:
            content["explanation_schema"] = explanation_schema(read)
        return content

    def _shown(self, read: ReadRequest, items: list[str], version: str) -> str:
        if self.events is None:
            return str(uuid.uuid4())
        asked = read.request
        return self.events.shown(asked.user, asked.query, items, version, attributes={"candidate_source": read.source})

    def _limit(self, given: dict[str, str]) -> int:
        return fields.whole("limit", given.get("limit", "20"), 1, self.settings.listed)


def create_app(
    versions: Versions,
    settings: Settings = DEFAULT,
    events: EventLog | None = None,
    explain: Explain = explain_items,
) -> FastAPI:
    """The app of a server.

    Args:
        events: takes what was shown and what people did. None: nothing is written.
        explain: is called in the thread of the model where a request has ``explain: true``.
    """
    server = _Server(versions, settings, events, explain)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(server.batcher.close)
        if events is not None:
            await run_in_threadpool(events.close)

    app = FastAPI(
        title="gensr", description=documentation.ABOUT, version="1", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    docs = documentation.routes(versions.current, settings.limits)
    app.post("/v1/recommendations", **docs["recommendations"])(server.recommend)
    app.post("/v1/search", **docs["search"])(server.search)
    app.get("/v1/items", **docs["items"])(server.items)
    app.get("/v1/items/{item_id:path}", **docs["item"])(server.item)
    app.get("/v1/users", **docs["users"])(server.users)
    app.get("/v1/versions", **docs["versions"])(server.listing)
    app.post("/v1/events", **docs["events"])(server.event)
    app.get("/healthz", **docs["healthz"])(_alive)
    app.get("/readyz", **docs["readyz"])(server.ready)
    app.get("/metrics", **docs["metrics"])(server.measured)
    app.get("/", include_in_schema=False)(_page)
    if PAGE.is_dir():
        app.mount("/page", StaticFiles(directory=PAGE))
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(DataError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_middleware(Guard, access=settings.access, metrics=server.metrics)
    return app


async def _alive(request: HttpRequest) -> Response:
    """Answers as long as the process does."""
    del request
    return as_json({"alive": True})


async def _page(request: HttpRequest) -> Response:
    del request
    page = PAGE / "index.html"
    if not page.is_file():
        return as_json({"openapi": "/openapi.json"})
    return FileResponse(page, headers=_HEADERS)


async def _refuse(request: HttpRequest, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return as_response(error)
    if isinstance(error, DataError):
        return as_response(Refusal.of(error))
    assert isinstance(error, HTTPException)
    words = {404: f"There is no {request.method} {request.url.path[:100]}. /openapi.json has the addresses."}
    message = words.get(error.status_code, f"{error.detail}. /openapi.json has the addresses and their methods.")
    return as_response(Refusal(error.status_code, message, headers=error.headers))


def _history(served: Served, read: ReadRequest) -> list[dict[str, Any]]:
    """The history as the model read it, oldest first."""
    raw_ids = read.model.raw_ids
    ids = [(raw_ids[item], behavior) for item, behavior in read.context.history]
    return [{"id": item, "title": served.items.title(item), "behavior": BEHAVIORS[behavior]} for item, behavior in ids]


def _text(name: str, given: object) -> str | None:
    return None if given is None else fields.text(name, given, LIMITS.id_characters)
