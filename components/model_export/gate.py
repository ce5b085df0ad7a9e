"""Converts a model, measures what the conversion costs, and decides whether it is kept."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from components.artifacts.exports import ExportedModel, FormatName
from components.model_export import litert, onnx
from schema import features
from trainer.common.counts import confusion_matrix
from trainer.common.metrics import decimal, iou_per_class

if TYPE_CHECKING:
    from trainer.serving.conversion import Canvas, CanvasSegmenter

LOGGER = logging.getLogger(__name__)


class Canvases:
    """The first pictures of a split, as often as they are wanted, without holding them.

    Args:
        folders: of the split's TFRecords.
        segmenter: fits them into its canvas.
        count: how many at most; None for all.
    """

    def __init__(self, folders: Sequence[str], segmenter: CanvasSegmenter, count: int | None):
        self._files = [str(file) for folder in folders for file in sorted(Path(folder).iterdir())]
        self._segmenter = segmenter
        self._count = count

    def __iter__(self) -> Iterator[Canvas]:
        records = tf.data.TFRecordDataset(self._files).as_numpy_iterator()
        for record in islice(records, self._count):
            feature = tf.train.Example.FromString(record).features.feature
            (image,) = feature[features.IMAGE_ENCODED].bytes_list.value
            labels = feature[features.LABEL_ENCODED].bytes_list.value
            yield self._segmenter.canvas(image, labels[0] if labels else None)


class Gate:
    """How much of the mean IoU over the labels' classes an export loses, and how much it may.

    It is measured on the canvas, where both say something of each pixel; the Evaluator's number is of the model at each
    picture's own size.

    Args:
        segmenter: the network.
        judged: pictures with labels.
        max_loss: of the mean IoU, 0 to 1.

    Raises:
        ValueError: there are no pictures, or they have no labels.
    """

    def __init__(self, segmenter: CanvasSegmenter, judged: Canvases, max_loss: float):
        self._num_classes = segmenter.num_classes
        self._judged = judged
        self.max_loss = max_loss
        counts, seconds = self._count(segmenter.as_served)
        if not counts.sum():
            raise ValueError(f"the split {features.EVAL_SPLIT!r} has no labelled pictures to judge exports on")
        self.model_mean_iou = _mean_iou_of_labelled(counts)
        self.pictures = len(seconds)

    def measure(self, run: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Mean IoU, and milliseconds for a picture, of a function from uint8[1, S, S, 3] to int32[1, S, S]."""
        counts, seconds = self._count(lambda canvas: run(canvas.pixels[np.newaxis])[0])
        return _mean_iou_of_labelled(counts), 1000 * statistics.median(seconds)

    def _count(self, predict: Callable[[Canvas], np.ndarray]) -> tuple[np.ndarray, list[float]]:
        counts, seconds = np.zeros([self._num_classes] * 2, np.int64), []
        for canvas in self._judged:
            if canvas.label is None:
                raise ValueError(f"the split {features.EVAL_SPLIT!r} has no labels to judge exports by")
            started = time.perf_counter()
            prediction = predict(canvas)
            seconds.append(time.perf_counter() - started)
            label = tf.constant(canvas.label, tf.int32)
            counts += confusion_matrix(label, tf.constant(prediction, tf.int32), self._num_classes).numpy()
        return counts, seconds


def _mean_iou_of_labelled(counts: np.ndarray) -> float:
    """Over the classes that the labels have, which are the same whatever is judged.

    Over those that are predicted as well, a single wrong pixel of one more class would look like a great loss.
    """
    return float(iou_per_class(counts)[counts.sum(axis=1) > 0].mean())


def export_as(
    name: FormatName, segmenter: CanvasSegmenter, calibration: Canvases, gate: Gate
) -> tuple[bytes | None, ExportedModel]:
    """Converts a network and judges the result.

    Args:
        name: of the format.
        segmenter: the network.
        calibration: pictures that quantisation is calibrated on.
        gate: judges.

    Returns:
        The file, None if it could not be made, and what became of it.
    """
    kind = _module_of(name)
    export = ExportedModel(
        format=name,
        model_mean_iou=gate.model_mean_iou,
        pictures=gate.pictures,
        image_size=segmenter.size,
        padding_color=segmenter.padding_color,
    )
    try:
        contents = kind.convert(name, segmenter, calibration)
        value, milliseconds = gate.measure(kind.load(contents))
    except onnx.MissingPackagesError as error:
        return None, export.model_copy(update={"reason": str(error)})
    # Converters raise whatever they like for a network that they cannot take, and the others are not to suffer.
    except Exception as error:
        LOGGER.exception("the export %s failed", name)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return None, export.model_copy(update={"reason": f"it could not be made: {lines[-1]} (the log says more)"})
    measured = {
        "mean_iou": value,
        "mean_iou_loss": gate.model_mean_iou - value,
        "size_bytes": len(contents),
        "ms_per_picture": milliseconds,
    }
    if gate.model_mean_iou - value > gate.max_loss:
        reason = (
            f"its mean IoU on {gate.pictures} pictures is {decimal(value)}, the model's "
            f"{decimal(gate.model_mean_iou)}, and it may lose {gate.max_loss:g} (export.max_mean_iou_loss)"
        )
        return contents, export.model_copy(update={**measured, "reason": reason})
    return contents, export.model_copy(update={**measured, "file": kind.FILE})


def _module_of(name: FormatName) -> ModuleType:
    """The module with `FILE`, `convert` and `load` of a format."""
    return onnx if name == "onnx" else litert
