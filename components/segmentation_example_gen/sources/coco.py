"""COCO: instances as JSON, and panoptic masks as PNG and JSON.

<root>/<images>/<file_name>              pictures
<root>/<annotations>.json                of instances, or of panoptic segments
<root>/<masks>/<file_name>.png           of panoptic segments
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.masks import InstanceMask, PanopticMask
from components.segmentation_example_gen.pairs import Listing, Pair
from components.segmentation_example_gen.sources.source import FolderInside, Source, folder_of, leads_outside, text_of
from schema.features import MAX_PIXELS
from schema.labels import IGNORE_LABEL, Labels, NamedLabels, label_set
from schema.section import Section
from trainer.common import files

WANTED = "data.splits names the folder of the pictures and the JSON file of each split"


class _Image(TypedDict):
    id: int
    file_name: str
    height: int
    width: int


class _Category(TypedDict):
    id: int
    name: str


class _Instance(TypedDict):
    id: int
    image_id: int
    category_id: int
    iscrowd: NotRequired[int | bool]
    segmentation: Any


class _Segment(TypedDict):
    id: int
    category_id: int
    iscrowd: NotRequired[int | bool]


class _Panoptic(TypedDict):
    image_id: int
    file_name: str
    segments_info: list[_Segment]


class _Instances(TypedDict):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Instance]


class _PanopticFile(TypedDict):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Panoptic]


class _Unlabelled(TypedDict):
    images: list[_Image]


class CocoSplit(Section):
    """Pictures and their JSON file."""

    images: FolderInside
    """The folder of the pictures, such as train2017."""
    annotations: FolderInside
    """The JSON file, such as annotations/instances_train2017.json."""


class CocoSplits(Section):
    """The files of the splits; those of COCO 2017, unless said otherwise."""

    train: CocoSplit = CocoSplit(images="train2017", annotations="annotations/instances_train2017.json")
    """What is learnt from."""
    eval: CocoSplit | None = CocoSplit(images="val2017", annotations="annotations/instances_val2017.json")
    """What is judged on. `null`: `val_ratio` takes a share of train."""
    test: CocoSplit | None = None
    """Pictures without labels, which are ingested to be predicted; of the JSON file only `images` is read."""


class CocoData(Source):
    """COCO's instances; objects are drawn into one mask."""

    format: Literal["coco"] = "coco"
    labels: NamedLabels = Labels.model_validate(label_set("coco"))
    """The classes, found by name among the categories of the JSON file: `coco` (background and the 80 things),
    `voc2012`, or your own. Other categories are background, or ignored if there is no class `background`."""
    splits: CocoSplits = CocoSplits()

    def list_split(self, root: str, name: str) -> Listing:
        """See `Source`."""
        split = getattr(self.splits, name)
        json_file = files.join(root, split.annotations)
        if name == "test":
            return _unlabelled(root, split, json_file)
        content = _read(json_file, TypeAdapter(_Instances))
        listing = Listing()
        images = _images(content, json_file, root, split, listing)
        classes = _classes(content, json_file, self.labels)
        objects: dict[int, list] = defaultdict(list)
        faulty: set[int] = set()
        seen: set[int] = set()
        for annotation in content["annotations"]:
            number, image_id = annotation["id"], annotation["image_id"]
            what = ""
            if number in seen:
                what = "its id stands in the file a second time"
            elif image_id not in images.known:
                what = f"is of image {image_id}, which is not among the images"
            elif annotation["category_id"] not in classes:
                what = f"is of category {annotation['category_id']}, which is not among the categories"
            seen.add(number)
            if what:
                listing.problems.append(
                    Problem(f"{json_file}: annotation {number}", what, pair=images.ids.get(image_id, ""))
                )
                faulty.add(image_id)
                continue
            label: int | None = classes[annotation["category_id"]]
            if label == self.labels.background != IGNORE_LABEL:
                # What is no class of ours leaves what it lies on as it is.
                continue
            label = None if label == IGNORE_LABEL or annotation.get("iscrowd") else label
            objects[image_id].append([number, label, annotation["segmentation"]])
        for image_id, image in images.sound.items():
            if image_id not in faulty:
                drawn = json.dumps(objects[image_id])
                mask = InstanceMask(json_file, image["width"], image["height"], self.labels.background, drawn)
                listing.pairs.append(Pair(images.ids[image_id], images.place(image), mask))
        return listing


class PanopticSplit(CocoSplit):
    """Pictures, their JSON file and their masks."""

    masks: FolderInside
    """The folder of the PNGs, such as annotations/panoptic_train2017."""


class PanopticSplits(Section):
    """The files of the splits; those of COCO 2017, unless said otherwise."""

    train: PanopticSplit = PanopticSplit(
        images="train2017",
        annotations="annotations/panoptic_train2017.json",
        masks="annotations/panoptic_train2017",
    )
    """What is learnt from."""
    eval: PanopticSplit | None = PanopticSplit(
        images="val2017", annotations="annotations/panoptic_val2017.json", masks="annotations/panoptic_val2017"
    )
    """What is judged on. `null`: `val_ratio` takes a share of train."""
    test: CocoSplit | None = None
    """Pictures without labels, which are ingested to be predicted; of the JSON file only `images` is read."""


class CocoPanopticData(Source):
    """COCO's panoptic segments, things and stuff."""

    format: Literal["coco_panoptic"] = "coco_panoptic"
    labels: NamedLabels = Labels.model_validate(label_set("coco_panoptic"))
    """The classes, found by name among the categories of the JSON file: `coco_panoptic` (all 133), `voc2012`, or your
    own. Other categories are background, or ignored if there is no class `background`; pixels of no segment are
    ignored."""
    splits: PanopticSplits = PanopticSplits()

    def list_split(self, root: str, name: str) -> Listing:
        """See `Source`."""
        split = getattr(self.splits, name)
        json_file = files.join(root, split.annotations)
        if name == "test":
            return _unlabelled(root, split, json_file)
        content = _read(json_file, TypeAdapter(_PanopticFile))
        listing = Listing()
        images = _images(content, json_file, root, split, listing)
        classes = _classes(content, json_file, self.labels)
        masks = folder_of(root, split.masks, WANTED)
        annotated: set[int] = set()
        for annotation in content["annotations"]:
            image_id = annotation["image_id"]
            where = f"{json_file}: annotation of image {image_id}"
            numbers = [segment["id"] for segment in annotation["segments_info"]]
            unknown = {segment["category_id"] for segment in annotation["segments_info"]} - classes.keys()
            what = ""
            if image_id not in images.known:
                what = "that image is not among the images"
            elif image_id in annotated:
                what = "stands in the file a second time"
            elif annotation["file_name"] not in masks:
                what = f"has no mask: {files.join(root, split.masks, annotation['file_name'])} is not there"
            elif unknown:
                what = f"is of category {min(unknown)}, which is not among the categories"
            elif 0 in numbers or len(set(numbers)) < len(numbers):
                what = "has a segment of id 0, which stands for no segment, or two of one id"
            annotated.add(image_id)
            if what:
                listing.problems.append(Problem(where, what, pair=images.ids.get(image_id, "")))
            elif image_id in images.sound:
                segments = tuple(
                    (segment["id"], IGNORE_LABEL if segment.get("iscrowd") else classes[segment["category_id"]])
                    for segment in annotation["segments_info"]
                )
                mask = PanopticMask(
                    files.join(root, split.masks, annotation["file_name"]), json_file, IGNORE_LABEL, segments
                )
                listing.pairs.append(Pair(images.ids[image_id], images.place(images.sound[image_id]), mask))
        for image_id in images.sound.keys() - annotated:
            listing.problems.append(
                Problem(f"{json_file}: image {image_id}", "has no annotation", pair=images.ids[image_id])
            )
        return listing


class _Images:
    """The images of a JSON file."""

    def __init__(self, folder: str):
        self.folder = folder
        self.known: set[int] = set()
        self.sound: dict[int, _Image] = {}
        self.ids: dict[int, str] = {}
        """The pair's id: the file's name without its suffix."""

    def place(self, image: _Image) -> str:
        return files.join(self.folder, image["file_name"])


def _read(json_file: str, form: TypeAdapter) -> Any:
    text = text_of(json_file, f"JSON file; {WANTED}")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"{json_file}, line {error.lineno}", f"not JSON: {error.msg}")) from error
    except (ValueError, RecursionError) as error:
        raise DataError(Problem(json_file, f"JSON that cannot be read: {error}")) from error
    try:
        return form.validate_python(content, strict=True)
    except ValidationError as error:
        raise DataError(
            *(
                Problem(f"{json_file}: {'.'.join(map(str, details['loc'])) or 'the file'}", f"{details['msg']}")
                for details in error.errors()
            )
        ) from error


def _images(content: Any, json_file: str, root: str, split: CocoSplit, listing: Listing) -> _Images:
    there = folder_of(root, split.images, WANTED, recursive=True)
    images = _Images(files.join(root, split.images))
    names: set[str] = set()
    for image in content["images"]:
        number, file_name = image["id"], image["file_name"]
        where = f"{json_file}: image {number}"
        outside = leads_outside(file_name)
        picture_id = "" if outside else str(PurePosixPath(file_name).with_suffix(""))
        what = ""
        if number in images.known:
            what = "its id stands in the file a second time"
        elif outside:
            what = f"file_name {file_name!r} is not the name of a picture inside {split.images}"
        elif picture_id in names:
            what = (
                f"file_name {file_name!r} stands in the file a second time, or differs from another in its suffix only"
            )
        elif file_name not in there:
            what = f"{images.place(image)} is not there"
        elif not (image["width"] > 0 < image["height"] and image["width"] * image["height"] <= MAX_PIXELS):
            what = f"width {image['width']} and height {image['height']} are no picture's"
        names.add(picture_id)
        images.ids.setdefault(number, picture_id)
        if what:
            listing.problems.append(Problem(where, what, pair=picture_id))
        else:
            images.sound[number] = image
        images.known.add(number)
    if not content["images"]:
        raise DataError(Problem(json_file, "names no images"))
    return images


def _classes(content: Any, json_file: str, labels: Labels) -> dict[int, int]:
    """The label of each category."""
    found: dict[int, int | None] = {}
    for category in content["categories"]:
        if category["id"] in found:
            raise DataError(
                Problem(f"{json_file}: category {category['id']}", "its id stands in the file a second time")
            )
        found[category["id"]] = labels.index_of(category["name"])
    if set(found.values()) <= {None}:
        what = f"none of its categories is one of the classes {', '.join(labels.names[:5])}, ...; see data.labels"
        raise DataError(Problem(json_file, what))
    return {category: labels.background if label is None else label for category, label in found.items()}


def _unlabelled(root: str, split: CocoSplit, json_file: str) -> Listing:
    listing = Listing()
    images = _images(_read(json_file, TypeAdapter(_Unlabelled)), json_file, root, split, listing)
    listing.pairs = [Pair(images.ids[number], images.place(image), None) for number, image in images.sound.items()]
    return listing
