"""Segmentation metrics for TFMA, from the confusion matrices that the model's `confusion` signature computes."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics.metric_types import (
    DerivedMetricComputation,
    Metric,
    MetricComputation,
    MetricComputations,
    MetricKey,
    StandardMetricInputsPreprocessor,
)

from trainer import confusion

MEAN_IOU = "mean_iou"
PIXEL_ACCURACY = "pixel_accuracy"


def iou_name(class_name: str) -> str:
    """The name of one class's metric."""
    return f"iou/{class_name}"


class SegmentationMetrics(Metric):
    """`mean_iou`, `pixel_accuracy` and `iou/<class>` over a data set.

    Args:
        class_names: the classes, in the order of their indices.
        name: of the metric as a whole.
    """

    def __init__(self, class_names: Sequence[str], name: str = "segmentation"):
        super().__init__(_computations, class_names=list(class_names), name=name)


def _computations(
    class_names: Sequence[str], name: str = "segmentation", model_names: Sequence[str] | None = None
) -> MetricComputations:
    computations: MetricComputations = []
    for model_name in model_names or [""]:
        # A leading underscore keeps the sum out of TFMA's results.
        sum_key = _key(f"_{name}_confusion_matrix", model_name)
        names = [MEAN_IOU, PIXEL_ACCURACY, *map(iou_name, class_names)]
        keys = [_key(metric, model_name) for metric in names]
        # TFMA's default preprocessor asks for labels, which these models have inside their signature.
        preprocessor = StandardMetricInputsPreprocessor(
            include_filter={constants.PREDICTIONS_KEY: {}}, include_default_inputs=False, model_names=[model_name]
        )
        computations += [
            MetricComputation([sum_key], [preprocessor], _SumConfusionMatrices(sum_key, len(class_names))),
            DerivedMetricComputation(keys, _Derive(sum_key, keys)),
        ]
    return computations


def _key(name: str, model_name: str) -> MetricKey:
    # TFMA looks for the metrics that a MetricsSpec has thresholds for under keys that do not speak of weights.
    return MetricKey(name=name, model_name=model_name, example_weighted=None)


class _SumConfusionMatrices(beam.CombineFn):
    """Sums the matrices of the pictures of a slice."""

    def __init__(self, key: MetricKey, num_classes: int):
        self._key = key
        self._num_classes = num_classes

    def create_accumulator(self):
        return np.zeros((self._num_classes, self._num_classes), np.int64)

    def add_input(self, accumulator, element):
        matrix = np.asarray(element.get_predictions(self._key.model_name)).reshape(accumulator.shape)
        return accumulator + matrix

    def merge_accumulators(self, accumulators):
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator):
        return {self._key: accumulator}


class _Derive:
    """Computes every metric from the sum."""

    def __init__(self, sum_key: MetricKey, keys: Sequence[MetricKey]):
        self._sum_key = sum_key
        self._keys = keys

    def __call__(self, metrics: dict) -> dict:
        matrix = metrics[self._sum_key]
        values = [confusion.mean_iou(matrix), confusion.pixel_accuracy(matrix), *confusion.iou_per_class(matrix)]
        return dict(zip(self._keys, map(float, values), strict=True))
