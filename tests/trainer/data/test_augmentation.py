"""Random changes of picture and mask together."""

import colorsys

import numpy as np
import pytest

from schema.labels import IGNORE_LABEL
from trainer.data.augmentation import DRAWS, augment, normalised
from trainer.model.backbones import IMAGENET_STATISTICS, MINUS_ONE_TO_ONE, Normalisation
from trainer.settings import Augmentation

SIZE = 33
AS_IT_IS = Normalisation(mean=(0, 0, 0), scale=(1, 1, 1))
STEP = 40
"""Between the grey values of the classes."""
GEOMETRY = {"scale": (1, 1), "flip": 0}
COLUMNS = (
    "scale",
    "flip",
    "vertical",
    "horizontal",
    "rotation",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "paste",
)


def batch(height=SIZE, width=SIZE, number=1, seed=0):
    """Pictures whose three channels all say the class of each pixel, and their masks."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 5, (number, 4, 4))
    labels = np.full((number, SIZE, SIZE), IGNORE_LABEL, np.uint8)
    labels[:, :height, :width] = np.kron(coarse, np.ones((9, 9), int))[:, :height, :width]
    canvases = np.where(labels == IGNORE_LABEL, 0, labels * STEP)[..., None].repeat(3, axis=-1).astype(np.uint8)
    return canvases, labels, np.array([[height, width]] * number)


def drawn(number=1, **columns) -> np.ndarray:
    """Draws that are 0.5, which turns and colours nothing, but for those given."""
    draws = np.full((number, DRAWS), 0.5, np.float32)
    for name, value in columns.items():
        draws[:, COLUMNS.index(name)] = value
    return draws


def run(canvases, labels, sizes, draws, normalisation=AS_IT_IS, crop_size=None, background=IGNORE_LABEL, **settings):
    result = augment(
        canvases,
        labels,
        sizes,
        draws,
        size=crop_size or canvases.shape[1],
        settings=Augmentation(**settings),
        normalisation=normalisation,
        background=background,
    )
    return [np.asarray(array) for array in result]


def test_nothing_drawn_nothing_changed():
    canvases, labels, sizes = batch()
    augmented, augmented_labels = run(canvases, labels, sizes, drawn(flip=0.9), scale=(1, 1), flip=0.5)
    np.testing.assert_allclose(augmented, canvases, atol=1e-4)
    np.testing.assert_array_equal(augmented_labels, labels)


def test_a_smaller_square_is_cut_out_of_the_canvas():
    canvases, labels, sizes = batch()
    draws = drawn(flip=0.9, vertical=1, horizontal=0)
    augmented, augmented_labels = run(canvases, labels, sizes, draws, crop_size=30, scale=(1, 1), flip=0.5)
    np.testing.assert_allclose(augmented, canvases[:, -30:, :30], atol=1e-4)
    np.testing.assert_array_equal(augmented_labels, labels[:, -30:, :30])


def test_what_comes_out_is_normalised():
    canvases, labels, sizes = batch(height=20, width=30)
    augmented, _ = run(canvases, labels, sizes, drawn(vertical=0, horizontal=0), IMAGENET_STATISTICS, **GEOMETRY)
    np.testing.assert_allclose(augmented, normalised(canvases, sizes, IMAGENET_STATISTICS), atol=1e-5)
    expected = (canvases[0, :20, :30] - np.array(IMAGENET_STATISTICS.mean)) / IMAGENET_STATISTICS.scale
    np.testing.assert_allclose(augmented[0, :20, :30], expected, atol=1e-5)


def test_flip_turns_the_picture_not_the_canvas():
    """A picture of 20 columns stays in the first 20 when its place is drawn as 0 (the left edge)."""
    canvases, labels, sizes = batch(width=20)
    draws = drawn(flip=0, vertical=0, horizontal=0)
    augmented, augmented_labels = run(canvases, labels, sizes, draws, scale=(1, 1), flip=1)
    np.testing.assert_array_equal(augmented_labels[0, :, :20], labels[0, :, 19::-1])
    np.testing.assert_allclose(augmented[0, :, :20], canvases[0, :, 19::-1], atol=1e-3)
    assert np.all(augmented_labels[0, :, 20:] == IGNORE_LABEL)


def test_a_small_picture_lies_anywhere_in_the_canvas_and_is_whole():
    canvases, labels, sizes = batch(height=10, width=20)
    # The canvas begins draw * (content - canvas) pixels from the picture's corner, so 0.5 puts it in the middle.
    _, augmented_labels = run(canvases, labels, sizes, drawn(flip=1), scale=(1, 1))
    inside = augmented_labels[0] != IGNORE_LABEL
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert (len(rows), len(columns)) == (10, 20)
    assert abs(rows[0] - 11.5) <= 0.5
    assert abs(columns[0] - 6.5) <= 0.5
    np.testing.assert_array_equal(augmented_labels[0][inside].reshape(10, 20), labels[0, :10, :20])


def test_doubling_shows_a_quarter_at_twice_the_size():
    canvases, labels, sizes = batch()
    _, augmented_labels = run(canvases, labels, sizes, drawn(flip=1, vertical=0, horizontal=0), scale=(2, 2))
    np.testing.assert_array_equal(augmented_labels[0], np.kron(labels[0], np.ones((2, 2), int))[:SIZE, :SIZE])


def test_halving_leaves_the_rest_to_be_ignored():
    canvases, labels, sizes = batch()
    draws = drawn(flip=1, vertical=0, horizontal=0)
    augmented, augmented_labels = run(canvases, labels, sizes, draws, scale=(0.5, 0.5))
    inside = augmented_labels[0] != IGNORE_LABEL
    assert inside[:16, :16].all()
    assert not inside[17:].any()
    assert not inside[:, 17:].any()
    assert np.all(augmented[0, 17:] == 0)


def test_the_grid_of_scales():
    """Draws over the whole range reach each step of the grid and both ends."""
    canvases, labels, sizes = batch(number=100)
    draws = drawn(100, scale=np.arange(100) / 100, flip=1, vertical=1, horizontal=1)
    _, augmented_labels = run(canvases, labels, sizes, draws, scale=(0.25, 1.0), scale_step=0.25)
    sides = {int((labels[0] != IGNORE_LABEL).sum(0).max()) for labels in augmented_labels[:, None]}
    assert len(sides) == 4
    assert max(sides) == SIZE


@pytest.mark.parametrize(("draw", "turns"), [(0, 1), (0.5, 0), (1, -1)])
def test_rotation_turns_the_picture_about_its_centre(draw, turns):
    canvases, labels, sizes = batch()
    augmented, augmented_labels = run(canvases, labels, sizes, drawn(rotation=draw), rotation=90, **GEOMETRY)
    np.testing.assert_array_equal(augmented_labels[0], np.rot90(labels[0], turns))
    np.testing.assert_allclose(augmented[0], np.rot90(canvases[0], turns), atol=1e-2)


def test_what_rotation_brings_in_from_outside_counts_nowhere():
    canvases, labels, sizes = batch()
    augmented, augmented_labels = run(canvases, labels, sizes, drawn(rotation=1), rotation=45, **GEOMETRY)
    for corner in (np.s_[0, :4, :4], np.s_[0, -4:, -4:]):
        assert np.all(augmented_labels[corner] == IGNORE_LABEL)
        assert np.all(augmented[corner] == 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (0.5, 2.0), "scale_step": 0, "flip": 0},
        {"scale": (1, 1), "flip": 0.5},
        {"rotation": 30, **GEOMETRY},
        {"scale": (0.5, 2.0), "scale_step": 0, "flip": 0.5, "rotation": 180},
    ],
    ids=["scale", "flip", "rotation", "all"],
)
def test_picture_and_mask_stay_aligned_when_moved(settings):
    """Where the picture is not blurred between two classes, it says what the mask says."""
    canvases, labels, sizes = batch(height=28, width=31, number=16)
    draws = np.random.default_rng(0).random((16, DRAWS), np.float32)
    augmented, augmented_labels = run(canvases, labels, sizes, draws, **settings)
    value = augmented[..., 0] / STEP
    clear = np.abs(value - np.round(value)) < 1e-3
    assert clear.mean() > 0.5
    said = np.where(augmented_labels == IGNORE_LABEL, 0, augmented_labels)
    # Blending 1 and 3 can give 2 by chance, so a pixel in a hundred may differ.
    assert (np.round(value) == said)[clear].mean() > 0.99
    assert set(np.unique(augmented_labels)) <= {1, 2, 3, 4, IGNORE_LABEL}
    assert (augmented_labels != run(canvases, labels, sizes, draws, **GEOMETRY)[1]).any()


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_picture_and_mask_stay_aligned_when_coloured(name):
    """Classes that had a colour each still have one each, and the mask has not moved."""
    canvases, labels, sizes = batch(number=16)
    palette = np.array([[0, 0, 0], [90, 130, 110], [120, 100, 160], [150, 110, 90], [100, 140, 150]], np.uint8)
    canvases = palette[labels]
    strength = {name: 60 if name == "hue" else 0.3}
    draws = drawn(16, **{name: 0.9})
    augmented, augmented_labels = run(canvases, labels, sizes, draws, **strength, **GEOMETRY)
    np.testing.assert_array_equal(augmented_labels, labels)
    for picture, mask, before in zip(augmented, augmented_labels, canvases, strict=True):
        assert np.abs(picture - before).max() > 1
        means = [picture[mask == index].mean(0) for index in np.unique(mask)]
        for index, mean in zip(np.unique(mask), means, strict=True):
            np.testing.assert_allclose(picture[mask == index], mean[None].repeat((mask == index).sum(), 0), atol=1e-2)
        assert len(np.unique(np.round(means), axis=0)) == len(means)


def coloured(color, **settings_and_draws) -> np.ndarray:
    """One colour, with every strength that is named and the draw that is given for it."""
    canvases = np.full((1, SIZE, SIZE, 3), color, np.uint8)
    strengths = {name: strength for name, (strength, _) in settings_and_draws.items()}
    draws = drawn(**{name: draw for name, (_, draw) in settings_and_draws.items()})
    labels, sizes = np.zeros((1, SIZE, SIZE), np.uint8), np.array([[SIZE, SIZE]])
    augmented, _ = run(canvases, labels, sizes, draws, **strengths, **GEOMETRY)
    return augmented[0, 5, 5]


def test_what_the_colours_become():
    color = (200, 100, 60)
    np.testing.assert_allclose(coloured(color, brightness=(0.2, 0)), np.array(color) - 51, atol=1e-3)
    np.testing.assert_allclose(coloured(color, contrast=(0.4, 1)), 127.5 + 1.4 * (np.array(color) - 127.5), atol=1e-3)
    np.testing.assert_allclose(coloured(color, saturation=(1, 0)), (120, 120, 120), atol=1e-3)
    # A third of a turn is one channel on.
    np.testing.assert_allclose(coloured(color, hue=(120, 1)), (60, 200, 100), atol=1e-3)
    np.testing.assert_allclose(coloured((90, 90, 90), hue=(77, 0), saturation=(0.9, 1)), (90, 90, 90), atol=1e-3)


def test_hue_turns_the_way_that_hsv_does():
    color = (180, 120, 100)
    turned = coloured(color, hue=(20, 1))
    before, after = (colorsys.rgb_to_hsv(*np.array(each) / 255)[0] * 360 for each in (color, turned))
    assert after - before == pytest.approx(20, abs=3)


def test_colours_stay_within_8_bits():
    assert coloured((250, 5, 128), brightness=(1, 1)).tolist() == [255, 255, 255]
    assert coloured((250, 5, 128), brightness=(1, 0)).tolist() == [0, 0, 0]


def test_colours_change_inside_the_picture_only():
    canvases, labels, sizes = batch(height=20, width=20)
    draws = drawn(vertical=0, horizontal=0, brightness=1)
    augmented, _ = run(canvases, labels, sizes, draws, MINUS_ONE_TO_ONE, brightness=0.5, **GEOMETRY)
    plain, _ = run(canvases, labels, sizes, draws, MINUS_ONE_TO_ONE, **GEOMETRY)
    assert np.all(augmented[0, :20, :20] > plain[0, :20, :20])
    assert np.all(augmented[0, 20:] == 0)
    assert np.all(augmented[0, :, 20:] == 0)


def test_objects_are_pasted_with_their_rim_onto_the_next_picture():
    """Class 1 stands for background. The first picture takes the last one's objects, the second takes none."""
    canvases, labels, sizes = batch(height=28, width=31, number=3)
    labels[2, 4, 6], labels[2, 4, 7] = 3, IGNORE_LABEL
    canvases[2, 4, 7] = 7
    draws = np.concatenate([drawn(flip=1, vertical=0, horizontal=0, paste=paste) for paste in (0.4, 0.6, 0.4)])
    images, augmented_labels = run(canvases, labels, sizes, draws, background=1, copy_paste=0.5, **GEOMETRY)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[:28, :31] = True
    for onto, source in ((0, 2), (2, 1)):
        objects = inside & (labels[source] != 1)
        np.testing.assert_array_equal(augmented_labels[onto], np.where(objects, labels[source], labels[onto]))
        expected = np.where(objects[..., None], canvases[source], canvases[onto])
        np.testing.assert_allclose(images[onto], expected, atol=1e-4)
    np.testing.assert_array_equal(augmented_labels[1], labels[1])
    np.testing.assert_allclose(images[1], canvases[1], atol=1e-4)
    assert augmented_labels[0, 4, 7] == IGNORE_LABEL
    assert images[0, 4, 7].tolist() == [7, 7, 7]


def test_pasting_objects_changes_nothing_else_that_is_drawn():
    canvases, labels, sizes = batch(number=4)
    draws = np.random.default_rng(0).random((4, DRAWS), np.float32)
    _, plain = run(canvases, labels, sizes, draws)
    _, pasted = run(canvases, labels, sizes, draws, background=1, copy_paste=1)
    above = np.roll(plain, 1, axis=0)
    np.testing.assert_array_equal(pasted, np.where((above != 1) & (above != IGNORE_LABEL), above, plain))


def test_switching_one_on_changes_no_other():
    """What is drawn for scale, place and flip is the same with rotation and colours, and the other way round."""
    canvases, labels, sizes = batch(number=8)
    draws = np.random.default_rng(1).random((8, DRAWS), np.float32)
    colours = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.4, "hue": 20}
    _, plain = run(canvases, labels, sizes, draws)
    _, with_colours = run(canvases, labels, sizes, draws, **colours)
    np.testing.assert_array_equal(plain, with_colours)
    still = draws.copy()
    still[:, COLUMNS.index("rotation")] = 0.5
    _, turned_by_nothing = run(canvases, labels, sizes, still, rotation=90)
    np.testing.assert_array_equal(plain, turned_by_nothing)


def test_each_picture_has_its_own_draw():
    canvases, labels, sizes = batch(number=2)
    canvases[1], labels[1] = canvases[0], labels[0]
    draws = np.concatenate(
        [drawn(scale=0.1, flip=0.1, vertical=0.3, horizontal=0.7), drawn(scale=0.8, flip=0.9, vertical=0.1)]
    )
    _, augmented_labels = run(canvases, labels, sizes, draws)
    assert (augmented_labels[0] != augmented_labels[1]).any()
