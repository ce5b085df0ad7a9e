"""Layers that Keras does not have."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("deeplab")
class AlignedUpsampling(keras.layers.Layer):
    """Bilinear upsampling that keeps features on the pixels they were computed at.

    A network whose convolutions are padded by half their kernel computes feature i at pixel `factor * i`. Between two
    features the value is interpolated; beyond the last it is repeated. This is `align_corners` for the sizes
    `factor * k + 1` that the paper uses, and stays right for others, where half-pixel resizing is off by up to
    `factor / 2` pixels.

    Args:
        factor: pixels of the output per feature of the input.
        size: (height, width) of the output, pixels; at most `factor` times the input's.
    """

    def __init__(self, factor: int, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.size = tuple(size)

    def build(self, input_shape):
        self._rows = _interpolation_matrix(input_shape[1], self.size[0], self.factor)
        self._columns = _interpolation_matrix(input_shape[2], self.size[1], self.factor)

    def call(self, features):
        """float[N, h, w, C] -> float[N, *size, C]."""
        _, height, width, channels = features.shape
        # Matrix products, for their gradients are matrix products again: on a CPU far cheaper than those of slicing.
        rows = ops.convert_to_tensor(self._rows, features.dtype)
        columns = ops.convert_to_tensor(self._columns, features.dtype)
        features = ops.matmul(rows, ops.reshape(features, (-1, height, width * channels)))
        return ops.matmul(columns, ops.reshape(features, (-1, self.size[0], width, channels)))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "size": self.size}


def _interpolation_matrix(length: int, size: int, factor: int) -> np.ndarray:
    """float32[size, length]: the weight of each feature in each pixel of a line."""
    position = np.minimum(np.arange(size) / factor, length - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, length - 1)
    weight = position - before
    matrix = np.zeros((size, length), np.float32)
    matrix[np.arange(size), before] += 1 - weight
    matrix[np.arange(size), after] += weight
    return matrix


@keras.saving.register_keras_serializable("deeplab")
class DilatedMaxPooling2D(keras.layers.Layer):
    """Max pooling of stride 1 over a window with holes, which Keras' own pooling cannot do.

    Args:
        pool_size: pixels read along each side of the window; odd.
        dilation_rate: distance between the pixels read.
    """

    def __init__(self, pool_size: int, dilation_rate: int, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.dilation_rate = dilation_rate

    def call(self, features):
        """float[N, H, W, C] -> float[N, H, W, C]."""
        reach = self.pool_size // 2 * self.dilation_rate
        for axis in (1, 2):
            padding = [(0, 0)] * 4
            padding[axis] = (reach, reach)
            length = features.shape[axis]
            padded = ops.pad(features, padding, constant_values=-float("inf"))
            for start in range(0, 2 * reach + 1, self.dilation_rate):
                window = padded[:, start : start + length] if axis == 1 else padded[:, :, start : start + length]
                features = ops.maximum(features, window)
        return features

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size, "dilation_rate": self.dilation_rate}
