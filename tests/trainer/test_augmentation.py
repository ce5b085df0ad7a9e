"""Random scale, crop and flip of picture and mask together."""

import numpy as np
import pytest

from trainer.augmentation import augment
from trainer.labels import IGNORE_LABEL
from trainer.settings import Augmentation

SIZE = 33


def batch(height=SIZE, width=SIZE, number=1, seed=0):
    """Pictures whose three channels all say the class of each pixel, and their masks."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 5, (number, 4, 4))
    labels = np.full((number, SIZE, SIZE), IGNORE_LABEL)
    labels[:, :height, :width] = np.kron(coarse, np.ones((9, 9), int))[:, :height, :width]
    images = np.where(labels == IGNORE_LABEL, 0, labels)[..., None].repeat(3, axis=-1).astype(np.float32)
    return images, labels, np.array([[height, width]] * number)


def run(images, labels, sizes, draws, **settings):
    result = augment(images, labels, sizes, np.asarray(draws, np.float32), Augmentation(**settings))
    return [np.asarray(array) for array in result]


def test_nothing_drawn_nothing_changed():
    images, labels, sizes = batch()
    augmented, augmented_labels = run(images, labels, sizes, [[0, 0.9, 0.5, 0.5]], scale=(1, 1), flip=0.5)
    np.testing.assert_allclose(augmented, images, atol=1e-6)
    np.testing.assert_array_equal(augmented_labels, labels)
    assert augmented_labels.dtype == labels.dtype


def test_flip_turns_the_picture_not_the_canvas():
    """A picture of 20 columns stays in the first 20 when its place is drawn as 0 (the left edge)."""
    images, labels, sizes = batch(width=20)
    augmented, augmented_labels = run(images, labels, sizes, [[0, 0, 0, 0]], scale=(1, 1), flip=1)
    np.testing.assert_array_equal(augmented_labels[0, :, :20], labels[0, :, 19::-1])
    np.testing.assert_allclose(augmented[0, :, :20], images[0, :, 19::-1], atol=1e-5)
    assert np.all(augmented_labels[0, :, 20:] == IGNORE_LABEL)


def test_a_small_picture_lies_anywhere_in_the_canvas_and_is_whole():
    images, labels, sizes = batch(height=10, width=20)
    # The canvas begins draw * (content - canvas) pixels from the picture's corner, so 0.5 puts it in the middle.
    _, augmented_labels = run(images, labels, sizes, [[0, 1, 0.5, 0.5]], scale=(1, 1))
    inside = augmented_labels[0] != IGNORE_LABEL
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert (len(rows), len(columns)) == (10, 20)
    assert abs(rows[0] - 11.5) <= 0.5
    assert abs(columns[0] - 6.5) <= 0.5
    np.testing.assert_array_equal(augmented_labels[0][inside].reshape(10, 20), labels[0, :10, :20])


def test_doubling_shows_a_quarter_at_twice_the_size():
    images, labels, sizes = batch()
    _, augmented_labels = run(images, labels, sizes, [[0, 1, 0, 0]], scale=(2, 2))
    np.testing.assert_array_equal(augmented_labels[0], np.kron(labels[0], np.ones((2, 2), int))[:SIZE, :SIZE])


def test_halving_leaves_the_rest_to_be_ignored():
    images, labels, sizes = batch()
    augmented, augmented_labels = run(images, labels, sizes, [[0, 1, 0, 0]], scale=(0.5, 0.5))
    inside = augmented_labels[0] != IGNORE_LABEL
    assert inside[:16, :16].all()
    assert not inside[17:].any()
    assert not inside[:, 17:].any()
    assert np.all(augmented[0, 17:] == 0)


def test_the_grid_of_scales():
    """Draws over the whole range reach each step of the grid and both ends."""
    images, labels, sizes = batch(number=100)
    draws = np.zeros((100, 4))
    draws[:, 0] = np.arange(100) / 100
    draws[:, 1:] = (1, 1, 1)
    _, augmented_labels = run(images, labels, sizes, draws, scale=(0.25, 1.0), scale_step=0.25)
    sides = {int((labels[0] != IGNORE_LABEL).sum(0).max()) for labels in augmented_labels[:, None]}
    assert len(sides) == 4
    assert max(sides) == SIZE


@pytest.mark.parametrize("seed", range(3))
def test_picture_and_mask_stay_aligned(seed):
    """Where the picture is not blurred between two classes, it says what the mask says."""
    images, labels, sizes = batch(height=28, width=31, number=16, seed=seed)
    draws = np.random.default_rng(seed).random((16, 4))
    augmented, augmented_labels = run(images, labels, sizes, draws, scale=(0.5, 2.0), scale_step=0)
    value = augmented[..., 0]
    clear = np.abs(value - np.round(value)) < 1e-3
    said = np.where(augmented_labels == IGNORE_LABEL, 0, augmented_labels)
    # Blending 1 and 3 can give 2 by chance, so a pixel in a hundred may differ.
    assert (np.round(value) == said)[clear].mean() > 0.99
    assert (np.abs(value - said)[clear] < 1e-3).mean() > 0.99
    assert set(np.unique(augmented_labels)) <= {1, 2, 3, 4, IGNORE_LABEL}


def test_each_picture_has_its_own_draw():
    images, labels, sizes = batch(number=2)
    images[1], labels[1] = images[0], labels[0]
    _, augmented_labels = run(images, labels, sizes, [[0.1, 0.1, 0.3, 0.7], [0.8, 0.9, 0.1, 0.2]])
    assert (augmented_labels[0] != augmented_labels[1]).any()
