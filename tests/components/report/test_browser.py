"""The page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import DESKTOP, PHONE, Page, browser, needs_chromium

from components.report.page import report_page

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_text(report_page(run))
    with browser(folder) as opened:
        opened.resize(*DESKTOP)
        opened.open((folder / "index.html").as_uri())
        yield opened


def test_nothing_is_fetched_and_nothing_is_refused(page):
    assert page.requested
    assert [url for url in page.requested if not url.startswith(("file:", "data:"))] == []
    assert page.complaints == []
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
