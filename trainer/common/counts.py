"""Counts what the metrics are made of, in TensorFlow's graph: see `trainer.common.metrics`.

Of boundaries, all classes are counted at once: a pixel's class is a bit, and what lies around it is the union of the
bits in a square window. Distances are therefore measured along the longer of both axes, as repeated erosion by 3 x 3
pixels measures them in the reference implementation of boundary IoU.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from schema.labels import IGNORE_LABEL
from trainer.common.metrics import BOUNDARY_COUNTS

BOUNDARY_DISTANCE = 0.02
"""How near an edge a region's pixels count for boundary IoU, as a share of the picture's diagonal. Cheng et al. 2021
(arXiv:2103.16562), section 5."""
CONTOUR_DISTANCE = 0.0075
"""How far a contour may be off for the boundary F-score, as a share of the picture's diagonal. Csurka et al. 2013."""
_WORD = 31
"""Classes in one int32; the sign is left alone."""


def confusion_matrix(label: tf.Tensor, prediction: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Counts pixels by label (row) and prediction (column), those that are void left out.

    Args:
        label: int32[...], class indices, `IGNORE_LABEL` where void.
        prediction: int32[...], class indices.
        num_classes: C.

    Returns:
        int64[C, C].
    """
    counts = _count_cells(label * num_classes + prediction, label == IGNORE_LABEL, num_classes**2)
    return tf.reshape(counts, [num_classes, num_classes])


def boundary_counts(label: tf.Tensor, prediction: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Counts a picture's boundary pixels by class.

    Void is cut out of label and prediction alike: both have an edge around it, and nothing in it counts. The picture's
    border is an edge of regions, as in the reference implementation of boundary IoU, but no contour.

    Args:
        label: int32[H, W], class indices, `IGNORE_LABEL` where void.
        prediction: int32[H, W], class indices.
        num_classes: C.

    Returns:
        int64[C, B], a column for each of `trainer.common.metrics.BOUNDARY_COUNTS`.
    """
    size = tf.shape(label)
    height, width = tf.unstack(size)
    near, far = _distances(size)
    prediction = tf.where(label == IGNORE_LABEL, label, prediction)
    border = _border(size, far)
    # Memory is that of a band of rows; what a band's pixels have around them is looked at with it.
    rows = tf.maximum(_BAND // (width * (num_classes // _WORD + 1)), 1)
    halo = far + 1

    def with_band(first: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        last = tf.minimum(first + rows, height)
        above, below = tf.maximum(first - halo, 0), tf.minimum(last + halo, height)
        flags = _flags(label[above:below], prediction[above:below], border[above:below], near, far, num_classes)
        inside = slice(first - above, last - above)
        band = _count_flags(label[first:last], prediction[first:last], [flag[:, inside] for flag in flags], num_classes)
        return last, counts + band

    start = tf.zeros([num_classes, len(BOUNDARY_COUNTS)], tf.int64)
    return tf.while_loop(lambda first, _: first < height, with_band, [tf.constant(0), start])[1]


_BAND = 2**22
"""Pixels that are looked at together, times the words that their bits take; most pictures are one band."""


def _flags(
    label: tf.Tensor, prediction: tf.Tensor, border: tf.Tensor, near: tf.Tensor, far: tf.Tensor, num_classes: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """bool[2, H, W], of label and prediction: near a region's edge, on a contour, on one that the other has, too."""
    # Both go through all of it side by side: int32[2, H, W, words].
    own = _bits(tf.stack([label, prediction]), num_classes)
    contour = _any(_in_window(own, 1) & ~own)
    # A window without any contour is of one class.
    region = (_in_window(tf.cast(contour, tf.uint8), far - 1) > 0) | border
    met = contour & _any(_in_window(tf.where(contour[..., tf.newaxis], own, 0), near)[::-1] & own)
    return region, contour, met


def _count_flags(label: tf.Tensor, prediction: tf.Tensor, flags: Sequence[tf.Tensor], num_classes: int) -> tf.Tensor:
    """Counts pixels by class: int64[C, B], a column for each of `trainer.common.metrics.BOUNDARY_COUNTS`."""
    region, contour, met = flags
    common = region[0] & region[1] & (label == prediction)
    of_label = _count(label, [region[0], common, contour[0], met[0]], num_classes)
    of_prediction = _count(prediction, [region[1], contour[1], met[1]], num_classes)
    columns = {
        "label_boundary": of_label[:, 0],
        "predicted_boundary": of_prediction[:, 0],
        "common_boundary": of_label[:, 1],
        "label_contour": of_label[:, 2],
        "label_contour_found": of_label[:, 3],
        "predicted_contour": of_prediction[:, 1],
        "predicted_contour_right": of_prediction[:, 2],
    }
    return tf.stack([columns[name] for name in BOUNDARY_COUNTS], axis=1)


def _distances(size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The contour's and the boundary's distance in a picture of size int32[2]: whole pixels, at least one."""
    diagonal = tf.norm(tf.cast(size, tf.float32))
    near, far = (tf.round(share * diagonal) for share in (CONTOUR_DISTANCE, BOUNDARY_DISTANCE))
    return tf.maximum(tf.cast(near, tf.int32), 1), tf.maximum(tf.cast(far, tf.int32), 1)


def _bits(classes: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Every pixel's class as a bit, int32[..., words]. Void has one like any class."""
    index = tf.where(classes == IGNORE_LABEL, num_classes, classes)
    words = []
    for word in range(num_classes // _WORD + 1):
        bit = index - word * _WORD
        inside = tf.bitwise.left_shift(1, tf.clip_by_value(bit, 0, _WORD - 1))
        words.append(inside if num_classes < _WORD else tf.where((bit >= 0) & (bit < _WORD), inside, 0))
    return tf.stack(words, axis=-1)


def _in_window(values: tf.Tensor, distance: tf.Tensor | int) -> tf.Tensor:
    """The union of the bits integer[2, H, W, ...] in the square window around each pixel, as far as it is inside."""
    for axis in (1, 2):
        values = _in_line(values, axis, distance)
    return values


def _in_line(values: tf.Tensor, axis: int, distance: tf.Tensor | int) -> tf.Tensor:
    """The same along one axis. The union of two windows side by side is that of one of twice the width."""
    shape = tf.shape(values)
    outside = tf.zeros(tf.concat([shape[:axis], [distance], shape[axis + 1 :]], axis=0), values.dtype)
    values = tf.concat([outside, values, outside], axis)
    width = 2 * distance + 1

    def doubled(values: tf.Tensor, reached: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = tf.shape(values)[axis] - reached
        return _part(values, axis, 0, length) | _part(values, axis, reached, length), 2 * reached

    values, reached = tf.while_loop(
        lambda _, reached: 2 * reached <= width,
        doubled,
        [values, tf.constant(1)],
        shape_invariants=[tf.TensorShape([2, None, None, *values.shape[3:]]), tf.TensorShape([])],
    )
    length = shape[axis]
    return _part(values, axis, 0, length) | _part(values, axis, width - reached, length)


def _part(values: tf.Tensor, axis: int, start: tf.Tensor | int, length: tf.Tensor) -> tf.Tensor:
    part = slice(start, start + length)
    return values[:, part] if axis == 1 else values[:, :, part]


def _any(bits: tf.Tensor) -> tf.Tensor:
    """Whether a pixel has one of the bits int32[..., words]."""
    return functools.reduce(tf.logical_or, [word != 0 for word in tf.unstack(bits, axis=-1)])


def _border(size: tf.Tensor, distance: tf.Tensor) -> tf.Tensor:
    """bool[H, W]: whether the picture ends within the distance."""
    rows, columns = (
        tf.minimum(tf.range(length), length - 1 - tf.range(length)) < distance for length in tf.unstack(size)
    )
    return rows[:, tf.newaxis] | columns


def _count(classes: tf.Tensor, flags: list[tf.Tensor], num_classes: int) -> tf.Tensor:
    """Pixels of each class with each flag bool[H, W]: int64[C, flags]."""
    codes = 2 ** len(flags)
    code = tf.add_n([tf.cast(flag, tf.int32) * 2**bit for bit, flag in enumerate(flags)])
    counts = _count_cells(classes * codes + code, classes == IGNORE_LABEL, num_classes * codes)
    has_flag = np.array([[code >> bit & 1 for bit in range(len(flags))] for code in range(codes)], np.int64)
    return tf.linalg.matmul(tf.reshape(counts, [num_classes, codes]), has_flag)


def _count_cells(cell: tf.Tensor, is_void: tf.Tensor, cells: int) -> tf.Tensor:
    """How often each cell occurs where there is no void: int64[cells]."""
    # One cell more for void takes less time than to leave it out beforehand.
    cell = tf.reshape(tf.where(is_void, cells, cell), [-1])
    return tf.math.bincount(cell, minlength=cells + 1, maxlength=cells + 1, dtype=tf.int64)[:cells]
