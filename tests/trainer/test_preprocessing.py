"""The canvas: where a picture and its mask come to lie in it, and that Transform's graph does just that."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer import features
from trainer.labels import IGNORE_LABEL
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.preprocessing import content_size, decode_image, decode_label, image_canvas, label_canvas


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
    canvas, size = image_canvas(tf.constant(image), 33, MINUS_ONE_TO_ONE)
    assert tuple(size.numpy()) == (20, 30)
    np.testing.assert_allclose(canvas[:20, :30], image / 127.5 - 1, atol=1e-6)
    assert np.all(canvas[20:] == 0)
    assert np.all(canvas[:, 30:] == 0)


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
    canvas, size = image_canvas(tf.constant(image), 33, MINUS_ONE_TO_ONE)
    height, width = size.numpy()
    bright = canvas.numpy()[:height, :width, 0] > 0
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


def test_transform_s_graph_makes_these_canvases(transformed):
    spec = transformed.graph.raw_feature_spec()
    parsed = tf.io.parse_example(transformed.records, spec)
    result = transformed.graph.transform_raw_features(parsed)
    size = result[features.IMAGE].shape[1]
    for index in range(len(transformed.records)):
        image = decode_image(parsed[features.IMAGE_ENCODED][index, 0])
        label = decode_label(parsed[features.LABEL_ENCODED][index, 0])
        canvas, content = image_canvas(image, size, MINUS_ONE_TO_ONE)
        np.testing.assert_allclose(result[features.IMAGE][index], canvas, atol=1e-6)
        np.testing.assert_array_equal(result[features.CONTENT_SIZE][index], content)
        np.testing.assert_array_equal(result[features.LABEL][index], label_canvas(label, size))
