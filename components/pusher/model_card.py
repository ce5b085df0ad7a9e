"""The model card that goes with a pushed model: what it is, what it was made of, how good it is, and how to call it.

Its sections follow Mitchell et al. 2019 (arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.evaluation import Evaluation, Scores
from components.artifacts.exports import PUSHED_FOLDER, ExportedModel
from schema.features import CLASS_PIXELS, MASK, SERVING_SIGNATURE
from schema.labels import Labels
from schema.section import Section
from trainer.common.metrics import OVERALL_METRICS, boundary_iou_name, decimal, words

CARD_JSON = "assets.extra/model_card.json"
CARD_MARKDOWN = "assets.extra/model_card.md"
"""In the pushed model's folder."""

INTENDED_USE = (
    "Semantic segmentation of photographs like those of the data below, into the classes below: each pixel gets one "
    "class. Single objects of a class are not told apart."
)
LIMITS = (
    "The numbers hold for pictures like those that were judged on; of others they say nothing. Classes with a low IoU, "
    "and slices with a low mean IoU, are listed because predictions there should not be relied upon. A picture larger "
    "than the network's canvas is made smaller before it is looked at, so small objects in large pictures are lost. "
    "The probabilities behind the classes were not calibrated and are not part of the answer."
)
WEAK_IOU = 0.5
"""Classes and slices below it are named among the limits."""
TOLD_HPS = ("batch_size", "optimizer", "lr", "lr_schedule", "weight_decay", "ema_momentum")
"""The hyperparameters that the card tells."""


class CardFacts(Section):
    """What the card tells that is known before the run."""

    name: str
    """Of the experiment."""
    deeplab: str
    """The version of this package."""
    base_model: str
    image_size: int
    """Side of the network's canvas, pixels."""
    output_stride: int
    data: Mapping[str, Any]
    """What the pictures are: `format` and `place`."""


def model_card(
    facts: CardFacts,
    evaluation: Evaluation,
    labels: Labels,
    pictures: Mapping[str, int],
    training: Mapping[str, Any],
    exports: Sequence[ExportedModel] = (),
) -> dict[str, Any]:
    """The card as JSON takes it.

    Args:
        facts: known before the run.
        evaluation: of the model.
        labels: the classes.
        pictures: how many, by split.
        training: what it was: `trainer.common.training_history.EFFECTIVE_FILE`.
        exports: what became of the other formats that were asked for.
    """
    settings = training.get("settings", {})
    hps = settings.get("hps", {})
    overall = evaluation.candidate.overall
    return {
        "name": facts.name,
        "version": {"deeplab": facts.deeplab},
        "model": {
            "architecture": "DeepLabV3+",
            "base_model": facts.base_model,
            "image_size": facts.image_size,
            "output_stride": facts.output_stride,
        },
        "data": {**facts.data, "pictures": dict(pictures)},
        "training": {
            "started_from": next(iter(settings.get("train", {}).get("init_from", [])), None),
            "steps": training.get("steps"),
            **{name: hps[name] for name in TOLD_HPS if hps.get(name) is not None},
        },
        "classes": [
            {
                "index": index,
                "name": item.name,
                "color": list(item.color),
                "iou": overall.iou(item.name),
                "boundary_iou": overall.metrics[boundary_iou_name(item.name)],
            }
            for index, item in enumerate(labels.classes)
        ],
        "evaluation": {
            "pictures": overall.pictures,
            "metrics": {name: overall.metrics[name] for name in OVERALL_METRICS},
            "intervals": {name: overall.intervals[name] for name in OVERALL_METRICS if name in overall.intervals},
            "slices": [
                {
                    "feature": part.feature,
                    "value": part.value,
                    "pictures": part.scores.pictures,
                    "mean_iou": part.scores.mean_iou,
                }
                for part in evaluation.candidate.slices
            ],
            "checks": [check.sentence for check in evaluation.checks],
            "baseline_mean_iou": evaluation.baseline_mean_iou,
        },
        "exports": [export.model_dump(mode="json") for export in exports],
        "intended_use": INTENDED_USE,
        "limits": [LIMITS, *_weaknesses(evaluation, labels, overall)],
        "signature": SERVING_SIGNATURE,
    }


def _weaknesses(evaluation: Evaluation, labels: Labels, overall: Scores) -> list[str]:
    """What the model is weak at, and what it was not judged on, a sentence each."""
    iou = {name: overall.iou(name) for name in labels.names}
    pixels = zip(labels.names, map(sum, evaluation.candidate.confusion_matrix), strict=True)
    # Their IoU tells nothing: none without a prediction of them, and 0 with a single wrong one.
    unseen = [name for name, count in pixels if not count]
    weak = [
        f"{name} ({value:.2f})"
        for name, value in iou.items()
        if value is not None and value < WEAK_IOU and name not in unseen
    ]
    slices = [
        f"{part.feature} {part.value} ({part.scores.mean_iou:.2f})"
        for part in evaluation.candidate.slices
        if part.feature != "class" and part.scores.mean_iou is not None and part.scores.mean_iou < WEAK_IOU
    ]
    sentences = []
    if weak:
        sentences.append(f"Classes with an IoU below {WEAK_IOU}: {', '.join(weak)}.")
    if slices:
        sentences.append(f"Slices with a mean IoU below {WEAK_IOU}: {', '.join(slices)}.")
    if unseen:
        sentences.append(f"Classes that no judged picture had: {', '.join(unseen)}.")
    return sentences


def as_markdown(card: Mapping[str, Any]) -> str:
    """The card for people.

    Args:
        card: of `model_card`.
    """
    model, evaluation = card["model"], card["evaluation"]
    lines = [
        f"# {card['name']}",
        "",
        f"{model['architecture']} on {model['base_model']}: canvas of {model['image_size']} pixels, output stride "
        f"{model['output_stride']}. Trained by deeplab {card['version']['deeplab']}.",
        "",
        "## Intended use",
        "",
        card["intended_use"],
        "",
        "## How to call it",
        "",
        "    import tensorflow as tf",
        '    model = tf.saved_model.load("THIS FOLDER")',
        f'    answer = model.signatures["{card["signature"]}"](tf.constant([open("picture.jpg", "rb").read()]))',
        f'    answer["{MASK}"][0].numpy()          # a PNG of class indices, of the picture\'s own size',
        f'    answer["{CLASS_PIXELS}"][0].numpy()  # pixels of each class',
        "",
        "## Data",
        "",
        *_listed(card["data"]),
        "",
        "## Training",
        "",
        *_listed(card["training"]),
        "",
        "## Evaluation",
        "",
        f"On {evaluation['pictures']} pictures, each at its own size, void left out.",
        "",
        "| metric | value | 95 % interval |",
        "|---|---|---|",
    ]
    for name, value in evaluation["metrics"].items():
        interval = evaluation["intervals"].get(name)
        between = "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
        lines.append(f"| {words(name)} | {decimal(value)} | {between} |")
    lines += ["", "The gate:", "", *(f"- {sentence}" for sentence in evaluation["checks"])]
    lines += ["", "| index | class | IoU | boundary IoU |", "|---|---|---|---|"]
    for item in card["classes"]:
        iou, boundary = decimal(item["iou"]), decimal(item["boundary_iou"])
        lines.append(f"| {item['index']} | {_cell(item['name'])} | {iou} | {boundary} |")
    lines += ["", "| slice | pictures | mean IoU |", "|---|---|---|"]
    for part in evaluation["slices"]:
        name = f"{words(part['feature'])}: {part['value']}"
        lines.append(f"| {_cell(name)} | {part['pictures']} | {decimal(part['mean_iou'])} |")
    if card["exports"]:
        lines += ["", "## Other formats", "", *_export_table(card["exports"])]
    lines += ["", "## Limits", "", *(f"- {sentence}" for sentence in card["limits"]), ""]
    return "\n".join(lines)


def _export_table(exports: Sequence[Mapping[str, Any]]) -> list[str]:
    """What became of each format: `ExportedModel` as JSON takes it."""
    first = exports[0]
    lines = [
        f"The network alone, judged on its square of pixels: on {first['pictures']} pictures the SavedModel's has a "
        f"mean IoU of {decimal(first['model_mean_iou'])} there.",
        "",
        "| format | mean IoU | loss | MB | file |",
        "|---|---|---|---|---|",
    ]
    for export in exports:
        loss, size = export["mean_iou_loss"], export["size_bytes"]
        kept = f"{PUSHED_FOLDER}/{export['format']}/{export['file']}"
        cells = [
            export["format"],
            decimal(export["mean_iou"]),
            "none" if loss is None else f"{loss:z.4f}",
            "none" if size is None else f"{size / 1e6:.1f}",
            f"left out: {export['reason']}" if export["file"] is None else kept,
        ]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return lines


def _listed(values: Mapping[str, Any]) -> list[str]:
    """A line for each value."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{inner} {name}" for name, inner in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        lines.append(f"- {words(key)}: {value}")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
