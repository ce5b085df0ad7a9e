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

from components.artifacts.evaluation import BASELINE, CANDIDATE
from pipeline.config.sections import Eval
from pipeline.eval_config import eval_config
from schema.labels import VOC2012
from trainer.common.metrics import BOUNDARY_COUNTS, metric_names, metric_values

RNG = np.random.default_rng(0)
CLASSES = len(VOC2012.names)
MATRICES = RNG.integers(0, 50, (5, CLASSES, CLASSES))
BOUNDARY = np.sort(RNG.integers(0, 50, (5, CLASSES, len(BOUNDARY_COUNTS))))[:, :, ::-1]


def counts(matrix, boundary):
    return {"confusion_matrix": matrix, "boundary_counts": boundary}


def extracts_of(models: list[str], slices: list[list[tuple]] | None = None):
    """What comes of the pictures; the baseline takes each class for the one before."""
    extracts = []
    for index, (matrix, boundary) in enumerate(zip(MATRICES, BOUNDARY, strict=True)):
        predictions = {CANDIDATE: counts(matrix, boundary), BASELINE: counts(np.roll(matrix, 1, axis=1), boundary)}
        extracts.append(
            {
                constants.SLICE_KEY_TYPES_KEY: [(), *(slices[index] if slices else [])],
                constants.FEATURES_KEY: {},
                constants.PREDICTIONS_KEY: predictions if BASELINE in models else predictions[CANDIDATE],
            }
        )
    return extracts


def evaluated(gate: Eval, extracts, key: str, check, *, has_baseline: bool) -> None:
    """Runs TFMA's own evaluator and hands what it puts out under a key to `check`."""
    config = update_eval_config_with_defaults(eval_config(gate, VOC2012), has_baseline=has_baseline, rubber_stamp=True)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        evaluator = MetricsPlotsAndValidationsEvaluator(eval_config=config)
        evaluation = pipeline | beam.Create(extracts) | evaluator.ptransform
        util.assert_that(evaluation[key], check)


@pytest.mark.parametrize("has_baseline", [False, True])
def test_metrics_of_the_sums_of_the_counts(has_baseline):
    """Each model's numbers come from the sum of its own counts."""
    totals = (
        {CANDIDATE: MATRICES.sum(0), BASELINE: np.roll(MATRICES.sum(0), 1, axis=1)}
        if has_baseline
        else {"": MATRICES.sum(0)}
    )

    def check(results):
        ((slice_key, by_key),) = results
        found = {(key.name, key.model_name, key.is_diff): value for key, value in by_key.items()}
        assert slice_key == ()
        expected = {
            model: dict(zip(metric_names(VOC2012.names), metric_values(total, BOUNDARY.sum(0)), strict=True))
            for model, total in totals.items()
        }
        for model, metrics in expected.items():
            assert found["pictures", model, False] == len(MATRICES)
            for name, value in metrics.items():
                assert found[name, model, False] == pytest.approx(value, rel=1e-12), name
        if has_baseline:
            difference = expected[CANDIDATE]["mean_iou"] - expected[BASELINE]["mean_iou"]
            assert difference != 0
            assert found["mean_iou", CANDIDATE, True] == pytest.approx(difference)

    evaluated(Eval(), extracts_of(list(totals)), constants.METRICS_KEY, check, has_baseline=has_baseline)


def test_a_slice_s_metrics_are_those_of_its_pictures():
    cat = (("class", "cat"),)

    def check(results):
        found = {slice_key: {key.name: value for key, value in by_key.items()} for slice_key, by_key in results}
        assert found[cat]["pictures"] == 2
        values = metric_values(MATRICES[:2].sum(0), BOUNDARY[:2].sum(0))
        assert found[cat]["mean_iou"] == pytest.approx(values[metric_names(VOC2012.names).index("mean_iou")])

    slices = [[cat], [cat], [], [], []]
    evaluated(Eval(), extracts_of([""], slices), constants.METRICS_KEY, check, has_baseline=False)


def test_the_confusion_matrix_is_a_plot():
    def check(results):
        ((_, by_key),) = results
        (plot,) = by_key.values()
        found = np.zeros((CLASSES, CLASSES))
        for entry in plot.matrices[0].entries:
            found[entry.actual_class_id, entry.predicted_class_id] = entry.num_weighted_examples
        np.testing.assert_array_equal(found, MATRICES.sum(0))

    evaluated(Eval(), extracts_of([""]), constants.PLOTS_KEY, check, has_baseline=False)


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_confidence_intervals_hold_the_value(method):
    def check(results):
        ((_, by_key),) = results
        (value,) = (value for key, value in by_key.items() if key.name == "mean_iou")
        assert value.sample_standard_deviation > 0

    extracts = extracts_of([""]) * 8
    evaluated(Eval(confidence_intervals=method), extracts, constants.METRICS_KEY, check, has_baseline=False)


@pytest.mark.parametrize(("floor", "change", "passes"), [(0.0, -1, True), (0.99, -1, False), (0.0, 0.5, False)])
def test_the_thresholds_find_their_metric(floor, change, passes):
    """TFMA itself judges: a threshold whose metric it does not find would refuse every model."""

    def check(results):
        (validation,) = results
        assert validation.validation_ok == passes
        assert not [f for v in validation.metric_validations_per_slice for f in v.failures if f.message]

    gate = Eval(min_mean_iou=floor, min_mean_iou_change=change)
    evaluated(gate, extracts_of([CANDIDATE, BASELINE]), constants.VALIDATIONS_KEY, check, has_baseline=True)
