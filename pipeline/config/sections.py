"""The configuration's section `eval`: how a model is judged, and when it is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from components.artifacts.exports import FormatName
from components.evaluator.slices import SliceName
from schema.section import Number, Positive, Section, each_once
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


NEEDED_FLAGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "FnApiRunner": (),
    "DirectRunner": (),
    "PrismRunner": (),
    "DataflowRunner": (
        ("--project",),
        ("--region",),
        ("--temp_location",),
        ("--sdk_container_image", "--setup_file"),
    ),
    "FlinkRunner": (("--flink_master", "--job_endpoint"), ("--environment_type",)),
    "SparkRunner": (("--spark_master_url", "--spark_rest_url", "--job_endpoint"), ("--environment_type",)),
    "PortableRunner": (("--job_endpoint",), ("--environment_type",)),
}
"""By runner, the flags that it cannot do without; of each group one will do.

A cluster's workers have none of this project's code unless their environment brings it, and Beam's defaults for
addresses are clusters on this machine.
"""


def runner_of(arguments: Sequence[str]) -> str:
    """The runner that Beam's flags name, as Beam calls it; a class by its dotted path as it is."""
    found = _flags(arguments).get("--runner", "DirectRunner")
    names = {name.lower(): name for name in NEEDED_FLAGS}
    # Beam takes names in whatever case, with or without the last word, and classes by their dotted path.
    return names.get(found.lower()) or names.get(f"{found.lower()}runner") or found


def _sound(arguments: tuple[str, ...]) -> tuple[str, ...]:
    values = _flags(arguments)
    if "--runner" not in values:
        return arguments
    found, runner = values["--runner"], runner_of(arguments)
    if runner not in NEEDED_FLAGS and "." not in found:
        raise ValueError(f"--runner={found}: there is no such runner; known: {', '.join(NEEDED_FLAGS)}")
    for alternatives in NEEDED_FLAGS.get(runner, ()):
        if not any(values.get(flag) for flag in alternatives):
            raise ValueError(f"--runner={found} needs {' or '.join(alternatives)}")
    return arguments


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """The values of flags, which are written `--flag=value` or as two arguments."""
    values: dict[str, str] = {}
    flag = None
    for argument in arguments:
        if argument.startswith("--"):
            flag, _, value = argument.partition("=")
            if flag == "--runner" and flag in values:
                raise ValueError("--runner stands twice")
            values[flag] = value
        elif flag is None or values[flag]:
            raise ValueError(f"{argument!r} is no flag and no flag's value; wanted --flag=value")
        else:
            values[flag] = argument
    return values


class Beam(Section):
    """What runs the steps that process data: SegmentationExampleGen, StatisticsGen, Transform, Evaluator and
    BulkInferrer."""

    pipeline_args: Annotated[tuple[str, ...], AfterValidator(_sound)] = ("--runner=FnApiRunner",)
    """Beam's own flags. `FnApiRunner` is Beam's runner inside this process; `DataflowRunner`, `FlinkRunner`,
    `SparkRunner` and `PortableRunner` hand the work to a service, and need flags that say where."""


class BulkInference(Section):
    """Whose masks each new blessed model predicts. `docs/prediction.md` tells what is written, and how other TFRecords
    are predicted."""

    splits: Annotated[tuple[Literal["train", "eval", "test"], ...], AfterValidator(each_once)] = ()
    """Any of the run's own splits, such as `test`, whose pictures have no labels. Empty: none, and there is no such
    step."""


class Export(Section):
    """The formats, besides the SavedModel, that a model is pushed in. `docs/serving.md` tells how each is used."""

    formats: Annotated[tuple[FormatName, ...], AfterValidator(each_once)] = ()
    """Any of `litert_float32`, `litert_dynamic` (weights of 8 bits), `litert_float16` (weights of 16 bits),
    `litert_int8` (integers of 8 bits throughout) and `onnx`, which takes the packages of `requirements/onnx.txt`."""
    max_mean_iou_loss: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """The most that an export's mean IoU may be below the model's on the same pictures; with more, that export is left
    out. 0.01 is a point."""
    calibration_pictures: Positive = 100
    """Of the training split, that the ranges of `litert_int8` are measured on."""
    eval_pictures: Positive | None = 200
    """Of the eval split, that the loss is measured on: the first ones. `null`: all."""


class InfraValidation(Section):
    """What a model may take when it is tried out, in a fresh process on a CPU, before it is pushed."""

    pictures: Positive = 8
    """How many of the eval split it is tried out on, of different sizes as far as can be."""
    max_memory_mib: Positive = 4096
    """The most memory that the process may hold, MiB; the pictures in it are segmented one after another."""
    max_seconds: Positive = 600
    """The longest that the process may take, with all signatures. If TensorFlow Serving is tried out as well, both hold
    for it anew."""
