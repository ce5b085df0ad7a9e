"""The configuration's section `export`: the formats besides the SavedModel that a model is pushed in."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from components.model_export.exports import FormatName
from trainer.section import Number, Positive, Section, each_once


class Export(Section):
    """The formats, besides the SavedModel, that a model is pushed in. `docs/serving.md` tells how each is used."""

    formats: Annotated[tuple[FormatName, ...], AfterValidator(each_once)] = ()
    """Any of `litert_float32`, `litert_dynamic` (weights of 8 bits), `litert_float16` (weights of 16 bits),
    `litert_int8` (integers of 8 bits throughout) and `onnx`, which takes the packages of `requirements-onnx.txt`."""
    max_mean_iou_loss: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """The most that an export's mean IoU may be below the model's on the same pictures; with more, that export is left
    out. 0.01 is a point."""
    calibration_pictures: Positive = 100
    """Of the training split, that the ranges of `litert_int8` are measured on."""
    eval_pictures: Positive | None = 200
    """Of the eval split, that the loss is measured on: the first ones. `null`: all."""
