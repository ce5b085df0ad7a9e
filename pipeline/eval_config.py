"""The section `eval` in TFMA's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tensorflow_model_analysis.proto import config_pb2

from components.artifacts.evaluation import BASELINE, CANDIDATE
from components.evaluator import metric
from pipeline.config.sections import Eval
from schema import features
from schema.labels import Labels
from trainer.common.metrics import MEAN_IOU, iou_name


def eval_config(gate: Eval, labels: Labels) -> config_pb2.EvalConfig:
    """The Evaluator's configuration: metrics from the counts of the `confusion` signature, slices and thresholds.

    Args:
        gate: the section.
        labels: the classes that are judged.
    """
    segmentation = config_pb2.MetricConfig(
        module=metric.__name__,
        class_name=metric.SegmentationMetrics.__name__,
        config=json.dumps({"class_names": labels.names}),
    )
    sliced = dict.fromkeys([*gate.slices, *gate.min_slice_mean_iou])
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=name, is_baseline=name == BASELINE, signature_name=features.CONFUSION_SIGNATURE)
            for name in (CANDIDATE, BASELINE)
        ],
        slicing_specs=[config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[name]) for name in sliced)],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[segmentation], per_slice_thresholds=_thresholds(gate)),
        ],
    )
    methods = {
        "jackknife": config_pb2.ConfidenceIntervalOptions.JACKKNIFE,
        "bootstrap": config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
    }
    if gate.confidence_intervals in methods:
        config.options.compute_confidence_intervals.value = True
        config.options.confidence_intervals.method = methods[gate.confidence_intervals]
    return config


def _floor(value: float) -> config_pb2.GenericValueThreshold:
    return config_pb2.GenericValueThreshold(lower_bound={"value": value})


def _thresholds(gate: Eval) -> dict[str, config_pb2.PerSliceMetricThresholds]:
    """By metric. Each names its slice, the empty one for all pictures: else TFMA would ask it of every slice."""
    mean_iou = config_pb2.MetricThreshold()
    if gate.min_mean_iou is not None:
        mean_iou.value_threshold.CopyFrom(_floor(gate.min_mean_iou))
    # Where nothing is to be compared, a change asks for nothing, and is no reason to bless.
    if gate.min_mean_iou_change is not None and gate.baseline != "none":
        mean_iou.change_threshold.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
        mean_iou.change_threshold.absolute.value = gate.min_mean_iou_change
    thresholds = {
        MEAN_IOU: [
            *([_of_slice({}, mean_iou)] if mean_iou.ByteSize() else []),
            *(
                _of_slice({name: value}, config_pb2.MetricThreshold(value_threshold=_floor(floor)))
                for name, floors in gate.min_slice_mean_iou.items()
                for value, floor in floors.items()
            ),
        ],
        **{
            iou_name(class_name): [_of_slice({}, config_pb2.MetricThreshold(value_threshold=_floor(floor)))]
            for class_name, floor in gate.min_iou.items()
        },
    }
    return {
        metric: config_pb2.PerSliceMetricThresholds(thresholds=of_metric)
        for metric, of_metric in thresholds.items()
        if of_metric
    }


def _of_slice(values: Mapping[str, str], threshold: config_pb2.MetricThreshold) -> config_pb2.PerSliceMetricThreshold:
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[config_pb2.SlicingSpec(feature_values=values)], threshold=threshold
    )
