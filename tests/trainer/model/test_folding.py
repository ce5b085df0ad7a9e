"""Folding changes no answer."""

import keras
import numpy as np
import pytest

from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.folding import FoldedConvolution, folded
from trainer.settings import Hps, NNArch

SMALL = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24)


def layers_of(network: keras.Model) -> list[keras.Layer]:
    return [layer for layer in network._flatten_layers(include_self=False) if not isinstance(layer, keras.Model)]


def with_random_statistics(network: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    for layer in layers_of(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.moving_mean.shape
            factor, variance = rng.uniform(0.5, 1.5, (2, *channels))
            offset, mean = rng.normal(0, 0.2, (2, *channels))
            layer.set_weights([factor, offset, mean, variance][-len(layer.weights) :])
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(rng.normal(0, 0.2, layer.bias.shape))
    return network


# Convolutions with and without bias, depthwise, separable; batch normalisation before the convolution (DenseNet).
@pytest.mark.parametrize(
    ("name", "bn_scale"),
    # The key concerns what is outside the backbone, so that one backbone is enough for it.
    [("MobileNetV2", True), ("MobileNetV2", False), ("Xception", True), ("ResNet50", True), ("DenseNet121", True)],
)
def test_a_folded_network_gives_the_same_logits(name, bn_scale):
    network = with_random_statistics(deeplabv3plus(name, SMALL, Hps(bn_scale=bn_scale)))
    images = np.random.default_rng(1).normal(size=(2, 65, 65, 3)).astype(np.float32)
    expected = network(images, training=False).numpy()
    logits = folded(network)(images, training=False).numpy()
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()


def test_no_batch_normalisation_is_left():
    network = deeplabv3plus("MobileNetV2", SMALL)
    norms = [layer.name for layer in layers_of(network) if isinstance(layer, keras.layers.BatchNormalization)]
    inference = folded(network)
    assert len([layer for layer in layers_of(inference) if isinstance(layer, FoldedConvolution)]) == len(norms)
    assert len(inference.weights) == len(network.weights), "the variables are shared, not copied"


def test_what_else_reads_a_convolution_sees_it_unfolded():
    images = keras.Input((8, 8, 3))
    convolved = keras.layers.Conv2D(4, 3, padding="same", name="read_twice")(images)
    normalised = keras.layers.BatchNormalization()(convolved)
    network = with_random_statistics(keras.Model(images, keras.layers.Add()([convolved, normalised])))
    batch = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    inference = folded(network)
    np.testing.assert_allclose(inference(batch), network(batch), rtol=1e-5, atol=1e-6)
    assert not [layer for layer in inference.layers if isinstance(layer, FoldedConvolution)]
