"""The canvas: where a picture and its mask come to lie in it, and that Transform's graph does just that."""

import io
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from schema import features
from schema.labels import IGNORE_LABEL
from trainer.data.augmentation import normalised
from trainer.data.preprocessing import (
    content_size,
    decode_image,
    decode_label,
    image_canvas,
    label_canvas,
    packed,
    packed_columns,
    unpacked,
)
from trainer.model.backbones import MINUS_ONE_TO_ONE


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((65, 65), (65, 65)),
        ((40, 30), (40, 30)),  # never enlarged
        ((130, 65), (65, 32)),  # 32.5 rounds to the even number
        ((65, 130), (32, 65)),
        ((500, 375), (65, 49)),
        ((10_000, 3), (65, 1)),  # never nothing
        ((1, 1), (1, 1)),
    ],
)
def test_content_size(picture, expected):
    assert tuple(content_size(tf.constant(picture), 65).numpy()) == expected


def test_a_small_picture_is_padded_with_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    canvas, size = image_canvas(tf.constant(image), 33)
    assert tuple(size.numpy()) == (20, 30)
    np.testing.assert_array_equal(canvas[:20, :30], image)
    pixels = normalised(canvas[tf.newaxis], size[tf.newaxis], MINUS_ONE_TO_ONE)[0].numpy()
    np.testing.assert_allclose(pixels[:20, :30], image / 127.5 - 1, atol=1e-6)
    assert np.all(pixels[20:] == 0)
    assert np.all(pixels[:, 30:] == 0)


def test_a_small_mask_is_padded_with_the_ignore_label():
    label = np.random.default_rng(0).integers(0, 21, (20, 30), np.uint8)
    canvas = label_canvas(tf.constant(label), 33).numpy()
    np.testing.assert_array_equal(canvas[:20, :30], label)
    assert np.all(canvas[20:] == IGNORE_LABEL)
    assert np.all(canvas[:, 30:] == IGNORE_LABEL)


def test_a_large_mask_keeps_its_classes():
    """15 and 18 side by side must not blend into 16 and 17."""
    label = np.full((100, 100), 15, np.uint8)
    label[:, 50:] = 18
    canvas = label_canvas(tf.constant(label), 33).numpy()
    assert set(np.unique(canvas)) == {15, 18}


def test_picture_and_mask_stay_aligned_when_made_smaller():
    """The same half is bright in the picture and of class 1 in the mask."""
    image = np.zeros((101, 67, 3), np.uint8)
    label = np.zeros((101, 67), np.uint8)
    image[40:], label[40:] = 255, 1
    canvas, size = image_canvas(tf.constant(image), 33)
    height, width = size.numpy()
    bright = canvas.numpy()[:height, :width, 0] > 127
    np.testing.assert_array_equal(bright, label_canvas(tf.constant(label), 33).numpy()[:height, :width] == 1)


def test_a_grey_png_s_values_are_the_class_indices():
    indices = np.array([[0, 15], [20, 255]], np.uint8)
    image = Image.fromarray(indices)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    np.testing.assert_array_equal(decode_label(tf.constant(encoded.getvalue())), indices)


def test_a_grey_jpeg_gives_three_channels():
    encoded = io.BytesIO()
    Image.new("L", (9, 7), 100).save(encoded, "JPEG")
    decoded = decode_image(tf.constant(encoded.getvalue())).numpy()
    assert decoded.shape == (7, 9, 3)
    assert np.all(decoded == 100)


@pytest.mark.parametrize("size", [33, 64])
def test_what_is_packed_comes_out_as_it_was(size):
    random = np.random.default_rng(0)
    columns = packed_columns(size)
    canvas, label = (random.integers(0, 256, (2, size, columns, *end), np.uint8) for end in ([3], []))
    np.testing.assert_array_equal(unpacked(packed(tf.constant(canvas)), 3), canvas[:, :, :size])
    np.testing.assert_array_equal(unpacked(packed(tf.constant(label))), label[:, :, :size])


def test_transform_s_graph_makes_these_canvases(transformed):
    parsed = tf.io.parse_example(transformed.records, transformed.graph.raw_feature_spec())
    result = transformed.graph.transform_raw_features(parsed)
    canvases, labels = unpacked(result[features.PACKED_IMAGE], 3), unpacked(result[features.PACKED_LABEL])
    size = result[features.IMAGE].shape[1]
    for index in range(len(transformed.records)):
        image = decode_image(parsed[features.IMAGE_ENCODED][index, 0])
        label = decode_label(parsed[features.LABEL_ENCODED][index, 0])
        canvas, content = image_canvas(image, size)
        np.testing.assert_array_equal(canvases[index], canvas)
        np.testing.assert_array_equal(result[features.CONTENT_SIZE][index], content)
        np.testing.assert_array_equal(labels[index], label_canvas(label, size))


@pytest.mark.parametrize("in_a_graph", [False, True])
def test_the_bytes_normalised_on_the_device_are_what_serving_reads(transformed, in_a_graph):
    """To the last bit, so that a model is served what it has learnt from."""
    parsed = tf.io.parse_example(transformed.records, transformed.graph.raw_feature_spec())
    result = transformed.graph.transform_raw_features(parsed)
    on_the_device = partial(normalised, normalisation=MINUS_ONE_TO_ONE)
    if in_a_graph:
        on_the_device = tf.function(on_the_device)
    found = on_the_device(unpacked(result[features.PACKED_IMAGE], 3), result[features.CONTENT_SIZE])
    np.testing.assert_array_equal(found, result[features.IMAGE])
