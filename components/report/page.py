"""The page of a run. Knows neither TFX nor TensorFlow: what it shows it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from components import pages
from components.artifacts.evaluation import Evaluation, Scores
from components.artifacts.exports import PUSHED_FOLDER, ExportedModel
from components.artifacts.infra_validation import InfraValidationResult
from components.artifacts.measurements import Measurement
from components.report import curves
from components.report.example_images import BEST, MIDDLE, WORST, Shown
from schema.features import EVAL_SPLIT, TRAIN_SPLIT
from schema.labels import LabelClass, Labels
from trainer.common.metrics import (
    BOUNDARY_F_SCORE,
    BOUNDARY_IOU,
    FREQUENCY_WEIGHTED_IOU,
    MEAN_ACCURACY,
    MEAN_IOU,
    OVERALL_METRICS,
    PIXEL_ACCURACY,
    boundary_iou_name,
    iou_name,
)
from trainer.common.training_history import TrainingHistory

if TYPE_CHECKING:
    from components.artifacts.statistics import SplitNumbers

METRIC_TITLES = {
    MEAN_IOU: "Mean IoU",
    PIXEL_ACCURACY: "Pixel accuracy",
    MEAN_ACCURACY: "Mean accuracy",
    FREQUENCY_WEIGHTED_IOU: "Frequency-weighted IoU",
    BOUNDARY_IOU: "Boundary IoU",
    BOUNDARY_F_SCORE: "Boundary F-score",
}
SLICE_TITLES = {
    "class": "Pictures with the class",
    "object_size": "Pictures with an object of size",
    "class_count": "Number of classes besides the background",
    "picture_size": "Size of the picture",
    "span": "Span of the data",
}
"""The features of `components.evaluator.slices`."""
SLICE_ORDER = ("small", "medium", "large")
PICTURE_TITLES = {WORST: "Worst", MIDDLE: "Around the median", BEST: "Best"}
MATRIX_CLASSES = 40
"""Of more, those are shown of whose pixels most are wrong."""
LISTED_CONFUSIONS = 10
LISTED_ANOMALIES = 50
SCRIPT = "report.js"


@dataclass(frozen=True)
class ReportData:
    """What is known of a run."""

    name: str
    """Of the experiment."""
    written: str
    """When the page was made."""
    evaluation: Evaluation
    validation: InfraValidationResult
    """Whether the model can be served."""
    labels: Labels
    history: TrainingHistory
    """How training went; empty if nothing was evaluated in it."""
    training: Mapping[str, Any]
    """What the training was: `trainer.common.training_history.EFFECTIVE_FILE`."""
    configuration: Mapping[str, Any]
    data: Mapping[str, SplitNumbers] = field(default_factory=dict)
    """Statistics by split."""
    anomalies: Sequence[str] = ()
    """Sentences."""
    pictures: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    """By kind: `components.report.example_images`."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """What the run was made from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    exports: Sequence[ExportedModel] = ()
    """What became of the other formats that were asked for."""
    measurements: Sequence[Measurement] = ()
    """In the order of the steps."""
    run_id: str = ""
    """The runner's name of the run; empty if it gives none."""


@dataclass(frozen=True)
class Number:
    """A metric of the new model, and of the one that it is compared with."""

    title: str
    value: float | None
    before: float | None
    interval: tuple[float, float] | None = None
    interval_before: tuple[float, float] | None = None

    @property
    def whisker(self) -> tuple[float, float] | None:
        """The interval as far as it can be drawn: by t-intervals an IoU may be below 0 or above 1."""
        return None if self.interval is None else (max(0.0, self.interval[0]), min(1.0, self.interval[1]))

    @property
    def change(self) -> float | None:
        """None if one of the two is not known."""
        return None if self.value is None or self.before is None else self.value - self.before


@dataclass(frozen=True)
class ClassRow:
    """What is said of a class."""

    item: LabelClass
    iou: Number
    boundary_iou: Number
    pictures: int | None
    """Of the training split that have it; None if it is not known."""


@dataclass(frozen=True)
class SliceRow:
    """What is said of a slice."""

    value: str
    pictures: int
    mean_iou: Number
    boundary_iou: Number


@dataclass(frozen=True)
class Cell:
    """Of the confusion matrix: pixels of one class that are predicted as another."""

    label: str
    prediction: str
    pixels: int
    share: float
    """Of the label's pixels."""


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix, or a part of it."""

    classes: tuple[LabelClass, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """By label; the cells by prediction."""
    left_out: int
    """Classes that are not shown."""
    largest: tuple[Cell, ...]
    """The confusions that most pixels take part in, of all classes."""


def report_page(run: ReportData) -> str:
    """Draws the page.

    Returns:
        HTML, which needs no other file and no network.
    """
    evaluation = run.evaluation
    settings = run.training.get("settings", {})
    return pages.render(
        "report.html",
        run=run,
        evaluation=evaluation,
        compared=evaluation.baseline is not None,
        metrics=_metrics(evaluation),
        classes=_class_rows(run),
        slices=_slices(evaluation),
        slice_titles=SLICE_TITLES,
        matrix=_matrix(evaluation, run.labels),
        curves=_curves(run.history),
        geometry=curves,
        colors={item.name: item.color for item in run.labels.classes},
        picture_titles=PICTURE_TITLES,
        exports_folder=PUSHED_FOLDER,
        train=TRAIN_SPLIT,
        listed_anomalies=LISTED_ANOMALIES,
        configuration=yaml.safe_dump(run.configuration, sort_keys=False, allow_unicode=True, width=100),
        settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100) if settings else "",
        script=pages.script(SCRIPT),
    )


def _number(title: str, metric: str, scores: Scores, before: Scores | None) -> Number:
    return Number(
        title,
        scores.metrics.get(metric),
        before.metrics.get(metric) if before else None,
        scores.intervals.get(metric),
        before.intervals.get(metric) if before else None,
    )


def _overall(evaluation: Evaluation) -> tuple[Scores, Scores | None]:
    return evaluation.candidate.overall, evaluation.baseline.overall if evaluation.baseline else None


def _metrics(evaluation: Evaluation) -> list[Number]:
    return [_number(METRIC_TITLES[metric], metric, *_overall(evaluation)) for metric in OVERALL_METRICS]


def _class_rows(run: ReportData) -> list[ClassRow]:
    scores = _overall(run.evaluation)
    learnt = run.data[TRAIN_SPLIT].classes if TRAIN_SPLIT in run.data else ()
    return [
        ClassRow(
            item,
            _number("IoU", iou_name(item.name), *scores),
            _number("Boundary IoU", boundary_iou_name(item.name), *scores),
            learnt[index].pictures if learnt else None,
        )
        for index, item in enumerate(run.labels.classes)
    ]


def _slices(evaluation: Evaluation) -> dict[str, list[SliceRow]]:
    """By feature, those of it in an order that a person expects."""
    before = {
        (each.feature, each.value): each.scores for each in (evaluation.baseline.slices if evaluation.baseline else ())
    }
    order = {name: index for index, name in enumerate((*evaluation.class_names, *SLICE_ORDER))}
    found: dict[str, list[SliceRow]] = {}
    for each in sorted(evaluation.candidate.slices, key=lambda each: (order.get(each.value, 0), _natural(each.value))):
        numbers = (
            _number(METRIC_TITLES[metric], metric, each.scores, before.get((each.feature, each.value)))
            for metric in (MEAN_IOU, BOUNDARY_IOU)
        )
        found.setdefault(each.feature, []).append(SliceRow(each.value, each.scores.pictures, *numbers))
    known = [feature for feature in SLICE_TITLES if feature in found]
    return {feature: found[feature] for feature in (*known, *(each for each in found if each not in SLICE_TITLES))}


def _natural(value: str) -> tuple[int, str]:
    """By the number that a value begins with: 10 comes after 9."""
    number = re.match(r"\d+", value)
    return (int(number[0]) if number else 0, value)


def _matrix(evaluation: Evaluation, labels: Labels) -> Matrix:
    pixels = np.array(evaluation.candidate.confusion_matrix, np.int64)
    of_label = pixels.sum(axis=1)
    shares = pixels / np.maximum(of_label, 1)[:, None]
    wrong = pixels - np.diag(np.diag(pixels))
    shown = sorted(np.argsort(-wrong.sum(axis=1), kind="stable")[:MATRIX_CLASSES].tolist())

    def cell(label: int, prediction: int) -> Cell:
        names = labels.names[label], labels.names[prediction]
        return Cell(*names, int(pixels[label, prediction]), float(shares[label, prediction]))

    largest = np.argsort(-wrong, axis=None, kind="stable")[:LISTED_CONFUSIONS].tolist()
    places = [divmod(place, len(labels.classes)) for place in largest]
    return Matrix(
        tuple(labels.classes[index] for index in shown),
        tuple(tuple(cell(label, prediction) for prediction in shown) for label in shown),
        len(labels.classes) - len(shown),
        tuple(cell(label, prediction) for label, prediction in places if wrong[label, prediction]),
    )


def _curves(history: TrainingHistory) -> list[curves.Curve]:
    drawn = (
        curves.curve(
            f"Mean IoU on {EVAL_SPLIT}",
            [(each.step, each.mean_iou) for each in history.evaluations],
            best=history.best.step if history.best else None,
        ),
        curves.curve(f"Loss on {TRAIN_SPLIT}", [(each.step, each.loss) for each in history.evaluations]),
        curves.curve("Learning rate", [(each.step, each.learning_rate) for each in history.evaluations]),
    )
    return [each for each in drawn if each is not None]
