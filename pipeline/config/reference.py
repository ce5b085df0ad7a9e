"""Writes `docs/configuration.md` from the typed configuration: `python -m pipeline.config.reference`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic.fields import FieldInfo

from components.segmentation_example_gen.sources import KINDS
from components.segmentation_example_gen.sources.source import Source
from pipeline.config.config import Config
from schema.section import Section, sections_in

FILE = Path(__file__).parents[2] / "docs" / "configuration.md"
INTRODUCTION = """\
# Configuration

One file, YAML or JSON, describes an experiment; `configs/` holds some. Only `name` and `base_model` have no default.
Unknown keys, wrong types and impossible values are refused, all of them at once, with file, key and what is allowed.
`deeplab check CONFIG` reads a file and runs nothing; with a data set it looks through that as well. On the command
line `--set key=value` overrides a key, with dots between the levels (`--set hps.steps=100 --set
data.splits.train.list=trainval`), `--data` sets `data.root` (or, with {SPAN} in it, `data.pattern`) and `--output` sets
`output`.

A change runs again what depends on it and nothing else: `data` everything; `hps`, `augmentation`, `train`, `seed` and
`nn_arch` the Trainer and what follows; `nn_arch.image_size` and `base_model` Transform as well; `eval` the Evaluator
and the Pusher, but `eval.output_stride` the Trainer as well; `infra_validation` the InfraValidator and the Pusher;
`export` ModelExport and the Pusher; `push` the Pusher; `bulk_inference` BulkInferrer; `beam` nothing.

This page is made by `make docs`.
"""


def reference() -> str:
    """The page's text."""
    lines = [INTRODUCTION, *_table("", Config)]
    return "\n".join(lines) + "\n"


def _table(prefix: str, section: type[Section], leave_out: Collection[str] = ()) -> list[str]:
    rows, tables = [], []
    for name, field in section.model_fields.items():
        if name in leave_out:
            continue
        key = f"{prefix}{name}"
        kinds = sections_in(field.annotation)
        if kinds and issubclass(kinds[0], Source):
            tables += _data_tables(key)
        elif len(kinds) == 1 and field.annotation in (kinds[0], kinds[0] | None):
            tables += ["", f"## `{key}`", "", _said_of(field, kinds[0]), *_table(f"{key}.", kinds[0])]
        else:
            for item in kinds:
                tables += ["", f"## Items of `{key}`", "", _one_line(item.__doc__), *_table("", item)]
            rows.append(f"| `{key}` | {_default(field)} | {_one_line(field.description)} |")
    head = ["", "| key | default | |", "|---|---|---|"] if rows else []
    return [*head, *rows, *tables]


def _data_tables(key: str) -> list[str]:
    """What all kinds of data sets have, and then each kind's own."""
    tables = ["", f"## `{key}`", "", _one_line(Source.__doc__), *_table(f"{key}.", Source)]
    for name, kind in KINDS.items():
        own = _table(f"{key}.", kind, leave_out=[*Source.model_fields, "format"])
        tables += ["", f"## `{key}` with `format: {name}`", "", _one_line(kind.__doc__), *own]
    return tables


def _said_of(field: FieldInfo, section: type[Section]) -> str:
    """What a section is, and what is said of it in this place."""
    return " ".join(part for part in (_one_line(section.__doc__), _one_line(field.description)) if part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = [
            item.model_dump(include=item.model_fields_set) if isinstance(item, Section) else item for item in value
        ]
    return "" if value is None or isinstance(value, Section) else f"`{value}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
