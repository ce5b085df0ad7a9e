"""Runs models over examples, and keeps of each picture what metrics are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tensorflow_model_analysis import constants

from components.artifacts.evaluation import PictureScores
from components.evaluator.inputs import CannotEvaluateError
from components.evaluator.slices import slices_of
from components.shared_model import SharedModel
from schema import features
from trainer.common.metrics import iou_per_class, mean_iou, number, pixel_accuracy
from trainer.common.tensorflow_errors import PictureRefusedError, picture_refusals

COUNTS = (features.CONFUSION_MATRIX, features.BOUNDARY_COUNTS)
SCORES = "scores"
"""Where an extract has the `PictureScores`, as JSON."""
PICTURES_PER_CALL = 8
"""The signature takes pictures one after another; more in one call save nothing, and hold up memory."""


@dataclass(frozen=True)
class Models:
    """The models that are judged, on the same pictures."""

    candidate: str
    """Folder of the SavedModel."""
    baseline: str | None
    names: tuple[str, ...]
    """By which TFMA looks for their predictions: one, or none for the candidate alone."""

    @property
    def folders(self) -> list[str]:
        """In the order of `names`."""
        return [self.candidate, *([self.baseline] if self.baseline is not None else [])]


class CountPixels(beam.PTransform):
    """Serialised tf.Examples to TFMA's extracts, which carry counts where others carry predictions.

    A picture's 5 kB of counts are all that TFMA gets to see; its pixels go no further than the model.

    Args:
        models: that are run.
        class_names: the classes, in the order of their indices.
    """

    def __init__(self, models: Models, class_names: tuple[str, ...]):
        super().__init__()
        self._models = models
        self._class_names = class_names

    def expand(self, examples: beam.PCollection) -> beam.PCollection:
        return (
            examples
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=PICTURES_PER_CALL)
            | "Count" >> beam.ParDo(_Count(self._models, self._class_names))
        )


class _Count(beam.DoFn):
    def __init__(self, models: Models, class_names: tuple[str, ...]):
        self._models = models
        self._shared = [SharedModel(folder) for folder in models.folders]
        self._class_names = class_names

    def setup(self) -> None:
        # The loaded models are kept, since their functions die with them.
        self._loaded = [model.load() for model in self._shared]
        self._signatures = [model.signatures[features.CONFUSION_SIGNATURE] for model in self._loaded]

    def process(self, batch: list[bytes]) -> Iterator[dict]:
        outputs = self._count(batch)
        for index, serialised in enumerate(batch):
            counts = [{key: values[key][index] for key in COUNTS} for values in outputs]
            example = tf.train.Example.FromString(serialised)
            slices = slices_of(example, self._class_names)
            named = dict(zip(self._models.names, counts, strict=True))
            yield {
                constants.FEATURES_KEY: {
                    name: np.array([value.encode() for value in values], object) for name, values in slices.items()
                },
                # TFMA looks for a single model's predictions without a name.
                constants.PREDICTIONS_KEY: counts[0] if len(counts) == 1 else named,
                SCORES: self._scores(example, counts).model_dump_json(),
            }

    def _count(self, batch: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """Each model's counts of the pictures.

        Raises:
            CannotEvaluateError: a picture cannot be judged; the message names it.
        """
        try:
            with picture_refusals():
                answers = [signature(examples=tf.constant(batch)) for signature in self._signatures]
        except PictureRefusedError as error:
            if len(batch) > 1:
                # TensorFlow need not have said which of them it was.
                for serialised in batch:
                    self._count([serialised])
            ids = ", ".join(_source_id(tf.train.Example.FromString(serialised)) for serialised in batch)
            raise CannotEvaluateError(f"{ids}: {error.reason}") from error
        return [{key: answer[key].numpy() for key in COUNTS} for answer in answers]

    def _scores(self, example: tf.train.Example, counts: Sequence[Mapping[str, np.ndarray]]) -> PictureScores:
        matrices = [of_model[features.CONFUSION_MATRIX] for of_model in counts]
        iou = zip(self._class_names, iou_per_class(matrices[0]).tolist(), strict=True)
        return PictureScores(
            id=_source_id(example),
            mean_iou=number(mean_iou(matrices[0])),
            pixel_accuracy=number(pixel_accuracy(matrices[0])),
            iou={name: value for name, value in iou if value == value},
            baseline_mean_iou=number(mean_iou(matrices[1])) if len(matrices) > 1 else None,
        )


def _source_id(example: tf.train.Example) -> str:
    (picture_id,) = example.features.feature[features.IMAGE_SOURCE_ID].bytes_list.value
    return picture_id.decode()
