"""Which slices a picture is in."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.slices import slices_of
from components.tf_example import to_tf_example
from schema import features

CLASSES = ("background", "cat", "dog", "sofa")


def slices(height: int, width: int, pixels: list[int], **more: int) -> dict[str, list[str]]:
    values = {features.IMAGE_HEIGHT: height, features.IMAGE_WIDTH: width, features.LABEL_PIXELS: np.array(pixels)}
    return slices_of(to_tf_example({**values, **more}), CLASSES)


@pytest.mark.parametrize(
    ("share", "size"), [(1, "small"), (20, "small"), (21, "medium"), (100, "medium"), (101, "large"), (1000, "large")]
)
def test_an_object_is_small_up_to_2_percent_of_the_picture_and_medium_up_to_10(share, size):
    assert slices(10, 100, [1000 - share, 0, share, 0])["object_size"] == [size]


def test_a_picture_is_in_the_slices_of_all_its_objects():
    found = slices(10, 100, [500, 10, 0, 400])
    assert found["class"] == ["background", "cat", "sofa"]
    assert sorted(found["object_size"]) == ["large", "small"]
    assert found["class_count"] == ["2"]


@pytest.mark.parametrize(
    ("pixels", "count"), [([1, 0, 0, 0], "0"), ([0, 1, 0, 0], "1"), ([1, 1, 1, 0], "2"), ([1, 1, 1, 1], "3 or more")]
)
def test_the_background_is_no_object(pixels, count):
    assert slices(10, 100, pixels)["class_count"] == [count]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(10, 320, "small"), (321, 10, "medium"), (640, 640, "medium"), (641, 10, "large"), (10, 641, "large")],
)
def test_a_picture_s_size_is_that_of_its_longest_side(height, width, size):
    assert slices(height, width, [1, 0, 0, 0])["picture_size"] == [size]


def test_the_span_is_the_data_s():
    assert slices(10, 100, [1, 0, 0, 0])["span"] == []
    assert slices(10, 100, [1, 0, 0, 0], **{features.SPAN: 7})["span"] == ["7"]
