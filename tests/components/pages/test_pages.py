"""Pages escape what they show, and miss nothing in silence."""

import pytest
from jinja2 import UndefinedError

from components import pages

VALUES = {"pairs": {"<train>": 3}, "problems": 0, "groups": [], "pictured": 200}


def test_values_are_escaped():
    assert "pairs read in &lt;train&gt;" in pages.render("problems.html", **VALUES)


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="pairs"):
        pages.render("problems.html", problems=0, groups=[], pictured=200)


def test_a_page_needs_no_network_and_runs_nothing():
    html = pages.render("problems.html", **VALUES)
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    assert "<link" not in html
