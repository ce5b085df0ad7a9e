"""Draws masks: in the colours of their classes, and over the picture that they belong to."""

from __future__ import annotations

import numpy as np

from schema.labels import IGNORE_LABEL, Labels, voc_color

GAP = 4
"""White pixels between pictures that stand side by side."""
WHITE = 255


def palette(labels: Labels) -> np.ndarray:
    """The colour of each value of a mask, uint8[256, 3], RGB: the classes', and of `ignore_colors` the first."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(labels.classes)] = [item.color for item in labels.classes]
    colors[IGNORE_LABEL] = labels.ignore_colors[0] if labels.ignore_colors else voc_color(IGNORE_LABEL)
    return colors


def colored(mask: np.ndarray, labels: Labels) -> np.ndarray:
    """A mask in the colours of its classes.

    Args:
        mask: integer[..., H, W], class indices, `IGNORE_LABEL` for what is ignored.
        labels: the classes and their colours, as in `palette`.

    Returns:
        uint8[..., H, W, 3], RGB.

    Raises:
        ValueError: the mask holds a value that is none of these.
    """
    count = len(labels.classes)
    unknown = (mask != IGNORE_LABEL) & ((mask < 0) | (mask >= count))
    if unknown.any():
        raise ValueError(
            f"a mask holds {mask[unknown][0]}; its values must be 0 to {count - 1}, for the {count} classes of "
            f"data.labels, or {IGNORE_LABEL}"
        )
    return palette(labels).take(mask, axis=0)


def overlay(image: np.ndarray, mask: np.ndarray, labels: Labels, opacity: float = 0.5) -> np.ndarray:
    """A picture with its mask over it; where the mask says background, the picture is as it was.

    Args:
        image: uint8[..., H, W, 3], RGB.
        mask: integer[..., H, W], as in `colored`.
        labels: the classes and their colours.
        opacity: of the mask, 0 to 1.

    Returns:
        uint8[..., H, W, 3], RGB.

    Raises:
        ValueError: picture and mask differ in size, or the mask holds a value that is no class.
    """
    if image.shape != (*mask.shape, 3):
        raise ValueError(
            f"a picture of shape {image.shape} and a mask of shape {mask.shape} do not belong together; "
            "wanted are [H, W, 3] and [H, W]"
        )
    # In 256ths, since integers are several times faster than floats here.
    weight = round(256 * opacity)
    blended = image.astype(np.uint16) * np.uint16(256 - weight)
    blended += colored(mask, labels) * np.uint16(weight)
    blended += 128
    return np.where((mask == labels.background)[..., None], image, (blended >> 8).astype(np.uint8))


def side_by_side(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, labels: Labels) -> np.ndarray:
    """From left to right: a picture, its label, the prediction, and the prediction over the picture.

    Args:
        image: uint8[H, W, 3], RGB.
        label: integer[H, W], as in `colored`.
        prediction: integer[H, W], as in `colored`.
        labels: the classes and their colours.

    Returns:
        uint8[H, 4 W + 3 GAP, 3], RGB.

    Raises:
        ValueError: they differ in size, or a mask holds a value that is no class.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"a label of shape {label.shape} and a prediction of shape {prediction.shape} differ in size")
    over = overlay(image, prediction, labels)
    gap = np.full((len(image), GAP, 3), WHITE, np.uint8)
    return np.concatenate([image, gap, colored(label, labels), gap, colored(prediction, labels), gap, over], axis=1)
