"""Pages to look at: jinja2 templates around one stylesheet. A page is one file that needs no other and no network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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
