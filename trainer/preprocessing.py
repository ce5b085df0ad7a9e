"""What Transform does to a picture and its mask. The same graph runs in training, evaluation and serving.

A picture is fitted into a square canvas: made smaller if it is larger than the canvas, aspect kept, never enlarged, put
into the top left corner. Around it the picture is padded with the backbone's mean, which is 0 after normalisation, and
the mask with the ignore label, so that padding counts nowhere.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from trainer import features
from trainer.labels import IGNORE_LABEL
from trainer.model.backbones import BACKBONES, Normalisation
from trainer.settings import TransformSettings


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict) -> dict[str, tf.Tensor]:
    """Transform's door: encoded pictures and masks to normalised canvases.

    Args:
        inputs: the TFRecord features, batched.
        custom_config: its `settings` are a `TransformSettings` as a dictionary.

    Returns:
        The outputs of Transform, as `trainer.features` describes them.
    """
    settings = TransformSettings.model_validate(custom_config["settings"])
    normalisation = BACKBONES[settings.base_model].normalisation
    size = settings.image_size
    image, content_size = tf.map_fn(
        lambda encoded: image_canvas(decode_image(encoded), size, normalisation),
        tf.reshape(inputs[features.IMAGE_ENCODED], [-1]),
        fn_output_signature=(tf.TensorSpec([size, size, 3], tf.float32), tf.TensorSpec([2], tf.int64)),
    )
    label = tf.map_fn(
        lambda encoded: label_canvas(decode_label(encoded), size),
        tf.reshape(inputs[features.LABEL_ENCODED], [-1]),
        fn_output_signature=tf.TensorSpec([size, size], tf.int64),
    )
    # What only the whole of the training split can tell; the same for every example.
    label_pixels = inputs[features.LABEL_PIXELS]
    class_pixels = tft.sum(label_pixels, reduce_instance_dims=False)
    each = tf.ones_like(label_pixels[:, 0])
    return {
        features.IMAGE: image,
        features.LABEL: label,
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
    return tf.io.decode_png(encoded, channels=1)[:, :, 0]


def image_canvas(image: tf.Tensor, size: int, normalisation: Normalisation) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits a picture into the canvas and normalises it.

    Args:
        image: uint8[H, W, 3], RGB.
        size: side of the canvas, pixels.
        normalisation: the backbone's.

    Returns:
        float32[size, size, 3] and the (height, width) int64[2] that the picture has in it.
    """
    content = content_size(tf.shape(image)[:2], size)
    pixels = tf.cond(
        tf.reduce_all(content == tf.shape(image)[:2]),
        lambda: tf.cast(image, tf.float32),
        lambda: tf.image.resize(image, content, method="bilinear", antialias=True),
    )
    canvas = tf.image.pad_to_bounding_box((pixels - normalisation.mean) / normalisation.scale, 0, 0, size, size)
    return tf.ensure_shape(canvas, [size, size, 3]), tf.cast(content, tf.int64)


def label_canvas(label: tf.Tensor, size: int) -> tf.Tensor:
    """Fits a mask into the canvas by nearest neighbour: class indices cannot be averaged.

    Args:
        label: uint8[H, W], class indices.
        size: side of the canvas, pixels.

    Returns:
        int64[size, size], `IGNORE_LABEL` where padded.
    """
    content = content_size(tf.shape(label), size)
    label = tf.image.resize(label[:, :, tf.newaxis], content, method="nearest")[:, :, 0]
    padding = [[0, size - content[0]], [0, size - content[1]]]
    canvas = tf.pad(tf.cast(label, tf.int64), padding, constant_values=IGNORE_LABEL)
    return tf.ensure_shape(canvas, [size, size])


def content_size(picture_size: tf.Tensor, canvas_size: int) -> tf.Tensor:
    """The (height, width) int32[2] that a picture of `picture_size` has inside the canvas: at most its own."""
    longest = tf.reduce_max(picture_size)
    scale = tf.minimum(tf.cast(canvas_size / longest, tf.float32), 1.0)
    fitted = tf.cast(tf.round(tf.cast(picture_size, tf.float32) * scale), tf.int32)
    return tf.clip_by_value(fitted, 1, canvas_size)
