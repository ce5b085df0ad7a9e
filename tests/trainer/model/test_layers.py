"""The layers that Keras does not have."""

import keras
import numpy as np
import pytest

from trainer.model.layers import AlignedUpsampling, Content, DilatedPooling2D, GridPooling, GridUpsampling


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


def everything(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns all of which are to be seen."""
    pictures, height, width, _ = features.shape
    return np.ones((pictures, 1, height), np.float32), np.ones((pictures, 1, width), np.float32)


def test_one_bin_is_the_mean_of_everything():
    features = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    pooled = GridPooling((1, 1))(features, *everything(features))
    np.testing.assert_allclose(pooled, features.mean((1, 2), keepdims=True), rtol=1e-5, atol=1e-6)
    spread = np.asarray(GridUpsampling((5, 7))(pooled))
    np.testing.assert_array_equal(spread, np.broadcast_to(pooled, (2, 5, 7, 3)))


def test_bins_cover_the_features_evenly():
    features = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    expected = features.reshape(1, 3, 2, 3, 2, 1).mean((2, 4))
    np.testing.assert_allclose(GridPooling((3, 3))(features, *everything(features)), expected, rtol=1e-6)
    constant = np.full((1, 7, 5, 2), 3.0, np.float32)
    pooled = GridPooling((3, 3))(constant, *everything(constant))
    np.testing.assert_allclose(pooled, 3.0, rtol=1e-6)
    np.testing.assert_allclose(GridUpsampling((7, 5))(pooled), 3.0, rtol=1e-6)


@pytest.mark.parametrize("bins", [(1, 1), (2, 3)])
def test_means_are_of_what_is_to_be_seen(bins):
    features = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    # Of the first picture four rows and five columns, of the second all but the first row.
    rows = np.array([[[1, 1, 1, 1, 0, 0]], [[0, 1, 1, 1, 1, 1]]], np.float32)
    columns = np.array([[[1, 1, 1, 1, 1, 0]], [[1, 1, 1, 1, 1, 1]]], np.float32)
    pooled = np.asarray(GridPooling(bins)(features, rows, columns))
    for index, seen in enumerate([np.s_[:4, :5], np.s_[1:]]):
        shown = np.full((6, 6, 3), np.nan)
        shown[seen] = features[index][seen]
        windows = shown.reshape(bins[0], 6 // bins[0], bins[1], 6 // bins[1], 3)
        np.testing.assert_allclose(pooled[index], np.nanmean(windows, axis=(1, 3)), rtol=1e-5)


def test_a_window_that_shows_nothing_of_the_picture_is_the_mean_of_what_is_there():
    features = np.random.default_rng(0).normal(size=(1, 6, 6, 3)).astype(np.float32)
    rows, columns = everything(features)
    rows[0, 0, 2:] = 0
    pooled = np.asarray(GridPooling((3, 1))(features, rows, columns))
    np.testing.assert_allclose(pooled[0, 2, 0], features[0, 4:].mean((0, 1)), rtol=1e-5)


HALF_LEVEL = (0.5 / 127.5, 0.5 / 64, 0.5)


@pytest.mark.parametrize("nearly", [0.0, 0.999])
def test_padding_is_where_whole_lines_have_the_mean_colour(nearly):
    images = np.random.default_rng(0).normal(size=(3, 17, 13, 3)).astype(np.float32)
    # As far from the mean as 8 bits may have it, either way.
    padding = nearly * np.array(HALF_LEVEL) * [1, -1, 1]
    images[0, 7:] = padding
    images[0, :, 11:] = padding
    # A patch of that colour inside a picture is none of it.
    images[1, 2:9, 3:13] = padding
    images[2] = padding
    # One channel is enough to tell a line from padding.
    images[0, 8, 0, 2] = 1.1 * HALF_LEVEL[2]
    rows, columns = (np.asarray(seen) for seen in Content(HALF_LEVEL, 4)(images))
    np.testing.assert_array_equal(rows[:, 0], [[1, 1, 1, 0, 0], [1] * 5, [0] * 5])
    np.testing.assert_array_equal(columns[:, 0], [[1, 1, 1, 0], [1] * 4, [0] * 4])


@pytest.mark.parametrize(
    "layer",
    [
        AlignedUpsampling(4, (16, 13)),
        DilatedPooling2D("average", 3, 1, "valid"),
        GridUpsampling((9, 8)),
    ],
)
def test_they_can_be_made_again_from_their_configuration(layer):
    features = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(again(features), layer(features))
    assert tuple(layer.compute_output_shape(features.shape)) == layer(features).shape


def test_so_can_those_that_look_at_padding():
    images = np.random.default_rng(0).normal(size=(1, 17, 13, 3)).astype(np.float32)
    images[:, 9:] = 0
    content, pooling = Content(HALF_LEVEL, 4), GridPooling((2, 3))
    features = np.random.default_rng(1).normal(size=(1, 5, 4, 2)).astype(np.float32)
    seen = content(images)
    again = type(content).from_config(content.get_config())(images)
    for ours, theirs in zip(seen, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert content.compute_output_shape(images.shape) == tuple(tuple(each.shape) for each in seen)
    pooled = pooling(features, *seen)
    np.testing.assert_array_equal(type(pooling).from_config(pooling.get_config())(features, *seen), pooled)
    assert pooling.compute_output_shape(features.shape, *(each.shape for each in seen)) == tuple(pooled.shape)
