"""Runs an app on an address of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable

import torch
import uvicorn
from fastapi import FastAPI

from gensr_model.errors import ConfigError

_THREADS = 1  # of torch for one call of a model: more of them wait for each other by spinning
_SWITCH = 0.001  # seconds until the thread of the model lets the thread of the sockets work
_GRACE = 15  # seconds for running requests at the end


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet. Port 0 takes a free one. Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol, asyncio turns Nagle's algorithm off. It would add 40 ms to each answer.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ConfigError(
            f"the server cannot use {host}, port {port}: {error.strerror or error}. Choose another with --port."
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """The address of a socket, for a browser."""
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def run(app: FastAPI, bound: socket.socket, started: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM. ``started`` is called when the server listens."""
    torch.set_num_threads(_THREADS)
    sys.setswitchinterval(_SWITCH)
    logging.getLogger("uvicorn.error").propagate = True
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", server_header=False, timeout_graceful_shutdown=_GRACE
    )
    server = _Announced(config)
    server.announce = started
    with contextlib.suppress(KeyboardInterrupt):  # after it has ended well, uvicorn raises Ctrl-C again
        server.run(sockets=[bound])


class _Announced(uvicorn.Server):
    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.announce()
