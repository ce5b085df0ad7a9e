"""What a data set's masks mean: its classes with their names, values and colours, and what is ignored.

It is stated once, in the configuration; TFRecords, statistics, metrics and the SavedModel go by it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from schema.section import Integer, Section

IGNORE_LABEL = 255
"""In TFRecords and in the network's labels: boundary pixels, objects that the annotators left out, padding. It counts
in no loss, metric or statistic."""
BACKGROUND = "background"
"""A class of this name takes what no object covers and, in COCO, the categories that are none of the classes."""

LABEL_SETS = Path(__file__).with_name("label_sets")

LABELS_FILE = "assets.extra/labels.json"
"""In a SavedModel's directory: names and colours of the classes, in the order of the masks' values."""

Byte = Annotated[Integer, Field(ge=0, le=255)]
Color = tuple[Byte, Byte, Byte]


def voc_color(index: int) -> tuple[int, int, int]:
    """The colour of an index, 0 to 255, in VOC's palette: its bits spread over the channels, highest first.

    Source: `VOClabelcolormap.m` of the VOC 2012 development kit.
    """
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


VOC_PALETTE = tuple(voc_color(index) for index in range(256))
"""RGB of each value of VOC's masks."""


class LabelClass(Section):
    """One class. A name alone will do."""

    name: Annotated[str, Field(min_length=1)]
    """Shown in metrics and statistics."""
    values: Annotated[tuple[Byte, ...], Field(min_length=1)]
    """Values of the mask that mean it. Filled in: its position in the list, from 0."""
    color: Color
    """RGB, in coloured masks and when it is drawn. Filled in: that of its position in VOC's palette."""
    aliases: tuple[str, ...] = ()
    """Other names; COCO's categories are found by them too."""


class Labels(Section):
    """The classes, in the order of the network's outputs, and what is ignored."""

    classes: Annotated[tuple[LabelClass, ...], Field(min_length=2, max_length=255)]
    """Names, or items with more to say."""
    ignore: tuple[Byte, ...] = (255,)
    """Values of the mask that count nowhere."""
    ignore_colors: tuple[Color, ...] = (voc_color(255),)
    """Colours, in coloured masks, that count nowhere."""

    @model_validator(mode="before")
    @classmethod
    def _with_positions(cls, values: Any) -> Any:
        """Fills in what a class has by its position."""
        if not isinstance(values, dict) or not isinstance(values.get("classes"), list | tuple):
            return values
        classes = []
        for index, item in enumerate(values["classes"]):
            if isinstance(item, str):
                item = {"name": item}
            elif not isinstance(item, dict | LabelClass):
                raise ValueError(
                    f"a class is a name or {{name: ...}}, found {item!r}; YAML takes yes, no, on and off for true and "
                    "false, and numbers for numbers, unless they are quoted"
                )
            if isinstance(item, dict):
                item = {"values": [index], "color": VOC_PALETTE[index % 256], **item}
            classes.append(item)
        return {**values, "classes": classes}

    @model_validator(mode="after")
    def _unambiguous(self) -> Labels:
        names = [name for item in self.classes for name in (item.name, *item.aliases)]
        values = [value for item in self.classes for value in item.values] + list(self.ignore)
        colors = [item.color for item in self.classes] + list(self.ignore_colors)
        for what, found in (("name", names), ("value", values), ("color", colors)):
            twice = [item for item, count in Counter(found).items() if count > 1]
            if twice:
                hint = "; a class without one has that of VOC's palette" if what == "color" else ""
                raise ValueError(f"{what} {twice[0]!r} stands twice; classes and ignore must differ in it{hint}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(item.name for item in self.classes)

    @property
    def background(self) -> int:
        """The label of what no object covers: that of the class `background`, or the ignore label without one."""
        return self.names.index(BACKGROUND) if BACKGROUND in self.names else IGNORE_LABEL

    def index_of(self, name: str) -> int | None:
        """The class with this name or alias; None if there is none."""
        for index, item in enumerate(self.classes):
            if name in (item.name, *item.aliases):
                return index
        return None


def label_set(name: str) -> dict[str, Any]:
    """One of the named sets of `schema/label_sets`, or a JSON or YAML file of one's own, unchecked.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    known = {file.stem: file for file in sorted(LABEL_SETS.glob("*.json"))}
    file = known.get(name, Path(name).expanduser())
    wanted = f"it must be {', '.join(known)}, the path of a .json or .yaml file, or classes by themselves"
    if file.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(wanted)
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ValueError(f"there is no such file; {wanted}") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds {type(values).__name__}, wanted keys and values, such as classes: [...]")
    return values


def read_labels(saved_model: str) -> Labels | None:
    """What the classes of a SavedModel mean; None if it does not say so.

    Args:
        saved_model: its folder.
    """
    try:
        return Labels.model_validate_json(Path(saved_model, LABELS_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _from_name(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return {"classes": value}
    return label_set(value) if isinstance(value, str) else value


NamedLabels = Annotated[Labels, BeforeValidator(_from_name)]
"""Labels, or the name of a set of them."""
VOC2012 = Labels.model_validate(label_set("voc2012"))
