"""What a model's answers are held to, each fault by itself."""

import io

import numpy as np
import pytest
from PIL import Image

from components.infra_validator.checks import SampleImage, find_problems, other_mask_problems
from schema.labels import IGNORE_LABEL

CLASSES = 3
SIZES = ((20, 30), (33, 17))


def png(mask: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(mask).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    """The predictions: stripes."""
    return [np.add.outer(np.arange(height), np.zeros(width, int)).astype(np.uint8) % CLASSES for height, width in SIZES]


@pytest.fixture(scope="module")
def pictures(masks) -> list[SampleImage]:
    labels = [np.where(mask == 2, 1, mask) for mask in masks]
    for label in labels:
        label[:, :2] = IGNORE_LABEL
    return [
        SampleImage(name, b"", b"", label.shape, label.astype(np.uint8))
        for name, label in zip(("first", "second"), labels, strict=True)
    ]


@pytest.fixture
def outputs(masks, pictures) -> dict[str, np.ndarray]:
    """Of a model that does all as it should."""
    matrices = np.zeros((len(masks), CLASSES, CLASSES), np.int64)
    for matrix, mask, picture in zip(matrices, masks, pictures, strict=True):
        valid = picture.label != IGNORE_LABEL
        np.add.at(matrix, (picture.label[valid], mask[valid]), 1)
    encoded = np.array([png(mask) for mask in masks])
    counts = np.array([np.bincount(mask.ravel(), minlength=CLASSES) for mask in masks])
    return {
        "serving_default/mask": encoded,
        "serving_default/class_pixels": counts,
        "rest/mask_bytes": encoded.copy(),
        "rest/class_pixels": counts.copy(),
        "examples/mask": encoded.copy(),
        "examples/class_pixels": counts.copy(),
        **{f"segment/mask/{index}": mask[np.newaxis].astype(np.int32) for index, mask in enumerate(masks)},
        "confusion/confusion_matrix": matrices,
        "confusion/boundary_counts": np.zeros((len(masks), CLASSES, 7), np.int64),
    }


def replaced(outputs, key, index, mask):
    """The outputs with another served mask, and its own counts."""
    outputs[f"{key}/mask"] = np.array(
        [png(mask) if each == index else old for each, old in enumerate(outputs[f"{key}/mask"])]
    )
    outputs[f"{key}/class_pixels"][index] = np.bincount(mask.ravel(), minlength=CLASSES)[:CLASSES]
    return outputs


def test_a_good_model_has_no_problems(outputs, pictures):
    assert find_problems(outputs, pictures, CLASSES) == []


def test_a_mask_of_the_wrong_size(outputs, pictures, masks):
    replaced(outputs, "serving_default", 1, masks[1][:-1])
    problem, *_ = find_problems(outputs, pictures, CLASSES)
    assert problem == "picture second: serving_default returns a mask of 17 x 32 pixels, and the picture has 17 x 33"


def test_pixels_segmented_to_the_wrong_size(outputs, pictures):
    outputs["segment/mask/0"] = outputs["segment/mask/0"][:, :, 1:]
    assert find_problems(outputs, pictures, CLASSES) == [
        "segment returns mask of shape (1, 20, 29), wanted is (1, 20, 30)"
    ]


@pytest.mark.parametrize("signature", ["serving_default", "examples", "segment"])
def test_a_class_that_is_none(outputs, pictures, masks, signature):
    mask = masks[0].copy()
    mask[4, 4] = CLASSES
    if signature == "segment":
        outputs["segment/mask/0"] = mask[np.newaxis].astype(np.int32)
    else:
        replaced(outputs, signature, 0, mask)
    wanted = f"picture first: {signature} returns a mask with class 3, and there are 3, from 0"
    assert wanted in find_problems(outputs, pictures, CLASSES)


def test_a_mask_that_is_no_picture(outputs, pictures):
    outputs["examples/mask"] = np.array([b"GIF89a", outputs["examples/mask"][1]])
    assert find_problems(outputs, pictures, CLASSES) == [
        "picture first: examples returns a mask that is no PNG of one channel"
    ]


def test_counts_that_do_not_add_up_to_the_picture(outputs, pictures):
    outputs["serving_default/class_pixels"][0, 1] += 5
    assert find_problems(outputs, pictures, CLASSES) == [
        "picture first: the class_pixels of serving_default add up to 605, and the picture has 600"
    ]


def test_counts_of_another_mask(outputs, pictures):
    outputs["serving_default/class_pixels"][0] += [5, -5, 0]
    assert find_problems(outputs, pictures, CLASSES) == [
        "picture first: the class_pixels of serving_default are not those of its mask"
    ]


def test_signatures_that_disagree(outputs, pictures, masks):
    replaced(outputs, "examples", 0, np.roll(masks[0], 1, axis=0))
    (problem,) = find_problems(outputs, pictures, CLASSES)
    assert problem.startswith("picture first: the masks of serving_default and examples agree in ")


def test_a_pixel_that_rounding_decided_is_borne(outputs, pictures, masks):
    mask = masks[0].copy()
    mask[5, 5] = (mask[5, 5] + 1) % CLASSES
    assert find_problems(replaced(outputs, "examples", 0, mask), pictures, CLASSES) == []


def test_a_confusion_matrix_that_counts_void(outputs, pictures):
    outputs["confusion/confusion_matrix"][1, 0, 0] += 66
    assert find_problems(outputs, pictures, CLASSES) == [
        "picture second: the confusion_matrix of confusion adds up to 561, and the label has 495 pixels besides void"
    ]


def test_a_confusion_matrix_of_another_prediction(outputs, pictures):
    outputs["confusion/confusion_matrix"] = outputs["confusion/confusion_matrix"].transpose(0, 2, 1)
    first, _ = find_problems(outputs, pictures, CLASSES)
    assert first.startswith("picture first: the confusion_matrix of confusion is not that of the label")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_numbers_that_are_none(outputs, pictures, value):
    counts = outputs["confusion/boundary_counts"].astype(float)
    counts[0, 0, 0] = value
    outputs["confusion/boundary_counts"] = counts
    assert find_problems(outputs, pictures, CLASSES) == [
        "confusion returns boundary_counts with values that are negative or no finite numbers"
    ]


def test_an_output_that_is_missing(outputs, pictures):
    del outputs["serving_default/class_pixels"]
    assert find_problems(outputs, pictures, CLASSES) == ["serving_default does not return class_pixels, only mask"]


def test_fewer_answers_than_pictures(outputs, pictures):
    outputs["examples/mask"] = outputs["examples/mask"][:1]
    assert find_problems(outputs, pictures, CLASSES) == ["examples returns mask of shape (1,), wanted is (2,)"]


def test_the_same_mask_from_elsewhere(masks):
    assert list(other_mask_problems("server", png(masks[0]), "segment", masks[0])) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda mask: b"", "server returns a mask that is no PNG of one channel"),
        (lambda mask: png(mask[:, 1:]), "server returns a mask of 29 x 20 pixels, and the picture has 30 x 20"),
        (lambda mask: png(mask[::-1]), "the masks of segment and server agree in 30.0% of the pixels only"),
    ],
    ids=["no picture", "another size", "another mask"],
)
def test_another_mask_from_elsewhere(masks, change, problem):
    mask = masks[0]
    assert list(other_mask_problems("server", change(mask), "segment", mask)) == [problem]
