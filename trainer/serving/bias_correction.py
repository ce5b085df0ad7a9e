"""Biases that make up for kernels rounded to 8 bits: bias correction (arXiv:1906.04721, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras
import numpy as np
from keras import ops

from trainer.model.folding import FoldedConvolution

LARGEST = 127
"""The value that the largest weight of an output channel is rounded to, as LiteRT's specification of 8 bits says."""


def correct_biases(
    network: keras.Model, batches: Iterable, compiled: Callable[[Callable], Callable] = lambda function: function
) -> None:
    """Moves biases so that the outputs of convolutions keep their means when the kernels are rounded.

    The few weights of a channel do not round to the same sum, and features behind a ReLU are all positive. So what
    rounding does to a channel has a mean, which adds up from layer to layer where noise would not. A convolution that
    no batch normalisation follows, as that of the logits, is left as it is.

    Args:
        network: as `folded` gives it. The biases are in its batch normalisations, which are changed.
        batches: float32[N, S, S, 3], normalised; pictures as the network is to see them.
        compiled: makes a faster function of the network.
    """
    observed: list[_Observed] = []

    def observe(layer: keras.Layer) -> keras.Layer:
        if not (isinstance(layer, FoldedConvolution) and layer.norm.center):
            return layer
        observed.append(_Observed(layer))
        return observed[-1]

    observing = keras.models.clone_model(network, clone_function=observe, recursive=True)
    observe_batch = compiled(lambda images: observing(images, training=False))
    for images in batches:
        observe_batch(images)
    for each in observed:
        each.layer.norm.beta.assign_add(each.mean_error)


def _rounded(kernel, axes: tuple[int, ...]):
    """As LiteRT rounds it, in steps that the largest weight along the axes decides on."""
    if kernel is None:
        return None
    steps = ops.max(ops.abs(kernel), axis=axes, keepdims=True) / LARGEST
    # Channels that are all zero stay so.
    steps = ops.where(steps == 0, 1.0, steps)
    return ops.round(kernel / steps) * steps


class _Observed(keras.layers.Layer):
    """A folded convolution that keeps the mean of what rounding its kernels would take from each channel it gives.

    The mean is of real outputs, for at the border of the features a kernel's weights do not all count: with large
    atrous rates, that is nearly everywhere.
    """

    def __init__(self, layer: FoldedConvolution):
        super().__init__(name=f"{layer.name}_observed")
        self.layer = layer

    def build(self, input_shape):
        width = self.layer.compute_output_shape(input_shape)[-1]
        self._sum = self.add_weight(shape=(width,), initializer="zeros", trainable=False)
        self._batches = self.add_weight(shape=(), initializer="zeros", trainable=False)

    @property
    def mean_error(self) -> np.ndarray:
        """float32[D]."""
        return ops.convert_to_numpy(self._sum / self._batches)

    def call(self, features):
        """float[N, H, W, C] -> float[N, h, w, D]."""
        depthwise, full = self.layer.kernels()
        outputs = self.layer.convolved(features, depthwise, full)
        rounded = self.layer.convolved(features, _rounded(depthwise, (0, 1)), _rounded(full, (0, 1, 2)))
        self._sum.assign_add(ops.mean(ops.cast(outputs - rounded, "float32"), axis=(0, 1, 2)))
        self._batches.assign_add(1.0)
        return self.layer(features)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)
