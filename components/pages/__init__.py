"""Pages to look at: jinja2 templates around one stylesheet. A page is one file that needs no other and no network."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Script:
    """A program that a page runs, the only one that its Content-Security-Policy allows."""

    text: Markup
    """Goes between the tags as it is."""
    source: str
    """What the policy allows: the program's hash."""


def render(template: str, **values: object) -> str:
    """Fills in a template; what it shows is escaped.

    Args:
        template: the name of a file of `templates`.
        values: by the names that the template knows them by.

    Returns:
        HTML.

    Raises:
        jinja2.UndefinedError: a value that the template shows is missing.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


def script(name: str) -> Script:
    """A program of `templates`, for a template that shows its text and names its source in the block `policy`."""
    text = (_TEMPLATES / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")
