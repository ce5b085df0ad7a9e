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
    rounding does to a channel has a mean, which adds up from layer to layer where noise would not.

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
        depthwise, full = (
            kernel if kernel is None else ops.convert_to_numpy(kernel) for kernel in each.layer.kernels()
        )
        rounded = _response(each.mean, _rounded(depthwise, (0, 1)), _rounded(full, (0, 1, 2)))
        each.layer.norm.beta.assign_add(_response(each.mean, depthwise, full) - rounded)


def _rounded(kernel: np.ndarray | None, axes: tuple[int, ...]) -> np.ndarray | None:
    """As LiteRT rounds it, in steps that the largest weight along the axes decides on."""
    if kernel is None:
        return None
    steps = np.abs(kernel).max(axis=axes, keepdims=True) / LARGEST
    # Channels that are all zero stay so.
    steps[steps == 0] = 1
    return np.round(kernel / steps) * steps


def _response(mean: np.ndarray, depthwise: np.ndarray | None, full: np.ndarray | None) -> np.ndarray:
    """What a convolution makes of features that are the same everywhere: float32[C] -> float32[D]."""
    if depthwise is not None:
        mean = (mean[:, np.newaxis] * depthwise.sum(axis=(0, 1))).ravel()
    return mean if full is None else mean @ full.sum(axis=(0, 1))


class _Observed(keras.layers.Layer):
    """A folded convolution that keeps the mean of each channel that it reads."""

    def __init__(self, layer: FoldedConvolution):
        super().__init__(name=f"{layer.name}_observed")
        self.layer = layer

    def build(self, input_shape):
        self._sum = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False)
        self._batches = self.add_weight(shape=(), initializer="zeros", trainable=False)

    @property
    def mean(self) -> np.ndarray:
        """float32[C]."""
        return ops.convert_to_numpy(self._sum / self._batches)

    def call(self, features):
        """float[N, H, W, C] -> float[N, h, w, D]."""
        self._sum.assign_add(ops.mean(ops.cast(features, "float32"), axis=(0, 1, 2)))
        self._batches.assign_add(1.0)
        return self.layer(features)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)
