"""An evaluation, and what became of other formats, made by hand."""

from __future__ import annotations

from components.artifacts.evaluation import Check, Evaluation, ModelEvaluation, Scores, Slice
from components.artifacts.exports import ExportedModel
from schema.labels import Labels
from trainer.common.metrics import OVERALL_METRICS, iou_name, metric_names


def scores_of(labels: Labels, pictures: int, ious: tuple[float | None, ...], mean_iou: float = 0.7) -> Scores:
    """Made-up metrics: IoUs as given, all overall metrics like mean IoU."""
    metrics: dict[str, float | None] = dict.fromkeys(metric_names(labels.names))
    metrics |= {iou_name(name): iou for name, iou in zip(labels.names, ious, strict=True)}
    metrics |= dict.fromkeys(OVERALL_METRICS, mean_iou)
    return Scores(pictures=pictures, metrics=metrics, intervals={"mean_iou": (mean_iou - 0.1, mean_iou + 0.1)})


def evaluation_of(labels: Labels) -> Evaluation:
    """A blessed model: good at the first class, bad at the second, and the others were not seen."""
    classes = len(labels.classes)
    matrix = tuple(tuple(int(row == column < 2) for column in range(classes)) for row in range(classes))
    unseen = (None,) * (classes - 2)
    floor = Check(
        metric="mean_iou", key="eval.min_mean_iou", wanted=0.5, is_change=False, value=0.7, passed=True, sentence="0.7!"
    )
    small = Slice(feature="object_size", value="small", scores=scores_of(labels, 2, (0.5, 0.0, *unseen), 0.25))
    return Evaluation(
        class_names=labels.names,
        candidate=ModelEvaluation(
            uri="/models/1",
            overall=scores_of(labels, 7, (0.9, 0.4, *unseen)),
            slices=(small,),
            confusion_matrix=matrix,
        ),
        baseline=None,
        not_compared="there was no good model before",
        blessed=True,
        checks=(floor,),
    )


def exports_of() -> tuple[ExportedModel, ...]:
    """One that was kept, one that loses too much, and one that could not be made."""
    common = {"image_size": 65, "padding_color": (128, 128, 128), "model_mean_iou": 0.7, "pictures": 12}
    small = {"mean_iou": 0.6951, "mean_iou_loss": 0.0049, "size_bytes": 2_612_345, "ms_per_picture": 31.4}
    bad = {"mean_iou": 0.6, "mean_iou_loss": 0.1, "size_bytes": 1_300_000, "ms_per_picture": 22.0}
    return (
        ExportedModel(format="litert_float16", file="model.tflite", **small, **common),
        ExportedModel(format="litert_int8", reason="its mean IoU is 0.6000", **bad, **common),
        ExportedModel(format="onnx", reason="it could not be made: a|b <c>", **common),
    )
