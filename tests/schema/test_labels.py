"""What masks mean: the sets that have a name, and what is said of descriptions that contradict themselves."""

import numpy as np
import pytest
from pydantic import ValidationError

from schema.labels import IGNORE_LABEL, LABEL_SETS, VOC2012, VOC_PALETTE, Labels, label_set


def test_voc_has_its_classes_and_colours():
    assert len(VOC2012.classes) == 21
    assert VOC2012.names[:3] == ("background", "aeroplane", "bicycle")
    assert [item.color for item in VOC2012.classes] == list(VOC_PALETTE[:21])
    assert VOC2012.ignore_colors == ((224, 224, 192),)
    # From VOClabelcolormap.m.
    assert [VOC_PALETTE[index] for index in (1, 15, 20, 255)] == [
        (128, 0, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]


@pytest.mark.parametrize(
    ("name", "classes", "background"),
    [("voc2012", 21, 0), ("coco", 81, 0), ("coco_panoptic", 133, IGNORE_LABEL), ("cityscapes", 19, IGNORE_LABEL)],
)
def test_the_named_sets(name, classes, background):
    labels = Labels.model_validate(label_set(name))
    assert len(labels.classes) == classes
    assert labels.background == background


def test_every_named_set_is_tested():
    assert {file.stem for file in LABEL_SETS.glob("*.json")} == {"voc2012", "coco", "coco_panoptic", "cityscapes"}


def test_voc_finds_coco_s_names():
    """The twenty of VOC are all among COCO's things, some by another name."""
    coco = Labels.model_validate(label_set("coco"))
    assert {VOC2012.index_of(name) for name in coco.names} - {None} == set(range(21))
    assert VOC2012.names[VOC2012.index_of("potted plant")] == "pottedplant"
    assert VOC2012.index_of("zebra") is None


def test_cityscapes_ids_are_all_accounted_for():
    labels = Labels.model_validate(label_set("cityscapes"))
    values = [value for item in labels.classes for value in item.values] + list(labels.ignore)
    assert sorted(values) == [*range(34), 255]


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"classes": ["a", "b"], "ignore": [1]}, "value 1 stands twice"),
        ({"classes": ["a", {"name": "b", "color": [0, 0, 0]}]}, "color (0, 0, 0) stands twice"),
        ({"classes": ["a", {"name": "b", "aliases": ["a"]}]}, "name 'a' stands twice"),
        ({"classes": ["a", {"name": "b", "values": [256]}]}, "less than or equal to 255"),
        ({"classes": "a, b"}, "valid tuple"),
        ({"classes": ["a", 3]}, "a class is a name or {name: ...}, found 3"),
        ({"classes": ["a", True]}, "YAML takes yes, no, on and off for true"),
    ],
)
def test_descriptions_that_contradict_themselves(description, expected):
    with pytest.raises(ValidationError) as error:
        Labels.model_validate(description)
    assert expected in str(error.value)


def test_labels_survive_json():
    assert Labels.model_validate_json(VOC2012.model_dump_json()) == VOC2012
    assert np.array([item.color for item in VOC2012.classes]).shape == (21, 3)


@pytest.mark.parametrize("text", ["[]", "{", "\xff"])
def test_a_file_that_holds_no_labels(tmp_path, text):
    file = tmp_path / "labels.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"labels\.json (holds|cannot be read)"):
        label_set(str(file))
