"""What the Evaluator found, as numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow_model_analysis as tfma

from components.segmentation_metrics import metric

CANDIDATE = "candidate"
BASELINE = "baseline"
"""TFMA's names of the two models."""


@dataclass(frozen=True)
class Verdict:
    """Whether a model is good enough, and why not."""

    mean_iou: float
    """Of the new model, on the evaluation split."""
    baseline_mean_iou: float | None
    """Of the model that it is compared with, on the same pictures; None if there was none."""
    reasons: tuple[str, ...]
    """The thresholds that are broken, a sentence each."""


def read_verdict(evaluation_uri: str, min_mean_iou: float, min_mean_iou_change: float) -> Verdict:
    """Reads an evaluation.

    Args:
        evaluation_uri: folder of the `ModelEvaluation`.
        min_mean_iou: the floor that was asked for.
        min_mean_iou_change: the smallest difference to the baseline that was asked for.
    """
    values = _mean_ious(evaluation_uri)
    before = values.pop(BASELINE, None)
    (mean_iou,) = values.values()
    reasons = []
    for validation in tfma.load_validation_result(evaluation_uri).metric_validations_per_slice:
        for failure in validation.failures:
            if failure.message:
                reasons.append(f"{failure.metric_key.name} could not be judged: {failure.message}")
            elif failure.metric_key.is_diff and before is not None:
                reasons.append(
                    f"mean IoU {mean_iou:.4f} differs by {mean_iou - before:+.4f} from the last blessed model's "
                    f"{before:.4f}; eval.min_mean_iou_change asks for at least {min_mean_iou_change:+.4f}"
                )
            else:
                reasons.append(f"mean IoU {mean_iou:.4f} is below the floor eval.min_mean_iou {min_mean_iou:.4f}")
    return Verdict(mean_iou, before, tuple(reasons))


def _mean_ious(evaluation_uri: str) -> dict[str, float]:
    """Mean IoU over the whole split, by TFMA's name of the model."""
    return {
        pair.key.model_name: pair.value.double_value.value
        for metrics in tfma.load_metrics(evaluation_uri)
        if not metrics.slice_key.single_slice_keys
        for pair in metrics.metric_keys_and_values
        if pair.key.name == metric.MEAN_IOU and not pair.key.is_diff
    }
