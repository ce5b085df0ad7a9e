"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from trainer.common import metrics

# Label 0: 6 pixels, 5 of them right. Label 1: 3 pixels, 2 right. Label 2: nowhere, predicted once. Label 3: unseen.
MATRIX = np.array([[5, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_iou_per_class():
    np.testing.assert_allclose(metrics.iou_per_class(MATRIX), [5 / 6, 2 / 4, 0, np.nan])


def test_mean_iou_is_over_the_classes_that_are_there():
    assert metrics.mean_iou(MATRIX) == pytest.approx((5 / 6 + 2 / 4 + 0) / 3)


def test_pixel_accuracy():
    assert metrics.pixel_accuracy(MATRIX) == pytest.approx(7 / 9)


def test_perfect_prediction():
    assert metrics.mean_iou(np.diag([3, 7, 0])) == 1.0


def test_nothing_counted():
    empty = np.zeros((3, 3), int)
    assert np.isnan(metrics.mean_iou(empty))
    assert np.isnan(metrics.pixel_accuracy(empty))


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
    assert metrics.mean_iou(matrix) == pytest.approx(float(reference.result()), abs=1e-6)


def test_mean_accuracy_is_over_the_classes_of_the_labels():
    assert metrics.mean_accuracy(MATRIX) == pytest.approx((5 / 6 + 2 / 3) / 2)


def test_frequency_weighted_iou():
    assert metrics.frequency_weighted_iou(MATRIX) == pytest.approx((6 * 5 / 6 + 3 * 2 / 4) / 9)


# Columns as in BOUNDARY_COUNTS. The second class was missed, the third is nowhere.
BOUNDARY = np.array([[10, 8, 6, 4, 3, 5, 2], [7, 0, 0, 3, 0, 0, 0], [0] * 7])


def test_boundary_iou():
    np.testing.assert_allclose(metrics.boundary_iou_per_class(BOUNDARY), [6 / 12, 0, np.nan])


def test_the_boundary_f_score_is_the_harmonic_mean_of_precision_and_recall():
    precision, recall = 2 / 5, 3 / 4
    first = 2 * precision * recall / (precision + recall)
    assert metrics.boundary_f_score(BOUNDARY) == pytest.approx((first + 0) / 2)


def test_each_name_has_its_value():
    names, values = metrics.metric_names(["a", "b", "c", "d"]), metrics.metric_values(MATRIX, np.zeros((4, 7), int))
    found = dict(zip(names, values, strict=True))
    assert found["mean_iou"] == metrics.mean_iou(MATRIX)
    assert found["iou/b"] == 2 / 4
    assert np.isnan(found["boundary_iou/b"])
    assert np.isnan(found["boundary_f_score"])
