"""Segmentation metrics as functions of counts: nothing here knows where these come from.

A confusion matrix is int64[C, C]: pixels by label (row) and prediction (column), ignored pixels left out, summed over
the pictures of a data set. Definitions: Long et al. 2015 (arXiv:1411.4038), section 5. Boundary counts are int64[C, B]
with a column for each of `BOUNDARY_COUNTS`, summed likewise; `trainer.common.counts` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEAN_IOU = "mean_iou"
PIXEL_ACCURACY = "pixel_accuracy"
MEAN_ACCURACY = "mean_accuracy"
FREQUENCY_WEIGHTED_IOU = "frequency_weighted_iou"
BOUNDARY_IOU = "boundary_iou"
BOUNDARY_F_SCORE = "boundary_f_score"
OVERALL_METRICS = (
    MEAN_IOU,
    PIXEL_ACCURACY,
    MEAN_ACCURACY,
    FREQUENCY_WEIGHTED_IOU,
    BOUNDARY_IOU,
    BOUNDARY_F_SCORE,
)
"""Metrics that are one number, in the order in which they are shown."""

BOUNDARY_COUNTS = (
    "label_boundary",
    "predicted_boundary",
    "common_boundary",
    "label_contour",
    "label_contour_found",
    "predicted_contour",
    "predicted_contour_right",
)
"""What is counted for each class: pixels of the label and of the prediction that lie near the edge of their region,
and those that both share; pixels of the label's contour, those near which the prediction has one, and the other way
around."""


@dataclass(frozen=True)
class Counts:
    """What is counted of pictures; the sum is that of all of them."""

    pictures: int
    confusion_matrix: np.ndarray
    """int64[C, C]."""
    boundary: np.ndarray
    """int64[C, B]."""

    @classmethod
    def of_none(cls, num_classes: int) -> Counts:
        """Of no picture."""
        matrix = np.zeros((num_classes, num_classes), np.int64)
        return cls(0, matrix, np.zeros((num_classes, len(BOUNDARY_COUNTS)), np.int64))

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.pictures + other.pictures,
            self.confusion_matrix + other.confusion_matrix,
            self.boundary + other.boundary,
        )


def iou_name(class_name: str) -> str:
    """The metric of one class's IoU."""
    return f"iou/{class_name}"


def boundary_iou_name(class_name: str) -> str:
    """The metric of one class's boundary IoU."""
    return f"boundary_iou/{class_name}"


def number(value: float) -> float | None:
    """A metric for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)


def words(name: str) -> str:
    """The name of a metric, or of another key, as it is shown."""
    return name.replace("_", " ").replace("iou", "IoU")


def decimal(value: float | None) -> str:
    """A metric as it is shown."""
    return "none" if value is None else f"{value:.4f}"


def metric_names(class_names: Sequence[str]) -> list[str]:
    """All metrics, in the order of `metric_values`."""
    return [*OVERALL_METRICS, *map(iou_name, class_names), *map(boundary_iou_name, class_names)]


def metric_values(confusion_matrix: np.ndarray, boundary_counts: np.ndarray) -> list[float]:
    """The values of `metric_names`; NaN where nothing was counted."""
    boundary_iou = boundary_iou_per_class(boundary_counts)
    return [
        mean_iou(confusion_matrix),
        pixel_accuracy(confusion_matrix),
        mean_accuracy(confusion_matrix),
        frequency_weighted_iou(confusion_matrix),
        _mean(boundary_iou),
        boundary_f_score(boundary_counts),
        *iou_per_class(confusion_matrix).tolist(),
        *boundary_iou.tolist(),
    ]


def iou_per_class(confusion_matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64[C]; NaN for a class that neither labels nor predictions have."""
    intersection = np.diag(confusion_matrix)
    return _ratio(intersection, confusion_matrix.sum(axis=0) + confusion_matrix.sum(axis=1) - intersection)


def mean_iou(confusion_matrix: np.ndarray) -> float:
    """Mean of `iou_per_class` over the classes that are there; NaN if no pixel was counted."""
    return _mean(iou_per_class(confusion_matrix))


def pixel_accuracy(confusion_matrix: np.ndarray) -> float:
    """Share of the pixels whose prediction is their label; NaN if no pixel was counted."""
    return float(_ratio(np.trace(confusion_matrix), confusion_matrix.sum()))


def mean_accuracy(confusion_matrix: np.ndarray) -> float:
    """Mean over the labels' classes of the share of a class's pixels that are found; NaN if no pixel was counted."""
    return _mean(_ratio(np.diag(confusion_matrix), confusion_matrix.sum(axis=1)))


def frequency_weighted_iou(confusion_matrix: np.ndarray) -> float:
    """Mean of `iou_per_class`, each weighted by its share of the labels; NaN if no pixel was counted."""
    frequency = _ratio(confusion_matrix.sum(axis=1), confusion_matrix.sum())
    iou = iou_per_class(confusion_matrix)
    counted = ~np.isnan(iou)
    return float((frequency[counted] * iou[counted]).sum()) if counted.any() else float("nan")


def boundary_iou_per_class(boundary_counts: np.ndarray) -> np.ndarray:
    """Boundary IoU of each class, float64[C]; NaN for a class without boundary. Cheng et al. 2021 (arXiv:2103.16562).

    The IoU of those pixels of a class's regions, in label and prediction, that lie near the regions' edges.
    """
    label, predicted, common = np.asarray(boundary_counts).T[:3]
    return _ratio(common, label + predicted - common)


def boundary_f_score(boundary_counts: np.ndarray) -> float:
    """Mean over classes of the harmonic mean of a contour's precision and recall; NaN if there was no contour.

    Precision is the share of the predicted contours' pixels near which the label has the contour of the same class,
    recall the other way around. Csurka et al. 2013 (BMVC, "What is a good evaluation measure for semantic
    segmentation?"), but counted over the data set, as mean IoU is, instead of averaged over pictures.
    """
    label, found, predicted, right = np.asarray(boundary_counts).T[3:]
    recall, precision = _ratio(found, label, of_nothing=0), _ratio(right, predicted, of_nothing=0)
    score = _ratio(2 * precision * recall, precision + recall, of_nothing=0)
    return _mean(np.where(label + predicted > 0, score, np.nan))


def _ratio(part, whole, of_nothing: float = np.nan) -> np.ndarray:
    """part / whole as float64, and `of_nothing` where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full_like(part, of_nothing), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Over those that are no NaN; NaN if there are none."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else float("nan")
