"""TensorFlow's kernels compute what Keras computes."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.data.augmentation import DRAWS, augment
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.layers import AlignedUpsampling
from trainer.serving.tensorflow_kernels import (
    FusedBatchNormalization,
    ResizingUpsampling,
    in_one_loop,
    with_tensorflow_kernels,
)
from trainer.settings import Augmentation, Hps, NNArch


def outputs_and_gradients(layer: keras.Layer, inputs: tf.Tensor, upstream: tf.Tensor) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    gradients = tape.gradient(outputs, [inputs, *layer.trainable_variables], output_gradients=upstream)
    return [outputs.numpy(), *(gradient.numpy() for gradient in gradients), *layer.get_weights()]


@pytest.mark.parametrize("scale", [True, False])
def test_fused_batch_normalisation_is_keras_own(scale):
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(2, 3, (4, 5, 6, 7)).astype(np.float32))
    upstream = tf.constant(rng.normal(size=inputs.shape).astype(np.float32))
    plain = keras.layers.BatchNormalization(momentum=0.7, scale=scale)
    fused = FusedBatchNormalization.from_config(plain.get_config())
    for layer in (plain, fused):
        layer.build(inputs.shape)
    fused.set_weights([weight + 0.1 for weight in plain.get_weights()])
    plain.set_weights(fused.get_weights())
    for theirs, ours in zip(
        outputs_and_gradients(plain, inputs, upstream), outputs_and_gradients(fused, inputs, upstream), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fused(inputs), plain(inputs), rtol=1e-5, atol=1e-5)


def test_frozen_batch_normalisation_keeps_its_statistics():
    layer = FusedBatchNormalization(trainable=False)
    inputs = tf.random.normal((4, 5, 6, 7), mean=3)
    np.testing.assert_allclose(layer(inputs, training=True), inputs / np.sqrt(1 + layer.epsilon), rtol=1e-5)
    assert not layer.moving_mean.numpy().any()


@pytest.mark.parametrize(("length", "factor", "size"), [(5, 4, 17), (9, 4, 30), (3, 8, 17), (4, 1, 4)])
def test_resizing_upsampling_is_aligned_upsampling(length, factor, size):
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(2, length, length, 3)).astype(np.float32))
    upstream = tf.constant(rng.normal(size=(2, size, size, 3)).astype(np.float32))
    for theirs, ours in zip(
        outputs_and_gradients(AlignedUpsampling(factor, (size, size)), inputs, upstream),
        outputs_and_gradients(ResizingUpsampling(factor, (size, size)), inputs, upstream),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_whole_network_in_training():
    keras.utils.set_random_seed(0)
    arch = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24, dropout_rate=0)
    network = deeplabv3plus("MobileNetV2", arch, Hps(bn_momentum=0.5))
    copy = with_tensorflow_kernels(network)
    assert [weight.path for weight in copy.weights] == [weight.path for weight in network.weights]
    images = tf.random.stateless_normal((2, 65, 65, 3), seed=(0, 0))
    assert np.abs(copy(images, training=True) - network(images, training=True)).max() < 5e-3
    for theirs, ours in zip(network.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert sum(copy.losses).numpy() == pytest.approx(sum(network.losses).numpy())


def test_statistics_over_all_replicas_stay_keras_own():
    arch = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24)
    copy = with_tensorflow_kernels(deeplabv3plus("MobileNetV2", arch, Hps(bn_synchronized=True)))
    assert not [layer for layer in copy._flatten_layers() if isinstance(layer, FusedBatchNormalization)]


def test_the_augmentation_in_one_loop_is_the_same():
    rng = np.random.default_rng(0)
    canvases, labels = (tf.constant(rng.integers(0, 21, (4, 33, 33, *end), np.uint8)) for end in ([3], []))
    sizes = tf.constant([[33, 33], [20, 33], [33, 20], [9, 9]], tf.int64)
    draws = tf.constant(rng.random((4, DRAWS), np.float32))
    settings = Augmentation(rotation=30, brightness=0.2, contrast=0.2, saturation=0.2, hue=20)
    plain = partial(augment, size=33, settings=settings, normalisation=MINUS_ONE_TO_ONE)
    (images, moved), (images2, moved2) = (
        function(canvases, labels, sizes, draws) for function in (plain, in_one_loop(plain))
    )
    np.testing.assert_allclose(images2, images, atol=1e-4)
    # A place between two pixels may be rounded to either.
    assert (moved2 != moved).numpy().mean() < 0.005
