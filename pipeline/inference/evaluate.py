"""Judges a SavedModel on labelled pictures, without a pipeline, by the same numbers as the Evaluator's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from components.artifacts.problems import DataError, Problem
from components.evaluator.inputs import shapes_of_counts
from components.segmentation_example_gen.executor import to_example
from components.segmentation_example_gen.pairs import Pair, Sample, read_pair
from pipeline.inference.saved_model import Model, ModelError
from schema import features
from schema.labels import Labels
from trainer.common import files
from trainer.common.counts import boundary_counts, confusion_matrix
from trainer.common.drawing import side_by_side
from trainer.common.metrics import (
    OVERALL_METRICS,
    Counts,
    boundary_iou_name,
    iou_name,
    metric_names,
    metric_values,
    number,
)
from trainer.common.tensorflow_errors import PictureRefusedError, picture_refusals
from trainer.model.weights import WeightsError
from trainer.serving.multi_scale import SCALES, MultiScale
from trainer.serving.signatures import read_network
from trainer.settings import OutputStride


@dataclass(frozen=True)
class Judgement:
    """What is known of the pairs that the judge has seen."""

    labels: Labels
    counts: Counts
    problems: tuple[Problem, ...]
    """Of those that could not be judged."""

    def as_dict(self) -> dict:
        """What is told of it, for JSON; None where nothing was counted."""
        values = metric_values(self.counts.confusion_matrix, self.counts.boundary)
        found = {name: number(value) for name, value in zip(metric_names(self.labels.names), values, strict=True)}
        return {
            **{name: found[name] for name in OVERALL_METRICS},
            "iou": {name: found[iou_name(name)] for name in self.labels.names},
            "boundary_iou_per_class": {name: found[boundary_iou_name(name)] for name in self.labels.names},
            "images": self.counts.pictures,
        }


class Judge:
    """Predicts one labelled picture after another, and counts its pixels."""

    def mask(self, sample: Sample) -> np.ndarray:
        """What the model predicts, integer[H, W].

        Args:
            sample: the picture and its label, decoded.
        """
        raise NotImplementedError

    def __call__(self, pair: Pair, sample: Sample, labels: Labels) -> Counts:
        """What is counted of it.

        Args:
            pair: the picture and its label.
            sample: the same, decoded.
            labels: what the label means.
        """
        return _counts(sample, self.mask(sample), labels)


class AsServed(Judge):
    """Asks the model's own signatures, as the Evaluator does.

    Args:
        model: with the signature `confusion`.

    Raises:
        ModelError: it does not count all that is told.
    """

    def __init__(self, model: Model):
        self._model = model
        self._confusion = model.signature(features.CONFUSION_SIGNATURE)
        wanted = shapes_of_counts(len(model.labels.names))
        found = {name: shape[1:] for name, shape in model.output_shapes(features.CONFUSION_SIGNATURE).items()}
        if not wanted.items() <= found.items():
            raise ModelError(
                f"{model.place}: its signature {features.CONFUSION_SIGNATURE!r} gives {found} of a picture; wanted "
                f"is {wanted}: a model of an earlier version is to be trained anew"
            )

    def mask(self, sample: Sample) -> np.ndarray:
        (prediction,) = self._model.serve([sample.picture.encoded])
        return prediction.mask

    def __call__(self, pair: Pair, sample: Sample, labels: Labels) -> Counts:
        example = to_example(pair, sample, labels)
        counts = self._confusion(examples=tf.constant([example.SerializeToString()]))
        return Counts(1, counts[features.CONFUSION_MATRIX][0].numpy(), counts[features.BOUNDARY_COUNTS][0].numpy())


class Rebuilt(Judge):
    """Builds the model's network anew, for other scales, flipping, or another output stride.

    Args:
        model: says what its network is.
        multi_scale: whether probabilities are averaged over `SCALES`.
        flip: whether they are averaged over both sides of the picture.
        output_stride: another one than the model's.

    Raises:
        ModelError: it does not say what its network is, or that network cannot have the output stride.
    """

    def __init__(self, model: Model, *, multi_scale: bool, flip: bool, output_stride: OutputStride | None):
        try:
            with tempfile.TemporaryDirectory() as folder:
                description, weights = read_network(files.fetched(model.place, folder), model.place)
        except OSError as error:
            raise ModelError(f"{model.place}: cannot be read: {error.strerror or error}") from error
        except WeightsError as error:
            without = "without --multi-scale, --flip and --output-stride it is judged as it is served"
            raise ModelError(f"{error}; {without}") from error
        arch = description.nn_arch
        try:
            self._network = MultiScale(
                description.base_model,
                arch if output_stride is None else arch.at_output_stride(output_stride),
                weights,
                scales=SCALES if multi_scale else (1.0,),
                flip=flip,
                source=model.place,
            )
        except (ValueError, WeightsError) as error:
            raise ModelError(f"{model.place}: its network cannot be built: {error}") from error

    def mask(self, sample: Sample) -> np.ndarray:
        assert sample.mask is not None
        pixels = tf.io.decode_image(sample.picture.encoded, channels=3, expand_animations=False)
        return self._network.class_indices(pixels, tf.constant(sample.mask.shape)).numpy()


def evaluate(judge: Judge, pairs: Iterable[Pair], labels: Labels, pictures: Path | None = None) -> Iterator[Judgement]:
    """Judges one pair after the other; what is known so far is yielded after each.

    Args:
        judge: counts.
        pairs: with masks.
        labels: what the masks mean.
        pictures: folder to draw each picture, its label and the prediction in, side by side, as `<id>.png`.

    Raises:
        OSError: the folder cannot be written.
    """
    counts = Counts.of_none(len(labels.classes))
    problems: tuple[Problem, ...] = ()
    for pair in pairs:
        try:
            counts += _judged(judge, pair, labels, pictures)
        except DataError as error:
            problems += error.problems
        except PictureRefusedError as error:
            problems += (Problem(pair.image, f"the model cannot take it: {error.reason}", pair=pair.id),)
        yield Judgement(labels, counts, problems)


def _judged(judge: Judge, pair: Pair, labels: Labels, pictures: Path | None) -> Counts:
    """What is counted of a pair; it is drawn, if it is to be.

    Raises:
        DataError: it cannot be read.
        PictureRefusedError: the model cannot take it.
    """
    sample = read_pair(pair, labels)
    with picture_refusals():
        if pictures is None:
            return judge(pair, sample, labels)
        # What is drawn is counted, so that the network runs once.
        prediction = judge.mask(sample)
    _draw(pictures / f"{pair.id}.png", sample, prediction, labels)
    return _counts(sample, prediction, labels)


def _counts(sample: Sample, prediction: np.ndarray, labels: Labels) -> Counts:
    """What the model's signature counts, of a mask that is there."""
    pair = tf.constant(sample.mask, tf.int32), tf.constant(prediction, tf.int32)
    classes = len(labels.classes)
    return Counts(1, confusion_matrix(*pair, classes).numpy(), boundary_counts(*pair, classes).numpy())


def _draw(file: Path, sample: Sample, prediction: np.ndarray, labels: Labels) -> None:
    assert sample.mask is not None
    drawn = side_by_side(np.asarray(sample.picture.rgb()), sample.mask, prediction, labels)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(file)


def check_classes(model: Model, labels: Labels) -> None:
    """Makes sure that model and data speak of the same classes.

    Raises:
        ModelError: they do not.
    """
    ours, theirs = model.labels.names, labels.names
    if ours != theirs:
        raise ModelError(
            f"{model.place}: is for {_listed(ours)}, and the data are of {_listed(theirs)}; wanted are the same "
            "classes in the same order"
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{len(names)} classes ({shown}{', ...' if len(names) > 6 else ''})"
