"""What Transform does to a picture and its mask. The same graph runs in training, evaluation and serving.

A picture is fitted into a square canvas of 8 bits: made smaller if it is larger than the canvas, aspect kept, never
enlarged, put into the top left corner. Serving and evaluation read it normalised as the backbone wants it, and 0, which
is the mean, around the picture. Training reads the bytes, and normalises them where the model runs. Around the mask is
the ignore label, so that padding counts nowhere.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from schema.labels import IGNORE_LABEL
from trainer.data.augmentation import normalised
from trainer.model.backbones import BACKBONES
from trainer.settings import TransformSettings


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict) -> dict[str, tf.Tensor]:
    """Transform's door: encoded pictures and masks to canvases.

    Args:
        inputs: the TFRecord features, batched.
        custom_config: its `settings` are a `TransformSettings` as a dictionary.

    Returns:
        The outputs of Transform, as `schema.features` describes them.
    """
    settings = TransformSettings.model_validate(custom_config["settings"])
    size = settings.image_size
    columns = packed_columns(size)
    canvas, content_size = tf.map_fn(
        lambda encoded: image_canvas(decode_image(encoded), size, columns),
        tf.reshape(inputs[features.IMAGE_ENCODED], [-1]),
        fn_output_signature=(tf.TensorSpec([size, columns, 3], tf.uint8), tf.TensorSpec([2], tf.int64)),
    )
    label = tf.map_fn(
        lambda encoded: label_canvas(decode_label(encoded), size, columns),
        tf.reshape(inputs[features.LABEL_ENCODED], [-1]),
        fn_output_signature=tf.TensorSpec([size, columns], tf.uint8),
    )
    # What only the whole of the training split can tell; the same for every example.
    label_pixels = inputs[features.LABEL_PIXELS]
    class_pixels = tft.sum(label_pixels, reduce_instance_dims=False)
    each = tf.ones_like(label_pixels[:, 0])
    normalisation = BACKBONES[settings.base_model].normalisation
    return {
        features.IMAGE: normalised(canvas[:, :, :size], content_size, normalisation),
        features.PACKED_IMAGE: packed(canvas),
        features.PACKED_LABEL: packed(label),
        features.CONTENT_SIZE: content_size,
        features.TRAIN_PICTURES: each * tft.sum(each),
        features.TRAIN_CLASS_PIXELS: tf.tile(class_pixels[tf.newaxis], [tf.shape(label_pixels)[0], 1]),
    }


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG, string[], to RGB uint8[H, W, 3]."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def decode_label(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a one-channel PNG of class indices, string[], to uint8[H, W]."""
    return tf.squeeze(tf.io.decode_png(encoded, channels=1), axis=2)


def image_canvas(image: tf.Tensor, size: int, columns: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits a picture into the canvas.

    Args:
        image: uint8[H, W, 3], RGB.
        size: side of the canvas, pixels.
        columns: width of the result, if it is to be wider than the canvas.

    Returns:
        uint8[size, columns, 3], 0 where padded, and the (height, width) int64[2] that the picture has in it.
    """
    content = content_size(tf.shape(image)[:2], size)
    pixels = tf.cond(
        tf.reduce_all(content == tf.shape(image)[:2]),
        lambda: image,
        lambda: tf.cast(tf.round(tf.image.resize(image, content, method="bilinear", antialias=True)), tf.uint8),
    )
    return _padded(pixels, size, columns or size, fill=0), tf.cast(content, tf.int64)


def label_canvas(label: tf.Tensor, size: int, columns: int | None = None) -> tf.Tensor:
    """Fits a mask into the canvas by nearest neighbour: class indices cannot be averaged.

    Args:
        label: uint8[H, W], class indices.
        size: side of the canvas, pixels.
        columns: width of the result, if it is to be wider than the canvas.

    Returns:
        uint8[size, columns], `IGNORE_LABEL` where padded.
    """
    content = content_size(tf.shape(label), size)
    pixels = label[:, :, tf.newaxis]
    pixels = tf.cond(
        tf.reduce_all(content == tf.shape(label)),
        lambda: pixels,
        lambda: tf.image.resize(pixels, content, method="nearest"),
    )
    return tf.squeeze(_padded(pixels, size, columns or size, fill=IGNORE_LABEL), axis=2)


def content_size(picture_size: tf.Tensor, canvas_size: int) -> tf.Tensor:
    """The (height, width) int32[2] that a picture of `picture_size` has inside the canvas: at most its own."""
    longest = tf.reduce_max(picture_size)
    scale = tf.minimum(tf.cast(canvas_size / longest, tf.float32), 1.0)
    fitted = tf.cast(tf.round(tf.cast(picture_size, tf.float32) * scale), tf.int32)
    return tf.clip_by_value(fitted, 1, canvas_size)


def _padded(pixels: tf.Tensor, rows: int, columns: int, *, fill: int) -> tf.Tensor:
    """uint8[H, W, C] in the top left corner of uint8[rows, columns, C].

    By concatenation, which copies whole rows; `tf.pad` goes pixel by pixel, and would cost more than decoding.
    """
    height, width = tf.unstack(tf.shape(pixels)[:2])
    channels = pixels.shape[2]
    value = tf.constant(fill, tf.uint8)
    beside = tf.fill([height, (columns - width) * channels], value)
    below = tf.fill([rows - height, columns * channels], value)
    wide = tf.concat([tf.reshape(pixels, [height, width * channels]), beside], axis=1)
    return tf.reshape(tf.concat([wide, below], axis=0), [rows, columns, channels])


_BYTES = tf.int64.size


def packed_columns(size: int) -> int:
    """How wide a canvas must be so that each row of it, whatever its channels, is packed without a rest."""
    return -(-size // _BYTES) * _BYTES


def packed(canvas: tf.Tensor) -> tf.Tensor:
    """Eight bytes to a number: Transform has no outputs of single bytes, and would otherwise hand over eightfold.

    The bytes stay where they are in memory.

    Args:
        canvas: uint8[N, S, W] or uint8[N, S, W, C], where W is `packed_columns(S)`.

    Returns:
        int64[N, S, W * C / 8].
    """
    rows = canvas.shape[1]
    numbers = math.prod(canvas.shape[2:]) // _BYTES
    return tf.bitcast(tf.reshape(canvas, [-1, rows, numbers, _BYTES]), tf.int64)


def unpacked(numbers: tf.Tensor, *channels: int) -> tf.Tensor:
    """What `packed` has packed, without the columns that were added for it.

    Args:
        numbers: int64[N, S, W * C / 8].
        channels: C, if the canvas has an axis of channels.

    Returns:
        uint8[N, S, S] or uint8[N, S, S, C].
    """
    size = numbers.shape[1]
    bytes_of_row = size * math.prod(channels)
    # In two dimensions, where TensorFlow copies whole rows.
    rows = tf.reshape(tf.bitcast(numbers, tf.uint8), [-1, packed_columns(size) * math.prod(channels)])
    return tf.reshape(tf.slice(rows, [0, 0], [-1, bytes_of_row]), [-1, size, size, *channels])
