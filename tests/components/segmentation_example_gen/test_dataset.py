"""Which pairs are read, from which kind of data set, in which spans and splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.dataset import hand_on, handed_on_dataset, quarantine, read_dataset
from components.segmentation_example_gen.pairs import read_pair
from components.segmentation_example_gen.sources import DATA, KINDS, Source
from schema.labels import IGNORE_LABEL, VOC2012


def data(root: Path | None = None, **values: object) -> Source:
    return DATA.validate_python({**({"root": root} if root else {}), **values})


def ids(source: Source) -> dict[str, list[str]]:
    return {split: [pair.id for pair in pairs] for split, pairs in read_dataset(source).splits.items()}


def write_pair(image: Path, mask: Path, value: int = 0) -> None:
    for file in (image, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (6, 8, 3), np.uint8)).save(image)
    Image.new("L", (8, 6), value).save(mask)


# VOC.


def test_voc_in_the_order_of_its_lists(devkit_root):
    found = ids(data(devkit_root))
    assert found["train"] == [f"2012_{number:06d}" for number in range(1, 13)]
    assert len(found["eval"]) == 4


def list_file(root: Path, name: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def test_any_list_by_name_also_from_a_windows_editor(devkit_copy):
    list_file(devkit_copy, "mine").write_bytes(b"\xef\xbb\xbf2012_000002 \r\n\r\n2012_000001\r\n")
    found = ids(data(devkit_copy, splits={"train": {"list": "mine"}}))
    assert found["train"] == ["2012_000002", "2012_000001"]


def test_a_test_list_has_no_masks(devkit_copy):
    shutil.copy(list_file(devkit_copy, "val"), list_file(devkit_copy, "test"))
    for picture_id in list_file(devkit_copy, "test").read_text().split():
        (devkit_copy / "JPEGImages" / f"{picture_id}.jpg").rename(devkit_copy / "JPEGImages" / f"t_{picture_id}.jpg")
    list_file(devkit_copy, "test").write_text("t_2012_000007\nt_2012_000008\n")
    source = data(devkit_copy, splits={"eval": {"list": "train"}, "test": {"list": "test"}})
    dataset = read_dataset(source)
    assert [pair.mask for pair in dataset.splits["test"]] == [None, None]
    assert read_pair(dataset.splits["test"][0], source.labels).mask is None


def test_what_concerns_the_folder_is_said_once(tmp_path):
    with pytest.raises(DataError) as error:
        read_dataset(data(tmp_path / "gone"))
    assert str(error.value) == f"{tmp_path / 'gone'}: there is no such data folder"


def test_the_problems_of_all_lists_are_told_together(devkit_copy):
    with pytest.raises(DataError) as error:
        read_dataset(data(devkit_copy, splits={"train": {"list": "trian"}, "eval": {"list": "vall"}}))
    first, second = map(str, error.value.problems)
    assert "trian.txt: there is no such list; lists in that folder: train, trainval, val" in first
    assert "vall.txt: there is no such list" in second


def test_pictures_in_both_splits_are_known(devkit_root):
    assert read_dataset(data(devkit_root)).overlap == []
    overlap = read_dataset(data(devkit_root, splits={"train": {"list": "trainval"}})).overlap
    assert overlap == ids(data(devkit_root))["eval"]


# Folder pairs.


def test_a_folder_pair_with_folders_inside(tmp_path):
    for number, name in enumerate(["b", "a", "north/a", "north/c"]):
        write_pair(tmp_path / "images" / f"{name}.{'png' if number % 2 else 'jpg'}", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "images" / ".hidden").touch()
    write_pair(tmp_path / "held_out" / "x.JPG", tmp_path / "held_out_masks" / "x.png")
    (tmp_path / "new").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "new" / "y.png")
    splits = {"eval": {"images": "held_out", "masks": "held_out_masks"}, "test": {"images": "new"}}
    found = ids(data(tmp_path, format="folders", splits=splits, labels={"classes": ["no", "yes"]}))
    assert found == {"train": ["a", "b", "north/a", "north/c"], "eval": ["x"], "test": ["y"]}


def test_lists_divide_one_folder_pair(tmp_path):
    for name in "abc":
        write_pair(tmp_path / "images" / f"{name}.png", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("b\na\n")
    (tmp_path / "val.txt").write_text("c\n")
    splits = {"train": {"list": "train.txt"}, "eval": {"list": "val.txt"}}
    assert ids(data(tmp_path, format="folders", splits=splits)) == {"train": ["b", "a"], "eval": ["c"]}


# Cityscapes.


def test_cityscapes_label_ids_become_train_ids(tmp_path):
    for split, city in (("train", "aachen"), ("val", "ulm")):
        write_pair(
            tmp_path / f"leftImg8bit/{split}/{city}/{city}_000000_000019_leftImg8bit.png",
            tmp_path / f"gtFine/{split}/{city}/{city}_000000_000019_gtFine_labelIds.png",
        )
        # Cityscapes has more kinds of masks beside.
        Image.new("L", (8, 6)).save(tmp_path / f"gtFine/{split}/{city}/{city}_000000_000019_gtFine_instanceIds.png")
    values = np.array([[7, 8, 11, 33, 26, 0, 29, 4]] * 6, np.uint8)
    Image.fromarray(values).save(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png")
    source = data(tmp_path, format="cityscapes")
    dataset = read_dataset(source)
    assert dataset.problems == []
    (pair,) = dataset.splits["train"]
    assert pair.id == "aachen/aachen_000000_000019"
    expected = [0, 1, 2, 18, 13, IGNORE_LABEL, IGNORE_LABEL, IGNORE_LABEL]
    np.testing.assert_array_equal(read_pair(pair, source.labels).mask[0], expected)
    assert len(source.labels.classes) == 19


# COCO.


@pytest.fixture
def coco(tmp_path) -> Path:
    """One picture with a motorcycle to the left and a zebra to the right; instances and panoptic."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "pictures" / "000000000139.jpg")
    panoptic = np.zeros((6, 8, 3), np.uint8)
    panoptic[:, :2, 0] = 1
    panoptic[:, 6:, 0] = 2
    Image.fromarray(panoptic).save(tmp_path / "masks" / "000000000139.png")
    common = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 4, "name": "motorcycle"}, {"id": 24, "name": "zebra"}],
    }
    boxes = {4: [0, 0, 2, 0, 2, 6, 0, 6], 24: [6, 0, 8, 0, 8, 6, 6, 6]}
    annotations = [
        {"id": number, "image_id": 139, "category_id": category, "iscrowd": 0, "segmentation": [box]}
        for number, (category, box) in enumerate(boxes.items())
    ]
    (tmp_path / "instances.json").write_text(json.dumps({**common, "annotations": annotations}))
    segments = [{"id": number, "category_id": category, "iscrowd": 0} for number, category in ((1, 4), (2, 24))]
    annotation = {"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}
    (tmp_path / "panoptic.json").write_text(json.dumps({**common, "annotations": [annotation]}))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "labels", "expected"),
    [
        ("coco", "coco", ("motorcycle", "background", "zebra")),
        ("coco", "voc2012", ("motorbike", "background", "background")),
        ("coco", {"classes": ["background", "zebra"]}, ("background", "background", "zebra")),
        ("coco", "coco_panoptic", ("motorcycle", None, "zebra")),
        ("coco", {"classes": ["motorcycle", "car"]}, ("motorcycle", None, None)),
        ("coco_panoptic", "coco_panoptic", ("motorcycle", None, "zebra")),
        ("coco_panoptic", "voc2012", ("motorbike", None, "background")),
    ],
)
def test_coco_by_the_names_of_the_classes(coco, kind, labels, expected):
    """Other categories are background, or ignored where there is no class of that name; None stands for ignored."""
    file = "instances" if kind == "coco" else "panoptic"
    split = {"images": "pictures", "annotations": f"{file}.json", **({"masks": "masks"} if file == "panoptic" else {})}
    source = data(coco, format=kind, labels=labels, splits={"train": split, "eval": split, "test": None})
    (pair,) = read_dataset(source).splits["train"]
    assert pair.id == "000000000139"
    row = read_pair(pair, source.labels).mask[3]
    names = [None if label == IGNORE_LABEL else source.labels.names[label] for label in (row[0], row[4], row[7])]
    assert tuple(names) == expected


def test_a_category_that_is_no_class_leaves_what_it_lies_on(coco):
    content = json.loads((coco / "instances.json").read_text())
    content["annotations"][0]["segmentation"] = [[0, 0, 8, 0, 8, 6, 0, 6]]
    del content["annotations"][1]["iscrowd"]
    (coco / "instances.json").write_text(json.dumps(content))
    split = {"images": "pictures", "annotations": "instances.json"}
    source = data(coco, format="coco", labels="voc2012", splits={"train": split, "eval": split})
    (pair,) = read_dataset(source).splits["train"]
    assert set(np.unique(read_pair(pair, source.labels).mask)) == {VOC2012.index_of("motorcycle")}


def test_cocos_unlabelled_pictures(coco):
    split = {"images": "pictures", "annotations": "instances.json"}
    source = data(coco, format="coco", splits={"train": split, "eval": split, "test": split})
    (pair,) = read_dataset(source).splits["test"]
    assert pair.mask is None


# Random splits.


def test_a_random_split_depends_on_the_ids_alone(devkit_copy):
    source = data(devkit_copy, val_ratio=0.4)
    before = ids(source)
    assert sorted(before["train"] + before["eval"]) == [f"2012_{number:06d}" for number in range(1, 9)]

    shutil.copy(devkit_copy / "JPEGImages/2012_000001.jpg", devkit_copy / "JPEGImages/new.jpg")
    shutil.copy(devkit_copy / "SegmentationClass/2012_000001.png", devkit_copy / "SegmentationClass/new.png")
    ids_of_list = list_file(devkit_copy, "train").read_text()
    list_file(devkit_copy, "train").write_text("new\n" + ids_of_list)
    after = ids(source)
    assert all(set(before[split]) <= set(after[split]) for split in before)
    assert sum(map(len, after.values())) == 9


def test_another_seed_divides_otherwise_and_the_share_is_kept(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(1000):
        (tmp_path / "images" / f"{number}.jpg").touch()
        (tmp_path / "masks" / f"{number}.png").touch()
    splits = [
        ids(data(tmp_path, format="folders", labels={"classes": ["a", "b"]}, val_ratio=0.1, val_seed=seed))
        for seed in (0, 1)
    ]
    for split in splits:
        # Within four standard deviations of the binomial distribution.
        assert 62 <= len(split["eval"]) <= 138
    assert splits[0] != splits[1]


def test_a_pair_in_both_lists_is_read_once_and_two_of_one_name_are_a_problem(devkit_copy):
    overlapping = {"train": {"list": "trainval"}}
    assert sum(map(len, ids(data(devkit_copy, val_ratio=0.5, splits=overlapping)).values())) == 8

    shutil.copytree(devkit_copy / "SegmentationClass", devkit_copy / "Other")
    source = data(devkit_copy, val_ratio=0.5, splits={**overlapping, "eval": {"masks": "Other"}})
    problems = read_dataset(source).problems
    assert len(problems) == 2
    assert "has another picture or mask in the other split" in str(problems[0])


def test_what_is_missing_is_missing_in_the_split_that_it_would_have_come_to(devkit_copy):
    source = data(devkit_copy, val_ratio=0.4)
    sides = {picture_id: split for split, members in ids(source).items() for picture_id in members}
    # One stays in each.
    kept = {split: picture_id for picture_id, split in sides.items()}
    for mask in (devkit_copy / "SegmentationClass").iterdir():
        if mask.stem not in kept.values():
            mask.unlink()
    problems = read_dataset(source).problems
    assert len(problems) == len(sides) - 2
    assert all(problem.split == sides[problem.pair] for problem in problems)


# Spans.


@pytest.fixture
def spans(tmp_path) -> Path:
    """Spans 1, 2 and 10, each with pictures of the same names."""
    for span in (1, 2, 10):
        for name in "ab":
            folder = tmp_path / f"span-{span}" / "pairs"
            write_pair(folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png", value=0)
    (tmp_path / "span-x").mkdir()
    (tmp_path / "other-11").mkdir()
    return tmp_path


def spans_of(folder: Path, **values: object) -> Source:
    split = {"images": "images", "masks": "masks"}
    pattern = str(folder / "span-{SPAN}" / "pairs")
    return data(format="folders", pattern=pattern, splits={"train": split, "eval": split}, **values)


def test_the_newest_span_by_number(spans):
    dataset = read_dataset(spans_of(spans))
    assert dataset.spans == (10,)
    assert [pair.id for pair in dataset.splits["train"]] == ["10/a", "10/b"]
    assert all("/span-10/" in pair.image for pair in dataset.splits["train"])


def test_a_window_of_spans(spans):
    dataset = read_dataset(spans_of(spans, window=2))
    assert dataset.spans == (2, 10)
    assert [pair.id for pair in dataset.splits["train"]] == ["2/a", "2/b", "10/a", "10/b"]


def test_a_window_larger_than_what_is_there(spans):
    assert read_dataset(spans_of(spans, window=9)).spans == (1, 2, 10)


def test_a_window_that_moves_on_moves_no_picture_to_the_other_split(spans):
    def sides(window: int) -> dict[str, str]:
        found = ids(spans_of(spans, window=window, val_ratio=0.5))
        return {picture_id: split for split, members in found.items() for picture_id in members}

    assert sides(2).items() <= sides(3).items()


def test_no_span(tmp_path):
    with pytest.raises(DataError, match=r"there is no span; wanted folders such as span-1 in"):
        read_dataset(spans_of(tmp_path))


def test_two_folders_of_one_span(spans):
    (spans / "span-010").mkdir()
    with pytest.raises(DataError, match="is span 10, and so is"):
        read_dataset(spans_of(spans))


# Quarantine.


@pytest.mark.parametrize(("allowed", "refused"), [(0.0, True), (0.1, True), (0.2, False), (0.5, False)])
def test_a_stated_share_may_be_left_out(devkit_root, allowed, refused):
    dataset = read_dataset(data(devkit_root))
    bad = [Problem("x.jpg", "is broken", split="train", pair=pair.id) for pair in dataset.splits["train"][:3]]
    if not refused:
        quarantine(dataset, bad, allowed)
        return
    with pytest.raises(DataError) as error:
        quarantine(dataset, bad, allowed)
    assert list(error.value.problems[:3]) == bad
    assert ("3 of 16 pairs are not sound, and a share of 0.1 is allowed" in str(error.value)) == (allowed == 0.1)


def test_a_split_is_not_left_without_pairs(devkit_root):
    dataset = read_dataset(data(devkit_root))
    bad = [Problem("x.jpg", "is broken", split="eval", pair=pair.id) for pair in dataset.splits["eval"]]
    with pytest.raises(DataError, match=r"data\.splits\.eval: no sound pair is left in it"):
        quarantine(dataset, bad, 0.9)


def test_entries_of_lists_that_came_to_no_pair_count_too(devkit_root):
    dataset = read_dataset(data(devkit_root))
    missing = [Problem(f"train.txt, line {line}", "has no picture", split="train", pair=str(line)) for line in range(4)]
    quarantine(dataset, missing, 0.2)
    with pytest.raises(DataError, match="4 of 20 pairs"):
        quarantine(dataset, missing, 0.19)


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_survives_json(kind):
    source = data(Path("somewhere"), format=kind, val_ratio=0.5)
    assert DATA.validate_json(source.model_dump_json()) == source


def test_a_listing_is_handed_on_once(devkit_copy):
    source = DATA.validate_python({"root": str(devkit_copy)})
    listed = read_dataset(source)
    hand_on(listed, source)
    # The driver and the executor read the source from JSON.
    source = DATA.validate_json(source.model_dump_json())
    assert handed_on_dataset(source) is listed
    (devkit_copy / "ImageSets" / "Segmentation" / "train.txt").write_text(f"{listed.splits['train'][0].id}\n")
    assert len(handed_on_dataset(source).splits["train"]) == 1


def test_a_listing_of_another_data_set_is_not_used(devkit_root, devkit_copy):
    other = data(devkit_root)
    hand_on(read_dataset(other), other)
    assert len(handed_on_dataset(DATA.validate_python({"root": str(devkit_copy)})).splits["train"]) == 6


def test_a_listing_of_other_contents_is_not_used(devkit_root):
    source = data(devkit_root)
    listed = read_dataset(source)
    hand_on(listed, source, "a fingerprint")
    assert handed_on_dataset(source, "another") is not listed
    assert handed_on_dataset(source, "a fingerprint") is listed
