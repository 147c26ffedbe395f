"""A headless Chromium over its DevTools protocol: real keys and clicks, and everything that a page asks for or says."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_WAIT = 60.0  # seconds for an answer on a busy machine


def chromium() -> str:
    """The browser's command; skips the test where there is none."""
    actual = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if actual is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    return actual


class Tab:
    """One page. ``requests`` are the addresses it asked for, ``complaints`` what its console and log said."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last, self._session = socket, 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask and wait for the answer; what happens meanwhile is noted."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, page: Path | str) -> None:
        """Load a file or an address and wait until it is there, whole."""
        self.loaded = False
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not self.loaded:
            self._next()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        actual = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in actual, actual["exceptionDetails"]
        return actual["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key as a keyboard sends it."""
        for kind in ("keyDown", "keyUp"):
            written = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **written)

    def look(self, width: int, dark: bool = False, media: str = "screen") -> None:
        """The page at this width, in light or dark, on a screen or in print."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def picture(self, to: Path) -> None:
        """The whole page as PNG."""
        actual = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(actual["data"]))

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=_WAIT))
        event, params = message.get("method"), message.get("params", {})
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif event == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['level']}: {params['entry']['text']}")
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, whose state is in the folder ``profile``."""
    command = [
        chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if actual := re.search(r"ws://\S+", line):
                    with connect(actual[0], max_size=None, open_timeout=_WAIT) as socket:
                        yield Tab(socket)
                    break
            else:
                raise AssertionError(f"chromium did not start:\n{''.join(said)}")
        finally:
            process.kill()
