"""Which pictures are shown, and how."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from components.report.example_images import MAX_BYTES, chosen_pictures, draw
from schema.labels import IGNORE_LABEL


def ids(chosen):
    return {kind: [scores.id for scores in of_kind] for kind, of_kind in chosen.items()}


def test_the_worst_those_around_the_median_and_the_best_are_chosen(scores_file):
    mean_ious = [0.5 + (index * 37 % 100) / 1000 for index in range(100)]
    ranked = sorted(range(100), key=mean_ious.__getitem__)
    assert ids(chosen_pictures(scores_file(*mean_ious))) == {
        "worst": [f"{index:03d}" for index in ranked[:4]],
        "middle": [f"{index:03d}" for index in ranked[48:52]],
        "best": [f"{index:03d}" for index in ranked[:-5:-1]],
    }


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, {"worst": [], "middle": [], "best": []}),
        (1, {"worst": ["000"], "middle": [], "best": []}),
        (2, {"worst": ["000"], "middle": [], "best": ["001"]}),
        (3, {"worst": ["000"], "middle": ["001"], "best": ["002"]}),
        (5, {"worst": ["000", "001"], "middle": ["002"], "best": ["004", "003"]}),
    ],
)
def test_of_few_pictures_each_stands_once(scores_file, count, expected):
    assert ids(chosen_pictures(scores_file(*np.linspace(0.1, 0.9, count)))) == expected


def test_pictures_without_a_labelled_pixel_are_left_out(scores_file):
    assert ids(chosen_pictures(scores_file(None, 0.5, None))) == {"worst": ["001"], "middle": [], "best": []}


def encoded(array, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_layers_have_the_classes_colours_and_let_the_background_through(labels):
    label = np.zeros((8, 12), np.uint8)
    label[:4, :6], label[4:, 6:] = 15, IGNORE_LABEL
    prediction = np.zeros((8, 12), np.uint8)
    prediction[:4, :3] = 15
    drawn = draw(encoded(np.full((8, 12, 3), 90, np.uint8), "JPEG"), encoded(label), encoded(prediction), labels)
    assert (drawn.width, drawn.height) == opened(drawn.picture).size == (12, 8)
    person = np.asarray(opened(drawn.label).convert("RGBA"))
    assert tuple(person[0, 0][:3]) == labels.classes[15].color
    assert person[0, 0][3] > 128
    assert person[7, 0][3] == 0
    assert opened(drawn.label).mode == "P"

    differences = np.asarray(opened(drawn.differences).convert("RGBA"))
    assert differences[0, 0][3] == 0
    assert tuple(differences[0, 5][:3]) == (255, 0, 60)
    assert tuple(differences[7, 11][:3]) == (128, 128, 128)
    assert drawn.wrong == pytest.approx(12 / 72)


def test_large_pictures_become_small_without_new_classes(labels):
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 21, (30, 20)), np.ones((50, 50))).astype(np.uint8)
    picture = encoded(rng.integers(0, 256, (1500, 1000, 3)).astype(np.uint8), "JPEG")
    drawn = draw(picture, encoded(label), encoded(np.roll(label, 7)), labels)
    assert max(drawn.width, drawn.height) <= 480
    assert drawn.height / drawn.width == pytest.approx(1.5, rel=0.02)
    assert set(np.unique(np.asarray(opened(drawn.label)))) <= set(range(21))


def test_what_compresses_badly_is_made_smaller_still(labels):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 21, (900, 900)).astype(np.uint8) for _ in range(2)]
    picture = encoded(rng.integers(0, 256, (900, 900)).astype(np.uint8), "PNG")
    drawn = draw(picture, *map(encoded, noise), labels)
    assert sum(map(len, (drawn.picture, drawn.label, drawn.prediction, drawn.differences))) <= MAX_BYTES
    assert drawn.wrong == pytest.approx(20 / 21, abs=0.01)


def test_masks_of_other_sizes_are_refused(labels):
    picture = encoded(np.zeros((4, 4, 3), np.uint8), "JPEG")
    with pytest.raises(ValueError, match=r"shape \(4, 4\) and a prediction of shape \(4, 5\)"):
        draw(picture, encoded(np.zeros((4, 4), np.uint8)), encoded(np.zeros((4, 5), np.uint8)), labels)
