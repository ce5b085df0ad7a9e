"""The page in a real browser, driven by the DevTools protocol."""

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

from components.report.page import report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DESKTOP, PHONE = (1280, 900), (390, 844)
START_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; Debian's package is called chromium"),
]


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

    def open(self, file: Path) -> None:
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv()))

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

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


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_text(report_page(run))
    with browser(folder) as opened:
        opened.resize(*DESKTOP)
        opened.open(folder / "index.html")
        yield opened


def test_nothing_is_fetched_and_nothing_is_refused(page):
    requested = [
        event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert requested
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert [event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []
    assert page.value("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def line(page: Page) -> float:
    """Where the first picture's line stands, as a share of the picture's width."""
    return page.value(
        "(() => { const stage = document.querySelector('.stage').getBoundingClientRect();"
        " const line = document.querySelector('.stage .line').getBoundingClientRect();"
        " return (line.left + line.width / 2 - stage.left) / stage.width; })()"
    )


def stage(page: Page) -> dict[str, float]:
    page.value("document.querySelector('.stage').scrollIntoView({block: 'center'})")
    return page.value("document.querySelector('.stage').getBoundingClientRect().toJSON()")


def test_the_line_follows_the_mouse(page):
    box = stage(page)
    middle = box["y"] + box["height"] / 2
    for share in (0.2, 0.9):
        page.drag((box["x"] + box["width"] / 2, middle), (box["x"] + box["width"] * share, middle))
        assert line(page) == pytest.approx(share, abs=0.02)


def test_the_line_follows_the_arrow_keys(page):
    page.value("document.querySelector('.stage input').focus()")
    page.press("Home", 36)
    assert line(page) == pytest.approx(0, abs=0.001)
    for _ in range(10):
        page.press("ArrowRight", 39)
    assert line(page) == pytest.approx(0.1, abs=0.001)
    outlined = "getComputedStyle(document.querySelector('.stage')).outlineStyle"
    assert page.value(outlined) == "solid"


def visible(page: Page) -> dict[str, str]:
    """Which layers of the first picture are shown, and how they are clipped."""
    return page.value(
        "Object.fromEntries([...document.querySelectorAll('.stage')[0].querySelectorAll('.layer')]"
        ".map(layer => [layer, getComputedStyle(layer)]).filter(([_, style]) => style.display != 'none')"
        ".map(([layer, style]) => [layer.className.split(' ')[1], style.clipPath]))"
    )


def test_what_stands_left_and_right_is_chosen(page):
    page.value("document.querySelector('.stage input').value = 50")
    page.value("document.querySelector('.stage input').dispatchEvent(new Event('input'))")
    assert set(visible(page)) == {"label", "prediction"}
    page.value("document.querySelector('[name=left][value=picture]').click()")
    assert set(visible(page)) == {"prediction"}
    page.value("document.querySelector('[name=right][value=differences]').click()")
    assert visible(page) == {"differences": "inset(0px 0px 0px 50%)"}
    page.value("document.querySelector('[name=left][value=differences]').click()")
    assert visible(page) == {"differences": "none"}


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_sticks_out_at_the_side(page, size):
    page.resize(*size)
    assert page.value("document.documentElement.scrollWidth") <= size[0]
    page.resize(*DESKTOP)
