"""The layers that Keras does not have."""

import keras
import numpy as np
import pytest

from trainer.model.layers import AlignedUpsampling, DilatedPooling2D, GridPooling, GridUpsampling


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


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("pool_size", [2, 3])
@pytest.mark.parametrize(("operation", "reduce"), [("max", np.nanmax), ("average", np.nanmean)])
def test_dilated_pooling_against_numpy(operation, reduce, pool_size, padding):
    features = np.random.default_rng(0).normal(size=(1, 7, 8, 2)).astype(np.float32) - 5
    pooled = np.asarray(DilatedPooling2D(operation, pool_size, 2, padding)(features))
    reach = (pool_size - 1) * 2
    before = (pool_size - 1) // 2 * 2
    sides = (before, reach - before) if padding == "same" else (0, 0)
    outside = np.pad(features, [(0, 0), sides, sides, (0, 0)], constant_values=np.nan)
    height, width = outside.shape[1] - reach, outside.shape[2] - reach
    offsets = range(0, reach + 1, 2)
    expected = reduce([outside[:, i : i + height, j : j + width] for i in offsets for j in offsets], axis=0)
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("operation", "keras_layer"),
    [("max", keras.layers.MaxPooling2D), ("average", keras.layers.AveragePooling2D)],
)
@pytest.mark.parametrize("pool_size", [2, 3])
def test_without_dilation_it_is_keras_own(operation, keras_layer, pool_size):
    features = np.random.default_rng(0).normal(size=(1, 9, 9, 2)).astype(np.float32)
    expected = keras_layer(pool_size, strides=1, padding="same")(features)
    np.testing.assert_allclose(DilatedPooling2D(operation, pool_size, 1)(features), expected, rtol=1e-5, atol=1e-6)


def test_one_bin_is_the_mean_of_everything():
    features = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    pooled = GridPooling((1, 1))(features)
    np.testing.assert_allclose(pooled, features.mean((1, 2), keepdims=True), rtol=1e-5, atol=1e-6)
    spread = np.asarray(GridUpsampling((5, 7))(pooled))
    np.testing.assert_array_equal(spread, np.broadcast_to(pooled, (2, 5, 7, 3)))


def test_bins_cover_the_features_evenly():
    features = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    expected = features.reshape(1, 3, 2, 3, 2, 1).mean((2, 4))
    np.testing.assert_allclose(GridPooling((3, 3))(features), expected)
    constant = np.full((1, 7, 5, 2), 3.0, np.float32)
    np.testing.assert_allclose(GridPooling((3, 3))(constant), 3.0, rtol=1e-6)
    np.testing.assert_allclose(GridUpsampling((7, 5))(GridPooling((3, 3))(constant)), 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        AlignedUpsampling(4, (16, 13)),
        DilatedPooling2D("average", 3, 1, "valid"),
        GridPooling((2, 3)),
        GridUpsampling((9, 8)),
    ],
)
def test_they_can_be_made_again_from_their_configuration(layer):
    features = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(again(features), layer(features))
    assert tuple(layer.compute_output_shape(features.shape)) == layer(features).shape
