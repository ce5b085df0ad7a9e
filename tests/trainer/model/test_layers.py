"""The layers that Keras does not have."""

import keras
import numpy as np
import pytest

from trainer.model.layers import AlignedUpsampling, DilatedMaxPooling2D


@pytest.mark.parametrize(("length", "factor", "size"), [(5, 4, 17), (5, 4, 20), (3, 8, 17), (4, 1, 4), (33, 16, 513)])
def test_features_come_back_at_their_own_pixels(length, factor, size):
    features = np.random.default_rng(0).normal(size=(2, length, length, 3)).astype(np.float32)
    upsampled = np.asarray(AlignedUpsampling(factor, (size, size))(features))
    assert upsampled.shape == (2, size, size, 3)
    np.testing.assert_allclose(upsampled[:, ::factor, ::factor], features, atol=1e-6)


def test_between_features_it_is_linear():
    ramp = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1).repeat(5, axis=2)
    upsampled = np.asarray(AlignedUpsampling(4, (18, 18))(ramp))[0, :, 0, 0]
    np.testing.assert_allclose(upsampled[:17], np.arange(17) / 4, atol=1e-6)
    assert upsampled[17] == 4, "beyond the last feature it is repeated"


def test_dilated_max_pooling_against_numpy():
    features = np.random.default_rng(0).normal(size=(1, 7, 8, 2)).astype(np.float32) - 5
    pooled = np.asarray(DilatedMaxPooling2D(3, 2)(features))
    padded = np.pad(features, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=-np.inf)
    expected = np.max([padded[:, i : i + 7, j : j + 8] for i in (0, 2, 4) for j in (0, 2, 4)], axis=0)
    np.testing.assert_array_equal(pooled, expected)


def test_without_dilation_it_is_keras_own():
    features = np.random.default_rng(0).normal(size=(1, 9, 9, 2)).astype(np.float32)
    expected = keras.layers.MaxPooling2D(3, strides=1, padding="same")(features)
    np.testing.assert_array_equal(DilatedMaxPooling2D(3, 1)(features), expected)


@pytest.mark.parametrize("layer", [AlignedUpsampling(4, (17, 13)), DilatedMaxPooling2D(3, 2)])
def test_they_can_be_made_again_from_their_configuration(layer):
    features = np.random.default_rng(0).normal(size=(1, 5, 4, 2)).astype(np.float32)
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(again(features), layer(features))
    assert tuple(layer.compute_output_shape(features.shape)) == layer(features).shape
