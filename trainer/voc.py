"""Pascal VOC 2012: its classes, the colours of its masks and the label that is ignored.

Source: the VOC 2012 development kit, section 3 (classes) and `VOClabelcolormap.m` (colours).
"""

IGNORE_LABEL = 255
"""Void: boundary pixels and objects that the annotators left out. It counts in no loss, metric or statistic."""

CLASS_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def _colour(index: int) -> tuple[int, int, int]:
    """Spreads the bits of an index over the three channels, most significant first, as the devkit does."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


PALETTE = tuple(_colour(index) for index in range(256))
"""RGB of each label value, 0 to 255."""
