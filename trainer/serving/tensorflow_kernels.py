"""TensorFlow's own kernels for what Keras computes in several steps. The network stays the same, weights and all.

On a CPU, and on a GPU without XLA, batch normalisation as Keras composes it takes longer than the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.model.layers import AlignedUpsampling, multiply_along_both


def with_tensorflow_kernels(network: keras.Model) -> keras.Model:
    """A copy of a network that computes the same with fewer, faster kernels.

    Args:
        network: functional; the copy has the same layer names and its own variables, with the same values.
    """
    copy = keras.models.clone_model(network, clone_function=_convert, recursive=True)
    copy.set_weights(network.get_weights())
    return copy


def in_one_loop(function: Callable) -> Callable:
    """The same function of tensors, compiled by XLA where it computes on a CPU.

    For many small operations on large tensors, which on a CPU spend their time on memory: one loop takes a fifth of
    it. (Convolutions are many times slower by XLA.) A GPU has the bandwidth, and XLA would want a CUDA compiler there.
    """
    if tf.config.list_physical_devices("GPU"):
        return function
    return tf.function(function, jit_compile=True)


def _convert(layer: keras.Layer) -> keras.Layer:
    # One kernel cannot reach over replicas.
    if type(layer) is keras.layers.BatchNormalization and not layer.synchronized:
        return FusedBatchNormalization.from_config(layer.get_config())
    if type(layer) is AlignedUpsampling:
        return ResizingUpsampling.from_config(layer.get_config())
    return type(layer).from_config(layer.get_config())


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation in one kernel for each direction, in training."""

    def call(self, inputs, training=None, mask=None):
        """float[N, H, W, C] -> the same."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        gamma = self.gamma if self.scale else tf.ones_like(self.moving_mean)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(gamma),
            tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel gives the unbiased variance, Keras keeps the biased one.
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], variance.dtype)
        for statistic, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            statistic.assign(statistic * self.momentum + value * (1 - self.momentum))
        return outputs


class ResizingUpsampling(AlignedUpsampling):
    """Aligned upsampling by TensorFlow's resizing, whose own gradient is slow, with that of the matrix products."""

    def call(self, features):
        """float[N, h, w, C] -> float[N, *size, C]."""

        @tf.custom_gradient
        def upsample(features):
            # Up to the last feature's pixel corners are aligned; the network asks for no more.
            whole = [self.factor * (length - 1) + 1 for length in features.shape[1:3]]
            upsampled = tf.raw_ops.ResizeBilinear(images=features, size=whole, align_corners=True)
            upsampled = upsampled[:, : self.size[0], : self.size[1]]

            def gradient(upstream):
                return tf.cast(multiply_along_both(upstream, self.rows.T, self.columns.T), features.dtype)

            return tf.cast(upsampled, features.dtype), gradient

        return upsample(features)
