"""Training's curves and pictures as event files, for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from schema.labels import Labels
from trainer.common import metrics
from trainer.training.progress import Progress

FLUSH_MS = 30_000
MAX_QUEUE = 10_000
"""Of summaries between two flushes: on an object store each flush writes the whole file anew."""


def _metadata(plugin: str, data_class: str) -> tf.compat.v1.SummaryMetadata:
    """Which of TensorBoard's tabs shows a summary, and what kind of data that reads."""
    proto = tf.compat.v1.SummaryMetadata
    return proto(plugin_data=proto.PluginData(plugin_name=plugin), data_class=data_class)


# What `tf.summary.scalar` and `tf.summary.image` write, which TensorFlow has only where TensorBoard is installed too.
SCALAR = _metadata("scalars", "DATA_CLASS_SCALAR")  # float32[]
IMAGE = _metadata("images", "DATA_CLASS_BLOB_SEQUENCE")  # string[3]: width, height, PNG


class TensorBoardWriter:
    """Writes what TensorBoard shows of a training, each value under the step it belongs to.

    A new writer begins a file of its own beside those that are there; TensorBoard reads them as one run.

    Args:
        directory: the run's, path or URI; it is made.
        labels: the classes, whose names the curves of IoU have.
    """

    def __init__(self, directory: str, labels: Labels):
        self._names = labels.names
        self._writer = tf.summary.create_file_writer(directory, max_queue=MAX_QUEUE, flush_millis=FLUSH_MS)

    def progress(self, progress: Progress) -> None:
        """Writes a report of training's progress."""
        self.training(
            progress.step,
            loss=progress.loss,
            learning_rate=progress.learning_rate,
            images_per_second=progress.images_per_second,
        )

    def training(self, step: int, *, loss: float, learning_rate: float, images_per_second: float) -> None:
        """Writes `training/loss`, `training/learning_rate` and `training/images_per_second`."""
        values = {"loss": loss, "learning_rate": learning_rate, "images_per_second": images_per_second}
        self._scalars(step, {f"training/{name}": value for name, value in values.items()})

    def evaluation(self, step: int, *, confusion_matrix: np.ndarray, seconds: float) -> None:
        """Writes `evaluation/mean_iou`, `evaluation/pixel_accuracy`, `evaluation/seconds` and `iou/<class>`.

        Args:
            step: of the weights that were evaluated.
            confusion_matrix: int64[C, C], pixels by label (row) and prediction (column). A class that is in neither
                has no IoU, and gets no point.
            seconds: that the evaluation took.
        """
        values = {
            "evaluation/mean_iou": metrics.mean_iou(confusion_matrix),
            "evaluation/pixel_accuracy": metrics.pixel_accuracy(confusion_matrix),
            "evaluation/seconds": seconds,
        }
        ious = metrics.iou_per_class(confusion_matrix)
        values |= {f"iou/{name}": iou for name, iou in zip(self._names, ious, strict=True)}
        self._scalars(step, {tag: value for tag, value in values.items() if not math.isnan(value)})
        self._writer.flush()

    def pictures(self, step: int, pictures: Sequence[np.ndarray], ids: Sequence[str]) -> None:
        """Writes `pictures/<id>`, so that each picture can be followed over the steps.

        Args:
            step: of the weights that drew them.
            pictures: uint8[H, W, 3] each, RGB.
            ids: as many.
        """
        with self._writer.as_default(step):
            for picture, picture_id in zip(pictures, ids, strict=True):
                height, width, _ = picture.shape
                # A tenth larger than at TensorFlow's default, in a third of the time.
                png = tf.io.encode_png(picture, compression=1)
                tf.summary.write(f"pictures/{picture_id}", tf.stack([str(width), str(height), png]), metadata=IMAGE)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is still in memory, and ends the file."""
        self._writer.close()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        with self._writer.as_default(step):
            for tag, value in values.items():
                tf.summary.write(tag, np.float32(value), metadata=SCALAR)
