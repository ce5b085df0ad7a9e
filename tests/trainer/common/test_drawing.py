"""Masks in colours, and over their pictures."""

import numpy as np
import pytest

from schema.labels import VOC2012, VOC_PALETTE, Labels
from trainer.common.drawing import GAP, colored, overlay, side_by_side

PERSON = 15
MASK = np.array([[0, PERSON, 255], [20, 0, 0]])
IMAGE = np.full((2, 3, 3), 100, np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_mask_has_the_colours_of_its_classes(dtype):
    drawn = colored(MASK.astype(dtype), VOC2012)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, np.array(VOC_PALETTE, np.uint8)[MASK])


def test_colours_of_ones_own():
    labels = Labels(classes=[{"name": "road", "color": [9, 8, 7]}, "car"], ignore_colors=((1, 2, 3), (4, 5, 6)))
    np.testing.assert_array_equal(colored(np.array([[0, 255]]), labels), [[(9, 8, 7), (1, 2, 3)]])


def test_without_a_colour_for_it_what_is_ignored_has_that_of_voc():
    labels = Labels(classes=["road", "car"], ignore_colors=())
    np.testing.assert_array_equal(colored(np.array([[255]]), labels), [[VOC_PALETTE[255]]])


@pytest.mark.parametrize("value", [-1, 21, 254, 256])
def test_a_value_that_is_no_class_is_named(value):
    with pytest.raises(ValueError, match=f"a mask holds {value}; its values must be 0 to 20"):
        colored(np.array([[0, value]]), VOC2012)


def test_an_overlay_leaves_the_background_as_it_was():
    drawn = overlay(IMAGE, MASK, VOC2012)
    np.testing.assert_array_equal(drawn[MASK == 0], IMAGE[MASK == 0])
    for value in (PERSON, 20, 255):
        blended = (100 + np.array(VOC_PALETTE[value])) / 2
        np.testing.assert_allclose(drawn[value == MASK], [blended], atol=0.5)


def test_the_opacity_of_an_overlay():
    np.testing.assert_array_equal(overlay(IMAGE, MASK, VOC2012, opacity=0.0), IMAGE)
    covered = MASK != 0
    opaque = overlay(IMAGE, MASK, VOC2012, opacity=1.0)
    np.testing.assert_array_equal(opaque[covered], colored(MASK, VOC2012)[covered])


def test_side_by_side_stand_picture_label_prediction_and_overlay():
    prediction = np.where(MASK == 255, 0, MASK)
    sheet = side_by_side(IMAGE, MASK.astype(np.uint8), prediction, VOC2012)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2, 4 * 3 + 3 * GAP, 3)
    parts = [sheet[:, index * (3 + GAP) : index * (3 + GAP) + 3] for index in range(4)]
    wanted = [IMAGE, colored(MASK, VOC2012), colored(prediction, VOC2012), overlay(IMAGE, prediction, VOC2012)]
    for part, expected in zip(parts, wanted, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert (sheet[:, 3 : 3 + GAP] == 255).all()


def test_what_differs_in_size_is_not_drawn():
    with pytest.raises(ValueError, match=r"a picture of shape \(2, 3, 3\) and a mask of shape \(3, 2\)"):
        overlay(IMAGE, MASK.T, VOC2012)
    with pytest.raises(ValueError, match="differ in size"):
        side_by_side(IMAGE, MASK.T, MASK, VOC2012)
