"""The kinds of data sets that can be read, one class each."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter

from components.segmentation_example_gen.sources.cityscapes import CityscapesData
from components.segmentation_example_gen.sources.coco import CocoData, CocoPanopticData
from components.segmentation_example_gen.sources.folders import FolderData
from components.segmentation_example_gen.sources.source import Source
from components.segmentation_example_gen.sources.voc import VocData

KINDS: dict[str, type[Source]] = {
    kind.model_fields["format"].default: kind
    for kind in (VocData, FolderData, CocoData, CocoPanopticData, CityscapesData)
}
"""By the value of `data.format`."""


def _tag(value: Any) -> str | None:
    """Of the kind that a section is of: VOC, unless it says otherwise."""
    found = value.get("format", "voc") if isinstance(value, dict) else getattr(value, "format", None)
    return f"{found} data" if isinstance(found, str) else None


def kind_of_tag(tag: str | int) -> type[Source] | None:
    """The kind that a tag in the place of an error stands for; None for what is no tag of these."""
    return KINDS.get(str(tag).removesuffix(" data")) if str(tag).endswith(" data") else None


Data = Annotated[
    # The tags stand in the places of errors; the space tells them from keys.
    Annotated[VocData, Tag("voc data")]
    | Annotated[FolderData, Tag("folders data")]
    | Annotated[CocoData, Tag("coco data")]
    | Annotated[CocoPanopticData, Tag("coco_panoptic data")]
    | Annotated[CityscapesData, Tag("cityscapes data")],
    Discriminator(
        _tag,
        custom_error_type="unknown_format",
        custom_error_message=f"format must be {', '.join(KINDS)}",
    ),
]
"""A data set of any kind."""
DATA: TypeAdapter[Source] = TypeAdapter(Data)
"""Reads a data set's section from JSON, as the component is given it."""
