"""Writes `docs/configuration.md` from the typed configuration: `python -m pipeline.config_reference`."""

from __future__ import annotations

import inspect
from pathlib import Path

from pydantic.fields import FieldInfo

from pipeline.config import Config
from trainer.settings import Section, sections_in

FILE = Path(__file__).parents[1] / "docs" / "configuration.md"
INTRODUCTION = """\
# Configuration

One file, YAML or JSON, describes an experiment; `configs/` holds some. Only `name` and `base_model` have no default.
Unknown keys, wrong types and impossible values are refused, all of them at once, with file, key and what is allowed.
`deeplab check CONFIG` reads a file and runs nothing; with a data folder it looks through that as well. On the command
line `--set key=value` overrides a key, with dots between the levels (`--set hps.steps=100 --set
data.splits.train.list=trainval`), `--data` sets `data.root` and `--output` sets `output`.

A change runs again what depends on it and nothing else: `data` everything; `hps`, `augmentation`, `train`, `seed` and
`nn_arch` the Trainer and what follows; `nn_arch.image_size` and `base_model` Transform as well; `eval` the Evaluator
and the Pusher, but `eval.output_stride` the Trainer as well; `push` the Pusher; `beam` nothing.

This page is made by `make docs`.
"""


def reference() -> str:
    """The page's text."""
    lines = [INTRODUCTION, *_table("", Config)]
    return "\n".join(lines) + "\n"


def _table(prefix: str, section: type[Section]) -> list[str]:
    rows, tables = [], []
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Section):
            tables += ["", f"## `{key}`", "", _one_line(field.annotation.__doc__), *_table(f"{key}.", field.annotation)]
        else:
            for item in sections_in(field.annotation):
                tables += ["", f"## Items of `{key}`", "", _one_line(item.__doc__), *_table("", item)]
            rows.append(f"| `{key}` | {_default(field)} | {_one_line(field.description)} |")
    head = ["", "| key | default | |", "|---|---|---|"] if rows else []
    return [*head, *rows, *tables]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, tuple):
        value = [
            item.model_dump(include=item.model_fields_set) if isinstance(item, Section) else item for item in value
        ]
    return "" if value is None else f"`{value}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
