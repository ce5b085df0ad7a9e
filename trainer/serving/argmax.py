"""From logits to the class of each pixel, at the size of a picture, without holding what would not fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

WHOLE_LOGITS = 2**26
"""Values that the logits of a picture may have at its own size, 256 MiB. Those of larger pictures are never there at
once: at the most pixels that are read, 21 classes would take 8 GB."""
BAND_LOGITS = 2**20
"""Values of a band of them. Larger ones do not stay in a CPU's caches, and are slower."""


def largest_class(logits: tf.Tensor, size: tf.Tensor, most: int = WHOLE_LOGITS, band: int = BAND_LOGITS) -> tf.Tensor:
    """The class of the largest logit at each pixel of a picture, to whose size the logits are resized.

    Args:
        logits: float32[h, w, C].
        size: int32[2], (height, width) of the picture.
        most: values of the resized logits, up to which they are made as a whole.
        band: values of the resized logits that are there at a time if there are more.

    Returns:
        int32[height, width].
    """

    def whole() -> tf.Tensor:
        resized = tf.cond(
            tf.reduce_all(tf.shape(logits)[:2] == size),
            lambda: logits,
            lambda: tf.image.resize(logits, size, method="bilinear"),
        )
        return tf.argmax(resized, axis=-1, output_type=tf.int32)

    def in_bands() -> tf.Tensor:
        return largest_in_bands(lambda rows: resized_rows(logits, rows, size), size, logits.shape[2], band)

    values = tf.reduce_prod(tf.cast(size, tf.int64)) * logits.shape[2]
    return tf.cond(values <= most, whole, in_bands)


def largest_in_bands(
    scores: Callable[[tf.Tensor], tf.Tensor], size: tf.Tensor, num_classes: int, values: int = BAND_LOGITS
) -> tf.Tensor:
    """The class of the largest score at each pixel, a band of rows at a time.

    Args:
        scores: of rows, int32[R], to float32[R, width, C]. The last rows may lie below the picture.
        size: int32[2], (height, width) of the picture.
        num_classes: C.
        values: of a band.

    Returns:
        int32[height, width].
    """
    height, width = tf.unstack(size)
    rows = tf.clip_by_value(values // (width * num_classes), 1, height)
    bands = tf.map_fn(
        lambda first: tf.argmax(scores(first + tf.range(rows)), axis=-1, output_type=tf.int32),
        tf.range(0, height, rows),
        fn_output_signature=tf.TensorSpec([None, None], tf.int32),
        parallel_iterations=1,
    )
    return tf.reshape(bands, [-1, width])[:height]


def resized_rows(logits: tf.Tensor, rows: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Some neighbouring rows of what `tf.image.resize` makes of logits, without the others.

    Args:
        logits: float32[h, w, C].
        rows: int32[R]; below the picture, the last one is meant.
        size: int32[2], (height, width) of the whole.

    Returns:
        float32[R, width, C].
    """
    last = tf.shape(logits)[0] - 1
    scale = tf.cast((last + 1) / size[0], tf.float32)
    # Bilinear resizing goes by columns and then by rows.
    y = (tf.cast(rows, tf.float32) + 0.5) * scale - 0.5
    above, below = (tf.clip_by_value(tf.cast(near, tf.int32), 0, last) for near in (tf.floor(y), tf.math.ceil(y)))
    first = above[0]
    read = logits[first : below[-1] + 1]
    read = tf.image.resize(read, [tf.shape(read)[0], size[1]], method="bilinear")
    upper, lower = tf.gather(read, above - first), tf.gather(read, below - first)
    return upper + (lower - upper) * (y - tf.floor(y))[:, tf.newaxis, tf.newaxis]
