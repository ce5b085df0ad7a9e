"""Layers that Keras does not have."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.rows = _interpolation_matrix(input_shape[1], self.size[0], self.factor)
        self.columns = _interpolation_matrix(input_shape[2], self.size[1], self.factor)

    def call(self, features):
        """float[N, h, w, C] -> float[N, *size, C]."""
        # Matrix products, for their gradients are matrix products again: on a CPU far cheaper than those of slicing.
        return multiply_along_both(features, self.rows, self.columns)

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


_LEAST = 2.0**-4
"""Half levels beyond the padding's that are a difference for sure."""


@keras.saving.register_keras_serializable("deeplab")
class Content(keras.layers.Layer):
    """Which rows and columns of the features lie on the picture, and not on the padding around it.

    Padding is what has the mean colour all along a line of pixels, in 8 bits as near as they come to it. A picture may
    have such pixels, but hardly such lines.

    Args:
        half_level: half the distance of two 8-bit levels in each channel as it is normalised.
        stride: pixels per feature.
    """

    def __init__(self, half_level: Sequence[float], stride: int, **kwargs):
        super().__init__(**kwargs)
        self.half_level = tuple(half_level)
        self.stride = stride

    def call(self, images):
        """float[N, H, W, 3], normalised -> float[N, 1, h] and float[N, 1, w], 1 for those on the picture, else 0."""
        return self._seen(images[:, :: self.stride], along=2), self._seen(images[:, :, :: self.stride], along=1)

    def _seen(self, lines, along: int):
        levels = np.array(self.half_level, np.float32)
        # Two bytes may be as near to the mean, which then is half a level from both, but for rounding.
        differs = ops.max(ops.abs(lines) / levels - 1.01, axis=(along, 3))
        # Not a comparison, whose result would have to be made a number again: LiteRT cannot do that in 8 bits.
        return ops.expand_dims(ops.minimum(ops.relu(differs), _LEAST) / _LEAST, 1)

    def compute_output_shape(self, input_shape):
        return tuple((input_shape[0], 1, -(-length // self.stride)) for length in input_shape[1:3])

    def get_config(self):
        return {**super().get_config(), "half_level": self.half_level, "stride": self.stride}


@keras.saving.register_keras_serializable("deeplab")
class GridPooling(keras.layers.Layer):
    """Means over a grid of bins that cover the features, whatever their size, of what `Content` says lies on a picture.

    Else the means of one picture would depend on how much padding is around it. A bin that has only padding is the mean
    of that.

    Args:
        bins: (vertical, horizontal).
    """

    def __init__(self, bins: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.bins = tuple(bins)

    def call(self, features, rows, columns):
        """float[N, h, w, C], float[N, 1, h] and float[N, 1, w] -> float[N, *bins, C]."""
        return multiply_along_both(features, _weights(rows, self.bins[0]), _weights(columns, self.bins[1]))

    def compute_output_shape(self, features_shape, rows_shape, columns_shape):
        return (features_shape[0], *self.bins, features_shape[3])

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("deeplab")
class GridUpsampling(keras.layers.Layer):
    """Bilinear upsampling of the means of a grid of bins, each of which lies in the middle of its bin.

    Args:
        size: (height, width) of the output.
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, features):
        """float[N, *bins, C] -> float[N, *size, C]."""
        if features.shape[1:3] == (1, 1):
            return ops.broadcast_to(features, (ops.shape(features)[0], *self.size, features.shape[3]))
        return ops.image.resize(features, self.size, interpolation="bilinear")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def _weights(seen, bins: int):
    """float[N, 1, length], 1 for the features that are to be seen -> float[N, bins, length], of each in each mean."""
    covered = ops.convert_to_tensor(_bin_matrix(seen.shape[2], bins), seen.dtype)
    ones = ops.ones((seen.shape[2], 1), seen.dtype)
    counted = covered * seen
    # A product in place of the sum, which of several rows is wrong in LiteRT's 8 bits.
    counted += covered * ops.relu(1 - ops.matmul(counted, ones))
    # Not a quotient, which LiteRT cannot do in 8 bits at all.
    root = ops.rsqrt(ops.matmul(counted, ones))
    return counted * root * root


def _bin_matrix(length: int, bins: int) -> np.ndarray:
    """float32[bins, length]: 1 for the features that a bin covers; bins overlap where they do not divide evenly."""
    matrix = np.zeros((bins, length), np.float32)
    for index in range(bins):
        start, end = index * length // bins, -(-(index + 1) * length // bins)
        matrix[index, start:end] = 1
    return matrix


def multiply_along_both(features, rows, columns):
    """Multiplies features by matrices, the same for all examples or each by its own.

    Args:
        features: float[N, h, w, C].
        rows: float[H, h] or float[N, H, h], from above.
        columns: float[W, w] or float[N, W, w], from the left.

    Returns:
        float[N, H, W, C].
    """
    _, height, width, channels = features.shape
    features = ops.matmul(
        ops.convert_to_tensor(rows, features.dtype), ops.reshape(features, (-1, height, width * channels))
    )
    features = ops.reshape(features, (-1, rows.shape[-2], width, channels))
    columns = ops.convert_to_tensor(columns, features.dtype)
    if len(columns.shape) == 3:
        columns = ops.expand_dims(columns, 1)
    return ops.matmul(columns, features)


@keras.saving.register_keras_serializable("deeplab")
class DilatedPooling2D(keras.layers.Layer):
    """Pooling of stride 1 over a window with holes, which Keras' own pooling cannot do.

    Args:
        operation: "max" or "average"; an average is over the pixels that lie inside the features.
        pool_size: pixels read along each side of the window.
        dilation_rate: distance between the pixels read.
        padding: "same" or "valid", as for Keras' own pooling.
    """

    def __init__(self, operation: str, pool_size: int, dilation_rate: int, padding: str = "same", **kwargs):
        super().__init__(**kwargs)
        self.operation = operation
        self.pool_size = pool_size
        self.dilation_rate = dilation_rate
        self.padding = padding

    def call(self, features):
        """float[N, H, W, C] -> float[N, H, W, C], or less of H and W where the window must lie inside."""
        if self.operation == "max":
            return self._pooled(features, ops.maximum, outside=-float("inf"))
        inside = self._pooled(ops.ones_like(features[:1, :, :, :1]), ops.add, outside=0.0)
        return self._pooled(features, ops.add, outside=0.0) / inside

    def _pooled(self, features, combine, outside: float):
        for axis in (1, 2):
            features = self._pooled_along(features, axis, combine, outside)
        return features

    def _pooled_along(self, features, axis: int, combine, outside: float):
        """Combines the pixels of the window along one axis; both operations fall into one axis after the other."""
        reach = (self.pool_size - 1) * self.dilation_rate
        if self.padding == "same":
            # A window of even size reaches farther to the end, as TensorFlow's does.
            before = (self.pool_size - 1) // 2 * self.dilation_rate
            padding = [(0, 0)] * 4
            padding[axis] = (before, reach - before)
            features = ops.pad(features, padding, constant_values=outside)
        length = features.shape[axis] - reach
        windows = [
            features[:, start : start + length] if axis == 1 else features[:, :, start : start + length]
            for start in range(0, reach + 1, self.dilation_rate)
        ]
        combined = windows[0]
        for window in windows[1:]:
            combined = combine(combined, window)
        return combined

    def compute_output_shape(self, input_shape):
        if self.padding == "same":
            return input_shape
        reach = (self.pool_size - 1) * self.dilation_rate
        return (input_shape[0], input_shape[1] - reach, input_shape[2] - reach, input_shape[3])

    def get_config(self):
        return {
            **super().get_config(),
            "operation": self.operation,
            "pool_size": self.pool_size,
            "dilation_rate": self.dilation_rate,
            "padding": self.padding,
        }
