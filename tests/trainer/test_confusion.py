"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from trainer import confusion

# Label 0: 6 pixels, 5 of them right. Label 1: 3 pixels, 2 right. Label 2: nowhere, predicted once. Label 3: unseen.
MATRIX = np.array([[5, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_iou_per_class():
    np.testing.assert_allclose(confusion.iou_per_class(MATRIX), [5 / 6, 2 / 4, 0, np.nan])


def test_mean_iou_is_over_the_classes_that_are_there():
    assert confusion.mean_iou(MATRIX) == pytest.approx((5 / 6 + 2 / 4 + 0) / 3)


def test_pixel_accuracy():
    assert confusion.pixel_accuracy(MATRIX) == pytest.approx(7 / 9)


def test_perfect_prediction():
    assert confusion.mean_iou(np.diag([3, 7, 0])) == 1.0


def test_nothing_counted():
    empty = np.zeros((3, 3), int)
    assert np.isnan(confusion.mean_iou(empty))
    assert np.isnan(confusion.pixel_accuracy(empty))


def test_agrees_with_keras():
    import keras

    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, (2, 1000))
    labels[rng.random(1000) < 0.2] = 255
    matrix = np.zeros((5, 5), int)
    valid = labels != 255
    np.add.at(matrix, (labels[valid], predictions[valid]), 1)
    reference = keras.metrics.MeanIoU(num_classes=5, ignore_class=255)
    reference.update_state(labels, predictions)
    assert confusion.mean_iou(matrix) == pytest.approx(float(reference.result()), abs=1e-6)
