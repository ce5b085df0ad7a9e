"""The network of a SavedModel as other runtimes are to run it: the bytes of a canvas to class indices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augmentation import normalised, scaled
from trainer.data.preprocessing import decode_image, decode_label, image_canvas, label_canvas
from trainer.model.backbones import BACKBONES, Normalisation
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.folding import folded
from trainer.model.weights import transfer
from trainer.serving.bias_correction import correct_biases
from trainer.serving.signatures import read_network
from trainer.serving.tensorflow_kernels import with_tensorflow_kernels


@dataclass(frozen=True)
class Canvas:
    """A picture in the top left corner of the network's canvas."""

    pixels: np.ndarray
    """uint8[S, S, 3], RGB, `CanvasSegmenter.padding_color` around the picture."""
    content_size: tuple[int, int]
    """(height, width) of the picture in it, pixels."""
    label: np.ndarray | None = None
    """uint8[S, S], class indices, void around the picture."""


class CanvasSegmenter(tf.Module):
    """The network between the bytes of one canvas and its class indices, without anything that varies in size.

    Args:
        network: DeepLabV3+, images to logits, as `deeplabv3plus` builds it.
        normalisation: the backbone's.
    """

    def __init__(self, network: keras.Model, normalisation: Normalisation):
        super().__init__()
        self._normalisation = normalisation
        self._unfolded = with_tensorflow_kernels(network)
        network = folded(self._unfolded)
        self._network = network
        self.size: int = network.input_shape[1]
        """S, side of the canvas, pixels."""
        self.num_classes: int = network.output_shape[-1]
        red, green, blue = (round(value) for value in normalisation.mean)
        self.padding_color = (red, green, blue)
        """The bytes nearest to the mean, which the network takes for padding."""
        shape = [1, self.size, self.size, 3]
        self.from_floats = tf.function(
            lambda image: self._class_indices(scaled(image, normalisation)), [tf.TensorSpec(shape, tf.float32, "image")]
        )
        """RGB float32[1, S, S, 3], 0 to 255 -> class indices int32[1, S, S]."""
        self.from_bytes = tf.function(
            lambda image: self._class_indices(scaled(image, normalisation)), [tf.TensorSpec(shape, tf.uint8, "image")]
        )
        """RGB uint8[1, S, S, 3] -> class indices int32[1, S, S]."""
        self._as_served = tf.function(
            lambda pixels, content: self._class_indices(normalised(pixels, content, normalisation)),
            [tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([1, 2], tf.int64)],
        )

    def as_served(self, canvas: Canvas) -> np.ndarray:
        """What the network says of a canvas in the SavedModel, where padding is the mean itself: int32[S, S]."""
        return self._as_served(canvas.pixels[np.newaxis], np.array([canvas.content_size], np.int64))[0].numpy()

    def canvas(self, image: bytes, label: bytes | None = None) -> Canvas:
        """Fits an encoded picture, and its mask if there is one, into the canvas, as Transform does.

        Args:
            image: JPEG or PNG.
            label: one-channel PNG of class indices.
        """
        pixels, content = image_canvas(decode_image(image), self.size)
        height, width = content.numpy().tolist()
        padded = np.full((self.size, self.size, 3), self.padding_color, np.uint8)
        padded[:height, :width] = pixels[:height, :width].numpy()
        fitted = None if label is None else label_canvas(decode_label(label), self.size).numpy()
        return Canvas(padded, (height, width), fitted)

    def for_8_bits(self, canvases: Iterable[Canvas]) -> CanvasSegmenter:
        """Another one, whose biases make up for what rounding the kernels to 8 bits does; see `correct_biases`.

        Args:
            canvases: pictures as the network is to see them.
        """
        other = CanvasSegmenter(self._unfolded, self._normalisation)
        batches = (scaled(canvas.pixels[np.newaxis], self._normalisation) for canvas in canvases)
        correct_biases(other._network, batches, compiled=tf.function)
        return other

    def _class_indices(self, images: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._network(images, training=False), axis=-1, output_type=tf.int32)


def read_segmenter(saved_model: str) -> CanvasSegmenter:
    """Builds the network of a SavedModel anew, from nothing but what lies in its folder.

    Args:
        saved_model: the folder.

    Raises:
        WeightsError: it does not say what its network is, or has no weights that fit it.
    """
    description, weights = read_network(saved_model)
    network = deeplabv3plus(description.base_model, description.nn_arch)
    transfer(weights, network, saved_model)
    return CanvasSegmenter(network, BACKBONES[description.base_model].normalisation)
