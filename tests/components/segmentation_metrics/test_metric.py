"""The TFMA metric, in TFMA's own evaluator, under the pipeline's own configuration."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing import util
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators.metrics_plots_and_validations_evaluator import (
    MetricsPlotsAndValidationsEvaluator,
)
from tensorflow_model_analysis.utils.config_util import update_eval_config_with_defaults

from pipeline.config import Eval
from pipeline.pipeline import BASELINE, CANDIDATE, eval_config
from trainer import confusion
from trainer.labels import VOC2012

RNG = np.random.default_rng(0)
MATRICES = RNG.integers(0, 50, (5, len(VOC2012.names), len(VOC2012.names)))


@pytest.mark.parametrize("has_baseline", [False, True])
def test_metrics_of_the_sum_of_the_matrices(has_baseline):
    """Each model's numbers come from the sum of its own matrices; the baseline's here are transposed."""
    config = update_eval_config_with_defaults(
        eval_config(Eval(), VOC2012), has_baseline=has_baseline, rubber_stamp=True
    )
    totals = {CANDIDATE: MATRICES.sum(0), BASELINE: MATRICES.sum(0).T} if has_baseline else {"": MATRICES.sum(0)}
    extracts = [
        {
            constants.SLICE_KEY_TYPES_KEY: [()],
            constants.FEATURES_KEY: {},
            constants.PREDICTIONS_KEY: {CANDIDATE: matrix, BASELINE: matrix.T} if has_baseline else matrix,
        }
        for matrix in MATRICES
    ]

    def check(results):
        ((slice_key, by_key),) = results
        metrics = {(key.name, key.model_name, key.is_diff): value for key, value in by_key.items()}
        assert slice_key == ()
        for name, total in totals.items():
            assert metrics["mean_iou", name, False] == pytest.approx(confusion.mean_iou(total), rel=1e-12)
            assert metrics["pixel_accuracy", name, False] == pytest.approx(confusion.pixel_accuracy(total))
            for class_name, iou in zip(VOC2012.names, confusion.iou_per_class(total), strict=True):
                assert metrics[f"iou/{class_name}", name, False] == pytest.approx(iou)
        if has_baseline:
            difference = confusion.mean_iou(totals[CANDIDATE]) - confusion.mean_iou(totals[BASELINE])
            assert metrics["mean_iou", CANDIDATE, True] == pytest.approx(difference)

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        evaluator = MetricsPlotsAndValidationsEvaluator(eval_config=config)
        evaluation = pipeline | beam.Create(extracts) | evaluator.ptransform
        util.assert_that(evaluation[constants.METRICS_KEY], check)


@pytest.mark.parametrize(("floor", "change", "passes"), [(0.0, -1, True), (0.99, -1, False), (0.0, 0.5, False)])
def test_the_thresholds_find_their_metric(floor, change, passes):
    """TFMA itself judges: a threshold whose metric it does not find would refuse every model."""
    config = update_eval_config_with_defaults(
        eval_config(Eval(min_mean_iou=floor, min_mean_iou_change=change), VOC2012), has_baseline=True, rubber_stamp=True
    )
    extracts = [
        {
            constants.SLICE_KEY_TYPES_KEY: [()],
            constants.FEATURES_KEY: {},
            constants.PREDICTIONS_KEY: {CANDIDATE: matrix, BASELINE: matrix},
        }
        for matrix in MATRICES
    ]

    def check(results):
        (validation,) = results
        assert validation.validation_ok == passes
        assert not [f for v in validation.metric_validations_per_slice for f in v.failures if f.message]

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        evaluator = MetricsPlotsAndValidationsEvaluator(eval_config=config)
        evaluation = pipeline | beam.Create(extracts) | evaluator.ptransform
        util.assert_that(evaluation[constants.VALIDATIONS_KEY], check)
