"""Which slices of the data a picture is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from schema import features
from schema.labels import BACKGROUND

if TYPE_CHECKING:
    import tensorflow as tf

SliceName = Literal["class", "object_size", "class_count", "picture_size", "span"]
SMALL, MEDIUM, LARGE = "small", "medium", "large"
OBJECT_SHARES = {SMALL: 0.02, MEDIUM: 0.1}
"""The largest share of a picture that a class takes and is still called so."""
PICTURE_SIZES = {SMALL: 320, MEDIUM: 640}
"""The longest side, in pixels, that a picture has and is still called so."""
MANY_CLASSES = 3

CLASS_COUNTS = (*map(str, range(MANY_CLASSES)), f"{MANY_CLASSES} or more")


def wrong_value(name: SliceName, value: str, class_names: tuple[str, ...]) -> str | None:
    """What is wrong with the value of a slice that is asked for, in words; None if pictures can have it.

    Args:
        name: of the slice.
        value: asked for.
        class_names: the classes of the data.
    """
    if name == "span":
        return None if value.isdecimal() and str(int(value)) == value else "it must be a span's number"
    allowed = {"class": class_names, "class_count": CLASS_COUNTS}.get(name, (SMALL, MEDIUM, LARGE))
    if value not in allowed:
        return f"it must be one of {', '.join(allowed)}"
    if name == "class" and _is_number(value):
        return "TFMA takes such a name for a number; slices of classes need names that are none"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def slices_of(example: tf.train.Example, class_names: tuple[str, ...]) -> dict[SliceName, list[str]]:
    """The values that a labelled picture has by the names of slices; of some it may have several.

    Args:
        example: with the keys of `schema.features`.
        class_names: the classes, in the order of their indices.
    """
    feature = example.features.feature
    height, width = (feature[key].int64_list.value[0] for key in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH))
    pixels = feature[features.LABEL_PIXELS].int64_list.value
    present = {name: count / (height * width) for name, count in zip(class_names, pixels, strict=True) if count}
    objects = {name: share for name, share in present.items() if name != BACKGROUND}
    spans = feature[features.SPAN].int64_list.value if features.SPAN in feature else ()
    return {
        "class": list(present),
        "object_size": sorted({_named(share, OBJECT_SHARES) for share in objects.values()}),
        "class_count": [CLASS_COUNTS[min(len(objects), MANY_CLASSES)]],
        "picture_size": [_named(max(height, width), PICTURE_SIZES)],
        "span": [str(span) for span in spans],
    }


def _named(value: float, limits: dict[str, float] | dict[str, int]) -> str:
    return next((name for name, limit in limits.items() if value <= limit), LARGE)
