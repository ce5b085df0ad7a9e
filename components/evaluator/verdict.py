"""From what TFMA has written to an `Evaluation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics.metric_specs import metric_thresholds_from_metrics_specs
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

from components.artifacts.evaluation import BASELINE, CANDIDATE, Check, Evaluation, ModelEvaluation, Scores, Slice
from components.evaluator.metric import CONFUSION_MATRIX, PICTURES
from trainer.common.metrics import MEAN_IOU, iou_name, number

SliceKey = tuple[tuple[str, str], ...]
"""Of a slice, feature and value; of all pictures, empty."""


def evaluation_of(
    output: str,
    *,
    asked: config_pb2.EvalConfig,
    eval_config: config_pb2.EvalConfig,
    class_names: tuple[str, ...],
    candidate_uri: str,
    baseline_uri: str | None,
    not_compared: str | None,
) -> Evaluation:
    """Reads TFMA's results, and puts its verdict into words.

    Args:
        output: folder that TFMA has written to.
        asked: the configuration as it was given.
        eval_config: that TFMA has worked by; without a model to compare with, changes are not in it.
        class_names: the classes, in the order of their indices.
        candidate_uri: of the `Model` artifact that was judged.
        baseline_uri: of the one that it was compared with, if there was one.
        not_compared: why there was none.
    """
    scores: dict[str, dict[SliceKey, Scores]] = {CANDIDATE: {}, BASELINE: {}}
    for of_slice in tfma.load_metrics(output):
        key = _slice_key(of_slice.slice_key)
        for model in scores:
            if found := _scores(of_slice, model):
                scores[model][key] = found
    matrices: dict[str, np.ndarray] = {}
    for of_plots in tfma.load_plots(output):
        if not _slice_key(of_plots.slice_key):
            for plot in of_plots.plot_keys_and_values:
                if plot.key.name == CONFUSION_MATRIX:
                    matrices[plot.key.model_name or CANDIDATE] = _matrix(plot.value, len(class_names))

    def of_model(model: str, uri: str) -> ModelEvaluation:
        slices = (
            Slice(feature=feature, value=value, scores=of_slice)
            for key, of_slice in sorted(scores[model].items())
            for feature, value in key
        )
        return ModelEvaluation(
            uri=uri,
            overall=scores[model][()],
            slices=tuple(slices),
            confusion_matrix=tuple(map(tuple, matrices[model].tolist())),
        )

    validation = tfma.load_validation_result(output)
    judged = tuple(_checks(eval_config, validation, scores, baseline_uri))
    unjudged = tuple(_without_comparison(asked, baseline_uri, scores))
    return Evaluation(
        class_names=class_names,
        candidate=of_model(CANDIDATE, candidate_uri),
        baseline=None if baseline_uri is None else of_model(BASELINE, baseline_uri),
        not_compared=not_compared,
        # TFMA's word, unless it had nothing to judge.
        blessed=validation.validation_ok if judged else bool(unjudged) and all(check.passed for check in unjudged),
        checks=judged + unjudged,
    )


def _slice_key(key: metrics_for_slice_pb2.SliceKey) -> SliceKey:
    return tuple((single.column, single.bytes_value.decode()) for single in key.single_slice_keys)


def _scores(of_slice: metrics_for_slice_pb2.MetricsForSlice, model: str) -> Scores | None:
    """One model's metrics; None if it was not run. A single model has no name."""
    metrics: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for pair in of_slice.metric_keys_and_values:
        if pair.key.is_diff or (pair.key.model_name or CANDIDATE) != model:
            continue
        # Why there is no interval, TFMA says as a metric of its own, of a text.
        if not pair.value.HasField("double_value"):
            continue
        metrics[pair.key.name] = number(pair.value.double_value.value)
        if pair.HasField("confidence_interval"):
            interval = pair.confidence_interval
            low, high = interval.lower_bound.double_value.value, interval.upper_bound.double_value.value
            if np.isfinite([low, high]).all():
                intervals[pair.key.name] = (low, high)
    if not metrics:
        return None
    pictures = metrics.pop(PICTURES) or 0
    intervals.pop(PICTURES, None)
    return Scores(pictures=round(pictures), metrics=metrics, intervals=intervals)


def _matrix(plot: metrics_for_slice_pb2.PlotData, classes: int) -> np.ndarray:
    matrix = np.zeros((classes, classes), np.int64)
    for entry in plot.multi_class_confusion_matrix_at_thresholds.matrices[0].entries:
        matrix[entry.actual_class_id, entry.predicted_class_id] = entry.num_weighted_examples
    return matrix


def _checks(
    eval_config: config_pb2.EvalConfig,
    validation: validation_result_pb2.ValidationResult,
    scores: Mapping[str, Mapping[SliceKey, Scores]],
    baseline_uri: str | None,
) -> Iterator[Check]:
    """Each threshold, with TFMA's verdict on it."""
    failed = {
        (failure.metric_key.name, failure.metric_key.is_diff, _slice_key(of_slice.slice_key))
        for of_slice in validation.metric_validations_per_slice
        for failure in of_slice.failures
    }
    judged = set()
    missing = {tuple(spec.feature_values.items()) for spec in validation.missing_slices}
    for metric, thresholds in metric_thresholds_from_metrics_specs(
        eval_config.metrics_specs, eval_config=eval_config
    ).items():
        if metric.model_name == BASELINE:
            continue
        for spec, threshold in thresholds:
            key = tuple(spec.feature_values.items()) if spec is not None else ()
            judged.add((metric.name, metric.is_diff, key))
            passed = (metric.name, metric.is_diff, key) not in failed and key not in missing
            yield _check(metric.name, metric.is_diff, key, threshold, passed, scores, baseline_uri)
    if failed - judged:
        raise RuntimeError(f"TFMA refuses the model for {sorted(failed - judged)}, of which no threshold speaks")


def _without_comparison(
    asked: config_pb2.EvalConfig, baseline_uri: str | None, scores: Mapping[str, Mapping[SliceKey, Scores]]
) -> Iterator[Check]:
    """The changes that were asked for where there is no model to differ from: the first model meets them."""
    if baseline_uri is not None:
        return
    for metric, thresholds in metric_thresholds_from_metrics_specs(asked.metrics_specs, eval_config=asked).items():
        for _, threshold in thresholds:
            if metric.is_diff and metric.model_name != BASELINE:
                counted = scores[CANDIDATE][()].metrics[metric.name] is not None
                yield _check(metric.name, True, (), threshold, counted, scores, None)


def _check(
    metric: str,
    is_change: bool,
    key: SliceKey,
    threshold: config_pb2.GenericValueThreshold | config_pb2.GenericChangeThreshold,
    passed: bool,
    scores: Mapping[str, Mapping[SliceKey, Scores]],
    baseline_uri: str | None,
) -> Check:
    values = {model: slices[key].metrics[metric] if key in slices else None for model, slices in scores.items()}
    wanted = threshold.absolute.value if is_change else threshold.lower_bound.value
    check = Check(
        metric=metric,
        slice=key[0] if key else None,
        key=_configuration_key(metric, is_change, key),
        wanted=wanted,
        is_change=is_change,
        value=values[CANDIDATE],
        baseline=values[BASELINE] if is_change else None,
        passed=passed,
        sentence="",
    )
    return check.model_copy(update={"sentence": _sentence(check, baseline_uri)})


def _configuration_key(metric: str, is_change: bool, key: SliceKey) -> str:
    """Where the threshold stands in the configuration; the counterpart of `pipeline.eval_config`."""
    if is_change:
        return "eval.min_mean_iou_change"
    if key:
        return f"eval.min_slice_mean_iou.{key[0][0]}.{key[0][1]}"
    return "eval.min_mean_iou" if metric == MEAN_IOU else f"eval.min_iou.{metric.removeprefix(iou_name(''))}"


def _sentence(check: Check, baseline_uri: str | None) -> str:
    """A threshold and how the model stands to it, in words."""
    what = "mean IoU" if check.metric == MEAN_IOU else f"IoU of {check.metric.removeprefix(iou_name(''))}"
    if check.slice is not None:
        feature, value = check.slice
        what = f"{what} on the slice {feature} {value}"
    if check.value is None:
        found = "no picture is in it" if check.slice is not None else "no pixel was counted"
        return f"{what} cannot be told, {found}; {check.key} asks for {check.wanted:.4g}"
    if not check.is_change:
        relation = "reaches" if check.passed else "is below"
        return f"{what} {check.value:.4f} {relation} the floor {check.key} {check.wanted:.4g}"
    if check.baseline is None:
        return f"{what} {check.value:.4f} has nothing to be compared with, so {check.key} asks for nothing"
    return (
        f"{what} {check.value:.4f} differs by {check.value - check.baseline:+.4f} from the {check.baseline:.4f} of "
        f"{baseline_uri}; {check.key} asks for at least {check.wanted:+.4g}"
    )
