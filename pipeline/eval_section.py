"""The configuration's section `eval`: how a model is judged, and when it is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from components.evaluator.slices import SliceName
from trainer.section import Number, Section
from trainer.settings import OutputStride

Share = Annotated[Number, Field(ge=0, le=1)]


class Eval(Section):
    """How a model is judged, and when it is good enough."""

    min_mean_iou: Share | None = 0.0
    """The floor: a model below it is not blessed. `null`: none; a model without any threshold is not blessed."""
    min_mean_iou_change: Annotated[Number, Field(ge=-1, le=1)] | None = 0.0
    """Smallest difference to the baseline's mean IoU; 0.01 asks for a point more, -0.01 forgives one. `null`: any.
    Where `baseline` is `none`, it is not asked for."""
    min_iou: Mapping[str, Share] = {}
    """Floors of single classes, such as `{person: 0.6}`."""
    min_slice_mean_iou: Mapping[SliceName, Mapping[str, Share]] = {}
    """Floors of slices, such as `{object_size: {small: 0.3}}`. A slice without pictures does not pass."""
    baseline: Literal["latest_blessed", "latest_pushed", "none"] = "latest_blessed"
    """The model that is compared with: the last one that was blessed, or pushed, or none. On Kubeflow the first two are
    the last one that was pushed."""
    slices: tuple[SliceName, ...] = ("class", "object_size", "class_count", "picture_size", "span")
    """The parts of the pictures that metrics are computed on as well: those with a `class`; by `object_size`, the share
    that a class takes of a picture (`small` up to 2 %, `medium` up to 10 %, `large`); by `class_count`, how many there
    are besides the background (`0`, `1`, `2`, `3 or more`); by `picture_size`, its longest side (`small` up to 320
    pixels, `medium` up to 640, `large`); by `span`."""
    confidence_intervals: Literal["none", "jackknife", "bootstrap"] = "none"
    """Of all metrics, 95 %, computed by TFMA."""
    output_stride: OutputStride | None = None
    """Of the network that is judged, pushed and served; 8 gives finer masks than 16 from the same weights, for three
    times the work. Unset: as in training. A change runs the Trainer again, which writes the SavedModel."""
