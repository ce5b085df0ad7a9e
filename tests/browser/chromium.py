"""Chromium without a window, driven by the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = (1280, 900), (390, 844)
START_S = 60

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; Debian's package is called chromium"
)


class Page:
    """A page of the browser.

    Args:
        socket: to the page's debugger.
    """

    def __init__(self, socket: websocket.WebSocket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv())).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv()))

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """What the expression comes to, when that is something."""
        until = time.monotonic() + START_S
        while not (found := self.value(expression)):
            assert time.monotonic() < until, f"{expression} comes to nothing"
            time.sleep(0.1)
        return found

    def choose_file(self, selector: str, file: Path) -> None:
        """Gives a file to an input, as if it had been dropped there."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    @property
    def requested(self) -> list[str]:
        """The URLs that the page has asked for."""
        sent = (event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors of the page, and what the browser has said of it."""
        return [event for event in self.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        is_phone = width == PHONE[0]
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, file: Path, *, clip: dict[str, float] | None = None) -> None:
        """Of the whole page, or of a part of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], **(clip or {}), "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Chromium without a window, and a page in it."""
    # The sandbox does not work for root, as in containers.
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    environment = {**os.environ, "HOME": str(folder)}
    process = subprocess.Popen(
        [str(CHROMIUM), *options, f"--user-data-dir={folder}", "about:blank"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file, until = folder / "DevToolsActivePort", time.monotonic() + START_S
        while not (port_file.exists() and "\n" in port_file.read_text()):
            assert process.poll() is None, "Chromium has ended"
            assert time.monotonic() < until, "Chromium does not start"
            time.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            target = next(each for each in json.load(answer) if each["type"] == "page")
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], suppress_origin=True, timeout=START_S)
        try:
            yield Page(socket)
        finally:
            socket.close()
    finally:
        process.terminate()
        process.wait()
