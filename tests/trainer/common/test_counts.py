"""Counts of the graph against the plainest way of counting the same."""

import numpy as np
import pytest
import tensorflow as tf

from schema.labels import IGNORE_LABEL
from trainer.common import counts
from trainer.common.counts import BOUNDARY_DISTANCE, CONTOUR_DISTANCE, boundary_counts, confusion_matrix
from trainer.common.metrics import BOUNDARY_COUNTS, boundary_f_score, boundary_iou_per_class

RNG = np.random.default_rng(0)


def blobs(height: int, width: int, classes: int, cell: int = 9) -> np.ndarray:
    """Blocks of random classes, int32[H, W], with edges at no even places."""
    coarse = RNG.integers(0, classes, (height // cell + 2, width // cell + 2))
    return np.kron(coarse, np.ones((cell, cell), int))[3 : 3 + height, 5 : 5 + width].astype(np.int32)


def dilated(mask: np.ndarray, distance: int, outside: bool = False) -> np.ndarray:
    """Dilates bool[H, W] by 3 x 3 pixels so many times."""
    for _ in range(distance):
        padded = np.pad(mask, 1, constant_values=outside)
        mask = np.any(
            [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)], axis=0
        )
    return mask


def plain_counts(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """One class after the other, as the definitions say it."""
    diagonal = np.hypot(*label.shape)
    near, far = (max(round(float(share * diagonal)), 1) for share in (CONTOUR_DISTANCE, BOUNDARY_DISTANCE))
    prediction = np.where(label == IGNORE_LABEL, IGNORE_LABEL, prediction)
    rows = []
    for index in range(classes):
        masks = [label == index, prediction == index]
        # Erosion is dilation of what is outside; the picture ends where everything is outside.
        regions = [mask & dilated(~mask, far, outside=True) for mask in masks]
        contours = [mask & dilated(~mask, 1) for mask in masks]
        met = [contours[0] & dilated(contours[1], near), contours[1] & dilated(contours[0], near)]
        counted = [*regions, regions[0] & regions[1], contours[0], met[0], contours[1], met[1]]
        rows.append([mask.sum() for mask in counted])
    return np.array(rows)


@pytest.mark.parametrize(("size", "classes"), [((120, 97), 5), ((40, 200), 21), ((61, 61), 40), ((3, 5), 2)])
@pytest.mark.parametrize("void", [0.0, 0.3])
def test_boundary_counts_are_those_of_the_definitions(size, classes, void):
    label, prediction = blobs(*size, classes), blobs(*size, classes)
    label = np.where(blobs(*size, 10, cell=4) < 10 * void, IGNORE_LABEL, label).astype(np.int32)
    counted = boundary_counts(tf.constant(label), tf.constant(prediction), classes).numpy()
    assert BOUNDARY_COUNTS.index("common_boundary") == 2
    np.testing.assert_array_equal(counted, plain_counts(label, prediction, classes))


@pytest.mark.parametrize("band", [1, 700, 3000])
def test_large_pictures_are_counted_in_bands(monkeypatch, band):
    label, prediction = blobs(90, 70, 6), blobs(90, 70, 6)
    monkeypatch.setattr(counts, "_BAND", band)
    counted = boundary_counts(tf.constant(label), tf.constant(prediction), 6).numpy()
    np.testing.assert_array_equal(counted, plain_counts(label, prediction, 6))


def test_void_takes_nothing_from_a_perfect_prediction():
    label = blobs(90, 120, 4)
    void = dilated(np.diff(label, prepend=label[:, :1], axis=1) != 0, 2)
    labelled = np.where(void, IGNORE_LABEL, label).astype(np.int32)
    counted = boundary_counts(tf.constant(labelled), tf.constant(label), 4).numpy()
    np.testing.assert_array_equal(boundary_iou_per_class(counted), 1)
    assert boundary_f_score(counted) == 1


def test_a_prediction_that_is_off_loses_more_at_boundaries_than_inside():
    label = blobs(200, 200, 2, cell=50)
    off = np.roll(label, 2, axis=1)
    iou = [
        (label & off).sum() / (label | off).sum(),
        boundary_iou_per_class(boundary_counts(tf.constant(label), tf.constant(off), 2).numpy())[1],
    ]
    assert iou[0] > 0.9 > iou[1] > 0.3


def test_the_confusion_matrix_counts_pixels_by_label_and_prediction():
    label, prediction = blobs(30, 40, 5), blobs(30, 40, 5)
    label[:4] = IGNORE_LABEL
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (label[4:], prediction[4:]), 1)
    np.testing.assert_array_equal(confusion_matrix(tf.constant(label), tf.constant(prediction), 5), expected)
