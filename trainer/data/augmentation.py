"""From the bytes of a batch to what the network reads, in pure Keras: it runs where the model runs.

Scale, crop, flip and rotation are one resampling, what colours become is linear in them, and objects are pasted last.
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from schema.labels import IGNORE_LABEL
from trainer.model.backbones import Normalisation
from trainer.settings import Augmentation

DRAWS = 10
"""Uniform random numbers that one picture takes, whatever is switched on, so that each keeps its meaning: scale, flip,
vertical and horizontal position, rotation, brightness, contrast, saturation, hue, paste."""
_SCALE, _FLIP, _VERTICAL, _HORIZONTAL, _ROTATION, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _PASTE = range(DRAWS)

_MID_GREY = 127.5


def augment(
    canvases,
    labels,
    content_sizes,
    draws,
    *,
    size: int,
    settings: Augmentation,
    normalisation: Normalisation,
    background: int = IGNORE_LABEL,
):
    """Scales, turns and flips each picture, cuts a canvas out of the result, changes its colours and normalises it.

    Then the objects of the picture before it in the batch may be pasted onto it.

    A picture that is smaller than the canvas after scaling lies somewhere inside it. Pictures are interpolated
    bilinearly, masks take the nearest pixel; what lies outside the picture is 0 (the mean) and `IGNORE_LABEL`.

    Args:
        canvases: uint8[N, S, S, 3], RGB, each picture in the top left corner.
        labels: integer[N, S, S], class indices.
        content_sizes: integer[N, 2], height and width of each picture, pixels.
        draws: float[N, DRAWS], uniform in [0, 1).
        size: side T of the square, pixels.
        settings: what to draw from.
        normalisation: the backbone's.
        background: the label of what is no object, for `copy_paste`.

    Returns:
        Images float32[N, T, T, 3] and labels int32[N, T, T].
    """
    draws = ops.cast(draws, "float32")
    content_sizes = ops.cast(content_sizes, "int32")
    places = _places(size, content_sizes, draws, settings)
    pixels, coverage = _interpolated(canvases, content_sizes, places)
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        pixels = _distorted(pixels, coverage, draws, settings)
    # Where the picture covers a part of a pixel only, at its rim, the rest is the mean, which is 0 afterwards.
    images = (pixels - coverage * _mean(normalisation)) * _factor(normalisation)
    labels, inside = _nearest(labels, content_sizes, places)
    if settings.copy_paste:
        objects, is_pasted_onto = inside & (labels != background), draws[:, _PASTE] < settings.copy_paste
        images, labels = _pasted(images, labels, objects, is_pasted_onto)
    return images, labels


def normalised(canvases, content_sizes, normalisation: Normalisation):
    """8-bit canvases as the backbone wants them. Transform's graph, the signatures and training all do it with this.

    Args:
        canvases: uint8[N, S, S, 3], RGB, each picture in the top left corner.
        content_sizes: integer[N, 2], height and width of each picture, pixels.
        normalisation: the backbone's.

    Returns:
        float32[N, S, S, 3], 0 outside the picture.
    """
    size = canvases.shape[1]
    pixels = scaled(canvases, normalisation)
    content = ops.cast(content_sizes, "int32")
    positions = ops.arange(size, dtype="int32")
    rows, columns = (positions < ops.expand_dims(content[:, axis], 1) for axis in (0, 1))
    inside = ops.logical_and(ops.expand_dims(rows, 2), ops.expand_dims(columns, 1))
    return ops.where(ops.expand_dims(inside, 3), pixels, 0.0)


def scaled(pixels, normalisation: Normalisation):
    """RGB [..., 3], 0 to 255 -> float32[..., 3] as the backbone wants it, whatever is picture and whatever padding."""
    return (ops.cast(pixels, "float32") - _mean(normalisation)) * _factor(normalisation)


def _mean(normalisation: Normalisation) -> np.ndarray:
    return np.array(normalisation.mean, np.float32)


def _factor(normalisation: Normalisation) -> np.ndarray:
    """To be multiplied by: a division TensorFlow would make a product in graphs, and only there."""
    return np.array([1 / scale for scale in normalisation.scale], np.float32)


def _places(size: int, content_sizes, draws, settings: Augmentation):
    """Where in the canvas each pixel of the result lies: rows and columns, counted at the pixels' centres.

    Returns:
        Two float32[N, T, T], or without a turn float32[N, T, 1] and [N, 1, T].
    """
    content = ops.cast(content_sizes, "float32")
    scale = ops.expand_dims(_scale(draws[:, _SCALE], settings), 1)
    scaled = scale * content
    # Where the result begins in the scaled picture; negative where the picture is smaller than the result. On whole
    # pixels, so that a picture that is not scaled is not blurred.
    start = ops.round(draws[:, _VERTICAL : _HORIZONTAL + 1] * (scaled - size))
    centres = ops.expand_dims(ops.arange(size, dtype="float32") + 0.5, 0)
    rows = ops.expand_dims(start[:, :1] + centres, 2)
    columns = ops.expand_dims(start[:, 1:] + centres, 1)

    if settings.rotation:
        # About the picture's centre; turned by nothing, a place is exactly where it was.
        angle = _each(math.radians(settings.rotation) * _signed(draws[:, _ROTATION]), 3)
        from_row, from_column = rows - _each(scaled[:, 0], 3) / 2, columns - _each(scaled[:, 1], 3) / 2
        less = ops.cos(angle) - 1
        rows, columns = (
            rows + less * from_row - ops.sin(angle) * from_column,
            columns + less * from_column + ops.sin(angle) * from_row,
        )

    scale = _each(scale, 3)
    rows, columns = rows / scale - 0.5, columns / scale - 0.5
    flip = _each(draws[:, _FLIP], 3) < settings.flip
    return rows, ops.where(flip, _each(content[:, 1], 3) - 1 - columns, columns)


def _interpolated(canvases, content_sizes, places):
    """Each place's share of the four pixels around it.

    Gathered by plain operations, and not by `keras.ops.image.affine_transform`, so that XLA can make one loop of all.

    Returns:
        Sums of the pixels float32[N, T, T, 3], 0 to 255, and how much of each place the picture covers
        float32[N, T, T, 1], 0 to 1.
    """
    first = [ops.cast(ops.floor(place), "int32") for place in places]
    share = [place - ops.floor(place) for place in places]
    pixels, coverage = 0.0, 0.0
    for below in (0, 1):
        for right in (0, 1):
            weight = (share[0] if below else 1 - share[0]) * (share[1] if right else 1 - share[1])
            value, inside = _at(canvases, content_sizes, first[0] + below, first[1] + right)
            weight = ops.expand_dims(ops.where(inside, weight, 0.0), 3)
            pixels = pixels + weight * ops.cast(value, "float32")
            coverage = coverage + weight
    return pixels, coverage


def _nearest(labels, content_sizes, places):
    """The pixel that each place lies in, int32[N, T, T], `IGNORE_LABEL` outside; and whether it is inside, bool."""
    rows, columns = (ops.cast(ops.floor(place + 0.5), "int32") for place in places)
    value, inside = _at(labels, content_sizes, rows, columns)
    return ops.where(inside, ops.cast(value, "int32"), IGNORE_LABEL), inside


def _at(canvases, content_sizes, rows, columns):
    """The canvases' values at whole places, [N, T, T, ...], and whether the picture is there, bool[N, T, T]."""
    size = canvases.shape[1]
    height, width = _each(content_sizes[:, 0], 3), _each(content_sizes[:, 1], 3)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    number = _each(ops.arange(ops.shape(canvases)[0], dtype="int32"), 3)
    index = (number * size + ops.clip(rows, 0, size - 1)) * size + ops.clip(columns, 0, size - 1)
    values = ops.take(ops.reshape(canvases, [-1, *canvases.shape[3:]]), index, axis=0)
    return values, inside


def _each(values, rank: int):
    """One value per picture, [N], in a shape that goes with [N, ...] of the given rank."""
    return ops.reshape(values, [-1] + [1] * (rank - 1))


def _scale(draw, settings: Augmentation):
    """float32[N]: a factor from the range, on its grid if there is one."""
    low, high = settings.scale
    if not settings.scale_step:
        return low + draw * (high - low)
    steps = int((high - low) / settings.scale_step + 1e-6) + 1
    return low + ops.floor(draw * steps) * settings.scale_step


def _distorted(pixels, coverage, draws, settings: Augmentation):
    """Colours changed as in StyleGAN2-ADA (arXiv:2006.06676, appendix B), and cut to what 8 bits can say.

    There as here, saturation scales the distance from the grey axis (1, 1, 1), hue turns about that axis, contrast
    scales about mid grey, and brightness is added: all linear in RGB. What is drawn is uniform here.

    Args:
        pixels: float32[N, T, T, 3], 0 to 255.
        coverage: float32[N, T, T, 1], how much of each pixel is picture.
        draws: float32[N, DRAWS].
        settings: how strong.

    Returns:
        The pixels, where they are covered.
    """
    brightness = 255 * settings.brightness * _signed(draws[:, _BRIGHTNESS])
    contrast = 1 + settings.contrast * _signed(draws[:, _CONTRAST])
    saturation = 1 + settings.saturation * _signed(draws[:, _SATURATION])
    hue = math.radians(settings.hue) * _signed(draws[:, _HUE])

    # Rodrigues' formula about a = (1, 1, 1) / sqrt(3): for x = grey + rest, the rest becomes
    # saturation * (cos(hue) rest + sin(hue) a x rest), and grey stays.
    grey = ops.mean(pixels, axis=3, keepdims=True)
    along, across = _each(saturation * ops.cos(hue), 4), _each(saturation * ops.sin(hue) / math.sqrt(3), 4)
    turned = ops.roll(pixels, 1, axis=3) - ops.roll(pixels, -1, axis=3)
    colours = grey + along * (pixels - grey) + across * turned
    added = _each((1 - contrast) * _MID_GREY + brightness, 4)
    return ops.clip(_each(contrast, 4) * colours + coverage * added, 0, coverage * 255)


def _pasted(images, labels, objects, is_pasted_onto):
    """Each picture under the objects of the one before it in the batch; before the first comes the last.

    Copy-paste (arXiv:2012.07177) with semantic masks: all objects of a picture go together. Their ignored rim goes with
    them, so that the seam counts as little as a boundary within a photograph; so does void that is far from any object,
    which then counts nowhere.

    Args:
        images: float32[N, T, T, 3].
        labels: int32[N, T, T].
        objects: bool[N, T, T], where they are.
        is_pasted_onto: bool[N], whether a picture takes the objects.

    Returns:
        Images and labels.
    """
    images_above, labels_above, objects = (ops.roll(array, 1, axis=0) for array in (images, labels, objects))
    covered = objects & _each(is_pasted_onto, 3)
    return ops.where(ops.expand_dims(covered, 3), images_above, images), ops.where(covered, labels_above, labels)


def _signed(draw):
    """From [0, 1) to [-1, 1)."""
    return 2 * draw - 1
