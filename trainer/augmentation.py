"""Random scale, crop and flip, as one resampling of the whole batch, in pure Keras: it runs where the model runs."""

from __future__ import annotations

from keras import ops

from trainer.labels import IGNORE_LABEL
from trainer.settings import Augmentation

DRAWS = 4
"""Uniform random numbers that one picture takes: scale, flip, vertical and horizontal position."""


def augment(images, labels, content_sizes, draws, settings: Augmentation):
    """Scales each picture, flips it or not, and cuts a canvas out of the result at a random place.

    A picture that is smaller than the canvas after scaling lies somewhere inside it. Pictures are interpolated
    bilinearly, masks take the nearest pixel; what lies outside the picture is 0 (the mean) and `IGNORE_LABEL`.

    Args:
        images: float32[N, S, S, 3], normalised, each picture in the top left corner.
        labels: integer[N, S, S], class indices.
        content_sizes: integer[N, 2], height and width of each picture, pixels.
        draws: float32[N, DRAWS], uniform in [0, 1).
        settings: what to draw from.

    Returns:
        Images float32[N, S, S, 3] and labels, of the given type, [N, S, S].
    """
    size = images.shape[1]
    content = ops.cast(content_sizes, "float32")
    scale = _scale(draws[:, 0], settings)
    flip = draws[:, 1] < settings.flip
    # Where the canvas begins in the scaled picture; negative where the picture is smaller than the canvas. On whole
    # pixels, so that a picture that is not scaled is not blurred.
    start = ops.round(draws[:, 2:4] * (ops.expand_dims(scale, 1) * content - size))

    # Output pixel x lies at input pixel a x + b; pixels are counted at their centres.
    a = 1 / scale
    b_vertical = (start[:, 0] + 0.5) / scale - 0.5
    b_horizontal = (start[:, 1] + 0.5) / scale - 0.5
    a_horizontal = ops.where(flip, -a, a)
    b_horizontal = ops.where(flip, content[:, 1] - 1 - b_horizontal, b_horizontal)
    zero = ops.zeros_like(a)
    transform = ops.stack([a_horizontal, zero, b_horizontal, zero, a, b_vertical, zero, zero], axis=1)

    images = ops.image.affine_transform(images, transform, interpolation="bilinear", fill_value=0)
    # Shifted by the ignore label, so that the fill value 0 means "ignore" whatever the resampling does at the border.
    shifted = ops.expand_dims(ops.cast(labels, "float32") - IGNORE_LABEL, 3)
    moved = ops.image.affine_transform(shifted, transform, interpolation="nearest", fill_value=0)
    return images, ops.cast(ops.squeeze(moved, 3) + IGNORE_LABEL, labels.dtype)


def _scale(draw, settings: Augmentation):
    """float32[N]: a factor from the range, on its grid if there is one."""
    low, high = settings.scale
    if not settings.scale_step:
        return low + draw * (high - low)
    steps = int((high - low) / settings.scale_step + 1e-6) + 1
    return low + ops.floor(draw * steps) * settings.scale_step
