"""Batch normalisation folded into the convolutions before it, for inference (arXiv:1712.05877, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops

from trainer.model.atrous import CONVOLUTIONS


def folded(network: keras.Model) -> keras.Model:
    """A network for inference alone, in which a convolution does the work of the batch normalisation after it.

    It shares its layers and variables with `network`: what is assigned to one holds for the other.

    Args:
        network: functional, with functional models nested in it or not.

    Returns:
        A functional model that computes what `network` computes in inference, but for rounding.
    """
    convolutions = {norm: convolution for convolution, norm in _pairs(network)}
    replaced = set(convolutions.values())

    def convert(layer: keras.Layer) -> keras.Layer:
        return FoldedConvolution(convolutions[layer], layer) if layer in convolutions else layer

    def call(layer: keras.Layer, *inputs, mask=None, **arguments):
        return inputs[0] if layer in replaced else layer(*inputs, **arguments)

    return keras.models.clone_model(network, clone_function=convert, call_function=call, recursive=True)


class FoldedConvolution(keras.layers.Layer):
    """A convolution and the batch normalisation that follows it, as one convolution with a bias.

    The kernel is multiplied anew in each call, which costs next to nothing beside the convolution and keeps the
    variables as they were trained.

    Args:
        convolution: with or without a bias of its own, without activation.
        norm: reads the convolution's output.
    """

    def __init__(self, convolution: keras.Layer, norm: keras.layers.BatchNormalization):
        super().__init__(name=f"{norm.name}_folded", dtype=convolution.dtype_policy)
        self.convolution = convolution
        self.norm = norm
        self.built = True

    def call(self, features):
        """float[N, H, W, C] -> float[N, h, w, D]."""
        convolution, norm, factor = self.convolution, self.norm, self._factor()
        mean = norm.moving_mean - convolution.bias if convolution.use_bias else norm.moving_mean
        bias = norm.beta - mean * factor if norm.center else -mean * factor
        return self.convolved(features, *self.kernels()) + ops.cast(bias, self.compute_dtype)

    def convolved(self, features, depthwise, full):
        """Without the bias, with kernels such as `kernels` gives: float[N, H, W, C] -> float[N, h, w, D]."""
        options = {
            "strides": self.convolution.strides,
            "padding": self.convolution.padding,
            "dilation_rate": self.convolution.dilation_rate,
        }
        depthwise, full = (
            kernel if kernel is None else ops.cast(kernel, self.compute_dtype) for kernel in (depthwise, full)
        )
        if full is None:
            return ops.depthwise_conv(features, depthwise, **options)
        if depthwise is None:
            return ops.conv(features, full, **options)
        return ops.separable_conv(features, depthwise, full, **options)

    def kernels(self) -> tuple:
        """What each channel is convolved with, float32[h, w, C, M], and what all of those then are, [h, w, C * M, D].

        One of both may be None. The factor of batch normalisation is in the last one.
        """
        convolution, factor = self.convolution, self._factor()
        if isinstance(convolution, keras.layers.SeparableConv2D):
            return convolution.depthwise_kernel, convolution.pointwise_kernel * factor
        if isinstance(convolution, keras.layers.DepthwiseConv2D):
            return convolution.kernel * ops.reshape(factor, convolution.kernel.shape[2:]), None
        return None, convolution.kernel * factor

    def _factor(self):
        """Of batch normalisation, float32[D]."""
        factor = ops.rsqrt(self.norm.moving_variance + self.norm.epsilon)
        return factor * self.norm.gamma if self.norm.scale else factor

    def compute_output_shape(self, input_shape):
        return self.convolution.compute_output_shape(input_shape)


def _pairs(network: keras.Model) -> Iterator[tuple[keras.Layer, keras.layers.BatchNormalization]]:
    """Convolutions whose output a batch normalisation reads and nothing else."""
    readers: dict[keras.Layer, list[keras.Layer]] = {}
    for layer in network.operations:
        if isinstance(layer, keras.Model):
            yield from _pairs(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            for parent in layer._inbound_nodes[0].parent_nodes:
                readers.setdefault(parent.operation, []).append(layer)
    for layer, reading in readers.items():
        if isinstance(layer, CONVOLUTIONS) and isinstance(reading[0], keras.layers.BatchNormalization):
            linear = layer.activation is keras.activations.linear
            if len(reading) == 1 and linear and layer.output not in network.outputs:
                yield layer, reading[0]
