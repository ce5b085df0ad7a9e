"""Segmentation metrics for TFMA, from the counts that the model's `confusion` signature makes.

Their formulas are in `trainer.common.metrics`.
"""

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
    PlotKey,
    StandardMetricInputsPreprocessor,
)
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MultiClassConfusionMatrixAtThresholds

from schema import features
from trainer.common.metrics import Counts, metric_names, metric_values

PICTURES = "pictures"
"""The metric that says how many pictures a slice has."""
CONFUSION_MATRIX = "confusion_matrix"
"""The plot."""


class SegmentationMetrics(Metric):
    """`metric_names` of `trainer.common.metrics`, the number of images and the confusion matrix, for each slice.

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
        # A leading underscore keeps the sums out of TFMA's results.
        sum_key = _key(f"_{name}_counts", model_name)
        keys = [_key(metric, model_name) for metric in [PICTURES, *metric_names(class_names)]]
        plot_key = PlotKey(name=CONFUSION_MATRIX, model_name=model_name)
        # TFMA's default preprocessor asks for labels, which these models have inside their signature.
        preprocessor = StandardMetricInputsPreprocessor(
            include_filter={constants.PREDICTIONS_KEY: {}}, include_default_inputs=False, model_names=[model_name]
        )
        computations += [
            MetricComputation([sum_key], [preprocessor], _SumCounts(sum_key, len(class_names))),
            DerivedMetricComputation(keys, _Derive(sum_key, keys)),
            DerivedMetricComputation([plot_key], _Plot(sum_key, plot_key)),
        ]
    return computations


def _key(name: str, model_name: str) -> MetricKey:
    # TFMA looks for the metrics that a MetricsSpec has thresholds for under keys that do not speak of weights.
    return MetricKey(name=name, model_name=model_name, example_weighted=None)


class _SumCounts(beam.CombineFn):
    """Sums the counts of the pictures of a slice."""

    def __init__(self, key: MetricKey, num_classes: int):
        self._key = key
        self._num_classes = num_classes

    def create_accumulator(self):
        return Counts.of_none(self._num_classes)

    def add_input(self, accumulator, element):
        counts = element.get_predictions(self._key.model_name)
        return accumulator + Counts(
            1,
            np.reshape(counts[features.CONFUSION_MATRIX], accumulator.confusion_matrix.shape),
            np.reshape(counts[features.BOUNDARY_COUNTS], accumulator.boundary.shape),
        )

    def merge_accumulators(self, accumulators):
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator):
        return {self._key: accumulator}


class _Derive:
    """Computes every metric from the sums."""

    def __init__(self, sum_key: MetricKey, keys: Sequence[MetricKey]):
        self._sum_key = sum_key
        self._keys = keys

    def __call__(self, metrics: dict) -> dict:
        counts = metrics[self._sum_key]
        values = [float(counts.pictures), *metric_values(counts.confusion_matrix, counts.boundary)]
        return dict(zip(self._keys, values, strict=True))


class _Plot:
    """Puts the confusion matrix into TFMA's form of it."""

    def __init__(self, sum_key: MetricKey, key: PlotKey):
        self._sum_key = sum_key
        self._key = key

    def __call__(self, metrics: dict) -> dict:
        plot = MultiClassConfusionMatrixAtThresholds()
        matrix = plot.matrices.add(threshold=0.0)
        # With many classes most pairs never occur, and every slice has a plot.
        counts = metrics[self._sum_key].confusion_matrix
        for label, prediction in np.argwhere(counts).tolist():
            pixels = counts[label, prediction]
            matrix.entries.add(actual_class_id=label, predicted_class_id=prediction, num_weighted_examples=pixels)
        return {self._key: plot}
