"""With rounded kernels, corrected biases keep the means of features."""

import keras
import numpy as np
import pytest
from keras import layers

from trainer.model.folding import folded
from trainer.serving.bias_correction import LARGEST, correct_biases

SIZE, CHANNELS = 9, 6


@pytest.fixture
def network():
    """Convolutions of all kinds, each with batch normalisation and a ReLU behind it, and weights of different sizes."""
    keras.utils.set_random_seed(0)
    images = layers.Input((SIZE, SIZE, CHANNELS))
    features = images
    for layer in (
        layers.Conv2D(8, 3, padding="valid", name="plain"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="depthwise"),
        layers.SeparableConv2D(8, 3, use_bias=False, name="separable"),
    ):
        norm = layers.BatchNormalization(name=f"{layer.name}_bn")
        features = layers.ReLU()(norm(layer(features)))
        random = np.random.default_rng(len(layer.name))
        # Channels of a few large weights among small ones are those that rounding harms.
        layer.set_weights([random.normal(0, 1, each.shape) ** 3 for each in layer.get_weights()])
        norm.set_weights(
            [random.uniform(0.5, 1.5, each.shape) for each in (norm.gamma, norm.beta)]
            + [random.normal(size=norm.moving_mean.shape), random.uniform(5, 20, norm.moving_variance.shape)]
        )
    return keras.Model(images, features)


@pytest.fixture
def images():
    """Colours that are the same all over a picture: so what holds of means holds of each pixel."""
    return np.broadcast_to(np.random.default_rng(0).uniform(0, 1, CHANNELS), (2, SIZE, SIZE, CHANNELS)).astype(
        "float32"
    )


def rounded(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    step = np.abs(kernel).max(axes, keepdims=True) / LARGEST
    return np.round(kernel / step) * step


def round_kernels(network: keras.Model) -> None:
    """Batch normalisation's factor is the same for all weights of an output channel, and so changes no rounding."""
    for name, number, axes in (
        ("plain", 0, (0, 1, 2)),
        ("depthwise", 0, (0, 1)),
        ("separable", 0, (0, 1)),
        ("separable", 1, (0, 1, 2)),
    ):
        layer = network.get_layer(name)
        weights = layer.get_weights()
        weights[number] = rounded(weights[number], axes)
        layer.set_weights(weights)


def test_outputs_keep_their_means_when_kernels_are_rounded(network, images):
    expected = np.array(network(images, training=False))
    uncorrected = keras.models.clone_model(network)
    uncorrected.set_weights(network.get_weights())
    round_kernels(uncorrected)
    error = np.abs(np.array(uncorrected(images, training=False)) - expected).max()
    correct_biases(folded(network), [images, images])
    round_kernels(network)
    assert error > 1e-3
    assert np.abs(np.array(network(images, training=False)) - expected).max() < error / 100


def test_kernels_that_round_to_themselves_need_no_correction(network, images):
    round_kernels(network)
    before = network.get_weights()
    correct_biases(folded(network), [images])
    for was, is_now in zip(before, network.get_weights(), strict=True):
        np.testing.assert_allclose(is_now, was, atol=1e-5)


def test_a_channel_without_weights_stays_as_it_is(network, images):
    layer = network.get_layer("plain")
    kernel, bias = layer.get_weights()
    kernel[..., 0] = 0
    layer.set_weights([kernel, bias])
    beta = np.array(network.get_layer("plain_bn").beta)
    correct_biases(folded(network), [images])
    after = np.array(network.get_layer("plain_bn").beta)
    assert after[0] == beta[0]
    assert np.isfinite(after).all() and (after != beta).any()


def test_weights_that_lie_beyond_the_border_count_only_where_they_read_something():
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    features = layers.Input((SIZE, SIZE, CHANNELS))
    # Seven of nine weights of the corner's kernel read zeros, and so do some of every other pixel's.
    convolution = layers.DepthwiseConv2D(3, padding="same", dilation_rate=6, use_bias=False)
    norm = layers.BatchNormalization()
    network = keras.Model(features, norm(convolution(features)))
    convolution.set_weights([random.normal(0, 1, convolution.kernel.shape) ** 3])
    images = random.uniform(0, 1, (4, SIZE, SIZE, CHANNELS)).astype("float32")

    def means():
        return np.array(network(images, training=False)).mean((0, 1, 2))

    expected = means()
    correct_biases(folded(network), [images[:2], images[2:]])
    convolution.set_weights([rounded(convolution.get_weights()[0], (0, 1))])
    np.testing.assert_allclose(means(), expected, atol=1e-6)
    norm.beta.assign(np.zeros(CHANNELS))
    assert np.abs(means() - expected).max() > 1e-4
