"""Atrous conversion keeps what a backbone has learnt."""

import keras
import numpy as np
import pytest

from trainer.model.atrous import to_output_stride
from trainer.model.backbones import BACKBONES

SIZE = 97


def random_backbone(name: str) -> keras.Model:
    """The backbone of `keras.applications` with weights under which its features differ from place to place."""
    backbone = BACKBONES[name].build(include_top=False, weights=None, input_shape=(None, None, 3))
    rng = np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, channels),
                    rng.normal(0, 0.2, channels),
                    rng.normal(0, 0.2, channels),
                    rng.uniform(0.5, 1.5, channels),
                ]
            )
    return backbone


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("name", BACKBONES)
def test_dense_features_subsampled_are_the_strided_ones(name, images):
    backbone = random_backbone(name)
    inputs = keras.Input((SIZE, SIZE, 3))
    strided = to_output_stride(backbone, 32, images=inputs)(images).numpy()
    assert strided.shape[1:3] == (4, 4)
    assert strided.std(axis=(1, 2)).max() > 1e-3 * np.abs(strided).max(), "features that do not vary prove nothing"
    for output_stride in (16, 8):
        converted = to_output_stride(backbone, output_stride, images=inputs)
        assert converted.count_params() == backbone.count_params()
        dense = converted(images).numpy()
        step = 32 // output_stride
        assert dense.shape[1] == (SIZE - 1) // output_stride + 1
        np.testing.assert_allclose(dense[:, ::step, ::step], strided, rtol=1e-4, atol=1e-5 * np.abs(strided).max())


def test_at_stride_32_it_is_the_backbone_itself(images):
    backbone = random_backbone("MobileNetV2")
    reference = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    reference.set_weights(backbone.get_weights())
    converted = to_output_stride(backbone, 32, images=keras.Input((SIZE, SIZE, 3)))
    np.testing.assert_allclose(converted(images), reference(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BACKBONES)
def test_names_and_order_of_the_weights_are_kept(name):
    backbone = random_backbone(name)
    converted = to_output_stride(backbone, 8)
    assert [w.path for w in converted.weights] == [w.path for w in backbone.weights]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_taps_have_their_strides(name):
    row = BACKBONES[name]
    backbone = row.build(include_top=False, weights=None, input_shape=(None, None, 3))
    converted = to_output_stride(backbone, 16, images=keras.Input((SIZE, SIZE, 3)))
    assert converted.get_layer(row.low_level_tap).output.shape[1:3] == (25, 25)
    assert converted.get_layer(row.high_level_tap).output.shape[1:3] == (7, 7)


def test_features_that_cannot_be_dilated_are_refused():
    images = keras.Input((33, 33, 3))
    features = keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)
    features = keras.layers.AveragePooling2D(3, strides=2, padding="same", name="mean")(features)
    features = keras.layers.AveragePooling2D(3, strides=2, padding="same", name="mean_again")(features)
    with pytest.raises(ValueError, match="no atrous form of AveragePooling2D 'mean_again'"):
        to_output_stride(keras.Model(images, features), 2)
