"""Averages a network's probabilities over sizes of the picture, and over both its sides.

This is how the paper's best numbers are made (arXiv:1802.02611, section 4.1). What is served does without: it costs as
many times the work as there are scales, and twice that with flipping.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.data.augmentation import normalised
from trainer.data.preprocessing import content_size
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.folding import folded
from trainer.model.weights import Weights, transfer
from trainer.serving.argmax import largest_in_bands, resized_rows
from trainer.serving.tensorflow_kernels import with_tensorflow_kernels
from trainer.settings import BackboneName, NNArch

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Those of the paper."""


class MultiScale:
    """A network for each scale, with the same weights.

    Args:
        base_model: the backbone's name.
        nn_arch: the network, at scale 1.
        weights: of the whole network.
        scales: sizes of the picture, by that which it has inside the network's canvas.
        flip: whether each is seen mirrored as well.
        source: where the weights are from, for messages.

    Raises:
        WeightsError: the weights do not fit the network.
    """

    def __init__(
        self,
        base_model: BackboneName,
        nn_arch: NNArch,
        weights: Weights,
        *,
        scales: Sequence[float],
        flip: bool,
        source: str,
    ):
        self._size = nn_arch.image_size
        self._flip = flip
        self._normalisation = BACKBONES[base_model].normalisation
        self._networks: list[tuple[float, keras.Model]] = []
        for scale in scales:
            network = deeplabv3plus(base_model, nn_arch.at_image_size(round(scale * self._size)))
            transfer(weights, network, source)
            self._networks.append((scale, folded(with_tensorflow_kernels(network))))
        self.class_indices = tf.function(
            self._class_indices,
            [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)],
        )
        """RGB uint8[H, W, 3] and a size int32[2] -> class indices int32[*size]."""

    def _class_indices(self, image: tf.Tensor, output_size: tf.Tensor) -> tf.Tensor:
        content = tf.cast(content_size(tf.shape(image)[:2], self._size), tf.float32)
        logits = []
        for scale, network in self._networks:
            side = round(scale * self._size)
            scaled = tf.clip_by_value(tf.cast(tf.round(scale * content), tf.int32), 1, side)
            pixels = tf.image.resize(image, scaled, method="bilinear", antialias=True)
            logits.append(self._logits(network, pixels, scaled, side))
            if self._flip:
                flipped = self._logits(network, tf.reverse(pixels, [1]), scaled, side)
                logits.append(tf.reverse(flipped, [1]))

        def probabilities(rows: tf.Tensor) -> tf.Tensor:
            return tf.add_n([tf.nn.softmax(resized_rows(each, rows, output_size)) for each in logits])

        # In bands: at its own size, a picture of the most pixels that are read would have 8 GB of them.
        return largest_in_bands(probabilities, output_size, logits[0].shape[2])

    def _logits(self, network: keras.Model, pixels: tf.Tensor, size: tf.Tensor, side: int) -> tf.Tensor:
        """float32[h, w, 3], 0 to 255, on a canvas of its own -> float32[h, w, C]."""
        canvas = tf.image.pad_to_bounding_box(tf.cast(tf.round(pixels), tf.uint8), 0, 0, side, side)
        canvases = normalised(canvas[tf.newaxis], tf.cast(size, tf.int64)[tf.newaxis], self._normalisation)
        return network(canvases, training=False)[0, : size[0], : size[1]]
