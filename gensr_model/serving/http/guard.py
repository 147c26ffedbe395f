"""What every request passes: host, API key, its time, and the answer to a fault of the code."""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from typing import NamedTuple

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gensr_model.serving.http.errors import Refusal
from gensr_model.serving.http.metrics import Metrics

_LOG = logging.getLogger("gensr.serve")
_OPEN = ("/healthz", "/readyz", "/")  # without a key: they show nothing of the data
_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")


class Access(NamedTuple):
    """Who may ask.

    Args:
        key: what the header ``X-API-Key`` must hold. None: nothing.
        only_this_machine: requests must name this machine as their host. A page of another site, whose name leads to
            127.0.0.1, cannot ask then.
    """

    key: str | None = None
    only_this_machine: bool = True


class Guard:
    """ASGI middleware. A fault in the code becomes status 500 with a request id; only the log has its trace."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self._app, self._access, self._metrics = app, access, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = _refusal(scope, self._access)
            if refusal is None:
                await self._app(scope, receive, watched)
            else:
                await as_response(refusal)(scope, receive, watched)
        except ClientDisconnect:
            status = status or 499  # nobody is there to read an answer
        except Exception:
            request_id = uuid.uuid4().hex
            _LOG.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            self._metrics.faults.inc()
            if status:
                raise
            message = f"A fault in the server, not in the request. Its log has the details of request {request_id}."
            await as_response(Refusal(500, message))(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def as_response(refusal: Refusal) -> Response:
    """The HTTP answer of a refusal."""
    return as_json(refusal.body(), refusal.status, refusal.headers)


def as_json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An HTTP answer in JSON."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def _refusal(scope: Scope, access: Access) -> Refusal | None:
    headers, path = Headers(scope=scope), scope["path"]
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if headers.get("host", "").endswith("]"):  # an address of version 6 without a port
        host = headers["host"]
    if access.only_this_machine and host not in _THIS_MACHINE:
        return Refusal(
            400, f"Host: expected {' or '.join(_THIS_MACHINE)}, got {host[:100]!r}", field="Host", value=host,
            expected=" or ".join(_THIS_MACHINE),
        )  # fmt: skip
    if access.key is None or path in _OPEN or path.startswith("/page/"):
        return None
    given = headers.get("x-api-key", "").encode("latin-1")  # as it came
    if not hmac.compare_digest(given, access.key.encode()):
        return Refusal(
            401, "X-API-Key: this server needs its API key in the header X-API-Key.", field="X-API-Key",
            expected="the server's API key",
        )  # fmt: skip
    return None
