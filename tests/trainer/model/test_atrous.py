"""Atrous conversion keeps what a backbone has learnt."""

from typing import get_args

import keras
import numpy as np
import pytest

from trainer.model.atrous import to_output_stride
from trainer.model.backbones import BACKBONES, original_backbone
from trainer.settings import BackboneName

SIZE = 97


# Built in every run of the tests; the others in the slow ones.
CHEAP = {"MobileNetV2", "Xception", "ResNet50", "EfficientNetB0"}
ALL = [name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]


def random_backbone(name: str) -> keras.Model:
    """The backbone of `keras.applications` with weights under which its features differ from place to place."""
    backbone = original_backbone(name)
    rng = np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.moving_mean.shape
            values = [
                rng.uniform(0.5, 1.5, channels),
                rng.normal(0, 0.2, channels),
                rng.normal(0, 0.2, channels),
                rng.uniform(0.5, 1.5, channels),
            ]
            # Without the factor, where a layer has none.
            layer.set_weights(values[-len(layer.weights) :])
    return backbone


def random_images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)


def without_excitation(backbone: keras.Model) -> keras.Model:
    """Squeeze-and-excite with gates that stay where they are: its means are over other pixels at another stride."""
    for layer in backbone.layers:
        if layer.name.endswith("se_expand"):
            kernel, bias = layer.get_weights()
            layer.set_weights([0 * kernel, bias])
    return backbone


@pytest.mark.parametrize("name", ALL)
def test_dense_features_subsampled_are_the_strided_ones(name):
    backbone = without_excitation(random_backbone(name))
    images = random_images()
    inputs = keras.Input((SIZE, SIZE, 3))
    strided_network = to_output_stride(backbone, 32, images=inputs)
    strided = strided_network(images).numpy()
    assert strided.shape[1:3] == (4, 4)
    assert strided.std(axis=(1, 2)).max() > 1e-3 * np.abs(strided).max(), "features that do not vary prove nothing"
    for output_stride in (16, 8):
        converted = to_output_stride(backbone, output_stride, images=inputs)
        assert converted.count_params() == backbone.count_params()
        # Without the scopes around a layer's name, which are not the layer's own.
        names = [[weight.path.split("/")[-2:] for weight in network.weights] for network in (converted, backbone)]
        assert names[0] == names[1]
        taps = BACKBONES[name]
        assert converted.get_layer(taps.low_level_tap).output.shape[1:3] == (25, 25)
        side = (SIZE - 1) // output_stride + 1
        assert converted.get_layer(taps.high_level_tap).output.shape[1:3] == (side, side)
        # The weights go back as well.
        strided_network.set_weights(converted.get_weights())
        for before, after in zip(backbone.get_weights(), strided_network.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)

        step = 32 // output_stride
        dense = converted(images).numpy()[:, ::step, ::step]
        np.testing.assert_allclose(dense, strided, rtol=1e-3, atol=1e-5 * np.abs(strided).max())


def test_with_squeeze_and_excite_they_are_nearly_the_same():
    backbone = random_backbone("EfficientNetB0")
    images = random_images()
    inputs = keras.Input((SIZE, SIZE, 3))
    strided, *dense = (to_output_stride(backbone, stride, images=inputs)(images).numpy() for stride in (32, 16, 8))
    for step, features in zip((2, 4), dense, strict=True):
        assert np.corrcoef(features[:, ::step, ::step].ravel(), strided.ravel())[0, 1] > 0.99


def test_the_table_has_every_name_of_the_configuration():
    assert set(BACKBONES) == set(get_args(get_args(BackboneName)[0]))


def test_at_stride_32_it_is_the_backbone_itself():
    images = random_images()
    backbone = random_backbone("MobileNetV2")
    reference = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    reference.set_weights(backbone.get_weights())
    converted = to_output_stride(backbone, 32, images=keras.Input((SIZE, SIZE, 3)))
    np.testing.assert_allclose(converted(images), reference(images), rtol=1e-5, atol=1e-6)


def test_features_that_would_not_meet_are_refused():
    images = keras.Input((33, 33, 3))
    small = keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)
    large = keras.layers.UpSampling2D(2)(small)[:, :33, :33]
    joined = keras.layers.Concatenate(name="join")([images, large])
    with pytest.raises(ValueError, match="layer 'join' joins features of different strides"):
        to_output_stride(keras.Model(images, joined), 2)
