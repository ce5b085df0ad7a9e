"""What is said of data that are not sound: each kind is named with its file and the reason, and nothing else is."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.problems import DataError
from components.segmentation_example_gen import images
from components.segmentation_example_gen.dataset import read_dataset
from components.segmentation_example_gen.pairs import check_pair
from components.segmentation_example_gen.sources import DATA, Source

SIZE = (40, 30)
"""Width and height of the pictures, pixels."""


def problems_in(data: Source) -> list[str]:
    """What a look through a data set finds."""
    try:
        dataset = read_dataset(data)
    except DataError as error:
        return [str(problem) for problem in error.problems]
    found = [
        problem
        for split, pairs in dataset.splits.items()
        for pair in pairs
        for problem in check_pair(pair, split, data.labels)[0]
    ]
    # COCO's tests learn from and judge on the same file.
    return list(dict.fromkeys(str(problem) for problem in [*dataset.problems, *found]))


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8))


def png_header(width: int, height: int, *, bits: int = 8, color_type: int = 2) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.fixture
def voc(tmp_path) -> Path:
    """A devkit of four pairs of noise: a and b to learn from, c and d to judge on."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate("abcd"):
        picture(number).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        Image.new("L", SIZE, number).save(tmp_path / "SegmentationClass" / f"{name}.png")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("c\nd\n")
    return tmp_path


def jpeg(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


def png(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


def grey_of(bits: int) -> bytes:
    """A grey PNG of less than 8 bits, as a palette PNG with another colour type in its header."""
    content = bytearray(png(Image.new("P", SIZE), bits=bits))
    header = content[12:29]
    header[13] = 0
    content[12:33] = header + zlib.crc32(header).to_bytes(4, "big")
    return bytes(content)


def png_with(kind: bytes, content: bytes) -> bytes:
    """A PNG with one more block behind its header."""
    sound = png(picture())
    block = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return sound[:33] + block + sound[33:]


def gif() -> bytes:
    content = io.BytesIO()
    picture().save(content, "GIF")
    return content.getvalue()


SOUND = jpeg(picture())
TURNED = Image.Exif()
TURNED[0x0112] = 6
HALF_TRANSPARENT = Image.new("RGBA", SIZE, (0, 0, 0, 128))
WRONG_CHECKSUM = bytearray(png(picture()))
WRONG_CHECKSUM[-14] ^= 1
UNKNOWN_VALUE = Image.fromarray(np.pad(np.array([[21]], np.uint8), ((3, 26), (5, 34))))
UNKNOWN_COLOR = Image.new("RGB", SIZE, (1, 2, 3))

PICTURES = {
    "truncated": (SOUND[:-60], "cannot be decoded: "),
    "cut after the header": (SOUND[:200], "cannot be decoded: "),
    "zero bytes": (b"", "0 bytes, an empty file"),
    "text": (b"this is no picture\n", "19 bytes that are no picture"),
    "a PNG by another name": (png(picture()), "holds a PNG, but its name ends in .jpg; rename it"),
    "a GIF by another name": (gif(), "holds a GIF, wanted JPEG or PNG"),
    "PostScript by another name": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "holds a EPS, wanted JPEG or PNG",
    ),
    "16 bits": (png(Image.new("I;16", SIZE)), "a picture of 16 bits per channel; convert it to 8"),
    "transparent": (png(HALF_TRANSPARENT), "transparent at row 0, column 0"),
    "animated": (png(picture(), save_all=True, append_images=[picture(1)]), "an animation of 2 pictures"),
    "a decompression bomb": (png_header(50_000, 50_000), "more pixels than the 100,000,000 that are read"),
    "longer than a signature takes": (
        png_header(65_536, 2),
        "65536 x 2 pixels, and at most 100,000,000 are read, 65,535 on a side",
    ),
    "larger than any machine": (png_header(2**31 - 1, 2**31 - 1), "more pixels than the 100,000,000 that are read"),
    "a broken header": (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "48 bytes that are no picture"),
    "turned by EXIF, its mask is not": (jpeg(picture(), exif=TURNED), "40 x 30 pixels, but its picture"),
    "another size than the mask": (jpeg(picture().resize((20, 15))), "40 x 30 pixels, but its picture"),
    "broken EXIF": (png_with(b"eXIf", b"xx"), "its EXIF data cannot be read"),
    "EXIF in words": (png_with(b"tEXt", b"Raw profile type exif\0\nexif\n4\nzz"), "its EXIF data cannot be read"),
    "a wrong checksum": (bytes(WRONG_CHECKSUM), "cannot be decoded"),
    "an end that is missing": (png(picture())[:-12], "cannot be decoded"),
    "transparent by a colour": (png(Image.new("RGB", SIZE, (1, 2, 3)), transparency=(1, 2, 3)), "transparent at row 0"),
    "a broken colour profile": (
        jpeg(picture().convert("CMYK"), icc_profile=b"no"),
        "its colour profile cannot be followed",
    ),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture(voc, kind):
    content, expected = PICTURES[kind]
    # Both PNGs by a JPEG's name and those by their own are tried.
    file = voc / "images" / ("a.png" if content.startswith(b"\x89PNG") and "rename" not in expected else "a.jpg")
    (voc / "JPEGImages").rename(voc / "images")
    (voc / "images" / "a.jpg").unlink()
    file.write_bytes(content)
    splits = {
        name: {"masks": "SegmentationClass", "list": f"ImageSets/Segmentation/{split}.txt"}
        for name, split in (("train", "train"), ("eval", "val"))
    }
    (problem,) = problems_in(DATA.validate_python({"format": "folders", "root": voc, "splits": splits}))
    assert expected in problem
    assert str(file) in problem


MASKS = {
    "truncated": (png(picture().convert("L").point(lambda value: value % 21))[:-40], "cannot be decoded: "),
    "zero bytes": (b"", "0 bytes, an empty file"),
    "a JPEG by another name": (SOUND, "holds a JPEG, wanted PNG: compression with losses makes up values"),
    "16 bits": (png(Image.new("I;16", SIZE)), "a PNG of 16 bits per channel"),
    "1 bit": (png(Image.new("1", SIZE)), "a PNG of 1 bits per channel"),
    "grey of 4 bits": (grey_of(4), "a PNG of 4 bits per channel"),
    "transparent": (png(HALF_TRANSPARENT), "transparent at row 0, column 0"),
    "another size": (png(Image.new("L", (9, 7))), "9 x 7 pixels, but its picture"),
    "turned": (png(Image.new("L", SIZE[::-1])), "is one of them turned? EXIF's orientation of the picture is followed"),
    "a value that is no class": (
        png(UNKNOWN_VALUE),
        "value 21 at row 3, column 5 (1 pixels), but classes are 0 to 20 and ignored is 255",
    ),
    "a colour that is no class": (
        png(UNKNOWN_COLOR),
        "colour (1, 2, 3) at row 0, column 0 (1200 pixels) is that of no class; data.labels states the colours",
    ),
    "a GIF by another name": (gif(), "holds a GIF, wanted JPEG or PNG"),
    "a decompression bomb": (
        png_header(12_000, 12_000, color_type=0),
        "12000 x 12000 pixels, and at most 100,000,000 are read",
    ),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask(voc, kind):
    content, expected = MASKS[kind]
    file = voc / "SegmentationClass" / "a.png"
    file.write_bytes(content)
    (problem,) = problems_in(DATA.validate_python({"root": voc}))
    assert problem.startswith(f"{file}: ")
    assert expected in problem


def test_everything_is_named_at_once(voc):
    (voc / "JPEGImages" / "a.jpg").write_bytes(b"")
    (voc / "SegmentationClass" / "a.png").write_bytes(b"")
    (voc / "SegmentationClass" / "b.png").unlink()
    (voc / "JPEGImages" / "d.jpg").write_bytes(b"x")
    problems = problems_in(DATA.validate_python({"root": voc}))
    assert len(problems) == 4
    assert {part for problem in problems for part in ("a.jpg", "a.png", "b.png", "d.jpg") if part in problem} == {
        "a.jpg",
        "a.png",
        "b.png",
        "d.jpg",
    }


def test_a_picture_that_is_a_folder(voc):
    (voc / "JPEGImages" / "a.jpg").unlink()
    (voc / "JPEGImages" / "a.jpg").mkdir()
    (problem,) = problems_in(DATA.validate_python({"root": voc}))
    assert "line 1: 'a' has no picture" in problem


def test_a_link_that_leads_nowhere(voc):
    (voc / "JPEGImages" / "a.jpg").unlink()
    (voc / "JPEGImages" / "a.jpg").symlink_to("gone.jpg")
    (problem,) = problems_in(DATA.validate_python({"root": voc}))
    assert "'a' has no picture" in problem


def test_a_picture_that_may_not_be_read(voc, monkeypatch):
    def refuse(uri: str) -> bytes:
        raise PermissionError(13, "Permission denied", uri)

    # Root, who often runs tests, may read everything.
    monkeypatch.setattr(images, "read_bytes", refuse)
    problems = problems_in(DATA.validate_python({"root": voc}))
    assert problems
    assert all("cannot be read: Permission denied" in problem for problem in problems)


LISTS = {
    "empty": (b"\n \n", "the list is empty"),
    "an id twice": (b"a\nb\na\n", "line 3: 'a' stands in the list a second time, first in line 1"),
    "not in UTF-8": (b"\xff\xfea\x00", "not a text file in UTF-8"),
    "no picture": (b"a\nb\nzz\n", "line 3: 'zz' has no picture: "),
    "out of the folder": (b"a\nb\n../c\n", "line 3: '../c' is not the name of a picture inside the data folder"),
    "absolute": (b"a\nb\n/etc/passwd\n", "line 3: '/etc/passwd' is not the name"),
    "a backslash": (b"a\nb\nx\\y\n", "line 3: 'x\\\\y' is not the name"),
    "only dots": (b"a\nb\n..\n", "line 3: '..' is not the name"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list(voc, kind):
    content, expected = LISTS[kind]
    (voc / "ImageSets/Segmentation/train.txt").write_bytes(content)
    problems = problems_in(DATA.validate_python({"root": voc}))
    assert expected in problems[0]
    assert "train.txt" in problems[0]
    assert len(problems) == (2 if kind == "no picture" else 1)


@pytest.mark.parametrize("name", ["with space", "ünï-日本", "dot.in.name", "-dash", "#hash%41"])
def test_a_strange_id_is_sound(voc, name):
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (voc / folder / f"a.{suffix}").rename(voc / folder / f"{name}.{suffix}")
    (voc / "ImageSets/Segmentation/train.txt").write_text(f"{name}\nb\n", encoding="utf-8")
    assert problems_in(DATA.validate_python({"root": voc})) == []


# Folder pairs.


@pytest.fixture
def folders(tmp_path) -> Path:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number, name in enumerate("abcdefgh"):
        picture(number).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", SIZE, number % 3).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def folder_data(root: Path, **more: object) -> Source:
    labels = {"classes": ["background", "road", "crack"]}
    return DATA.validate_python({"format": "folders", "root": root, "labels": labels, "val_ratio": 0.5, **more})


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda root: (root / "masks" / "a.png").unlink(), "images/a.jpg: has no mask: "),
        (lambda root: (root / "images" / "a.jpg").unlink(), "masks/a.png: has no picture in images"),
        (lambda root: (root / "images" / "notes.txt").touch(), "images/notes.txt: is no .jpg or .jpeg or .png file"),
        (lambda root: picture().save(root / "images" / "a.png"), "has the same name as a.jpg"),
        (lambda root: (root / "masks" / "a.png").write_bytes(png(Image.new("L", SIZE, 7))), "value 7 at row 0"),
        (
            lambda root: (root / "images" / "a.jpg").rename(root / "images" / "a.png"),
            "images/a.png: holds a JPEG, but its name ends in .png",
        ),
    ],
)
def test_a_folder_pair(folders, damage: Callable, expected):
    assert problems_in(folder_data(folders)) == []
    damage(folders)
    (problem,) = problems_in(folder_data(folders))
    assert expected in problem


def test_a_name_that_is_not_utf8(folders):
    for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
        (folders / folder / f"a{suffix}").rename(folders / folder / f"\udcff{suffix}")
    problems = problems_in(folder_data(folders))
    assert len(problems) == 2
    assert all(r"\udcff" in problem and "its name is not UTF-8; rename it" in problem for problem in problems)


def test_a_link_that_leads_back(folders):
    (folders / "images" / "loop").symlink_to(folders / "images")
    (problem,) = problems_in(folder_data(folders))
    assert "images: cannot be read: a link leads back to a folder above it" in problem


def test_a_doubtful_pair_is_not_used(folders):
    picture().save(folders / "images" / "a.png")
    splits = read_dataset(folder_data(folders)).splits
    assert sorted(pair.id for pairs in splits.values() for pair in pairs) == list("bcdefgh")


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_folder_that_is_not_there(folders, folder):
    (folders / folder).rename(folders / "elsewhere")
    problems = problems_in(folder_data(folders))
    assert problems == [
        f"{folders / folder}: there is no such folder; a folder pair has pictures in one folder and masks of the same "
        "names in another; see data.splits"
    ]


def test_a_split_that_gets_nothing(folders):
    (problem,) = problems_in(folder_data(folders, val_ratio=0.001))
    assert "the split eval has no pairs; val_ratio 0.001 divides 8" in problem


# COCO.


def coco_files(root: Path, **changes: object) -> Source:
    """Three pictures with an object each, and what a test changes in the JSON file."""
    (root / "pictures").mkdir()
    for number in (1, 2, 3):
        picture(number).save(root / "pictures" / f"{number}.jpg")
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": SIZE[0], "height": SIZE[1]} for n in (1, 2, 3)],
        "categories": [{"id": 7, "name": "person"}, {"id": 9, "name": "zebra"}],
        "annotations": [
            {"id": n * 10, "image_id": n, "category_id": 7, "iscrowd": 0, "area": 100, "segmentation": [square]}
            for n in (1, 2, 3)
        ],
    }
    for key, change in changes.items():
        change(content[key])
    file = root / "instances.json"
    file.write_text(json.dumps(content))
    split = {"images": "pictures", "annotations": "instances.json"}
    data = {"format": "coco", "root": root, "splits": {"train": split, "eval": split}}
    return DATA.validate_python(data)


def of_first(**values: object) -> Callable:
    return lambda items: items[0].update(values)


COCO = {
    "an image that is not there": ({"images": of_first(file_name="9.jpg")}, "image 1: ", "9.jpg is not there"),
    "an image out of the folder": (
        {"images": of_first(file_name="../1.jpg")},
        "image 1: ",
        "is not the name of a picture",
    ),
    "an image twice": (
        {"images": lambda items: items.append(items[0])},
        "image 1: ",
        "its id stands in the file a second",
    ),
    "a file twice": (
        {"images": of_first(file_name="2.jpg")},
        "image 2: ",
        "file_name '2.jpg' stands in the file a second",
    ),
    "an annotation of no image": (
        {"annotations": of_first(image_id=99)},
        "annotation 10: ",
        "is of image 99, which is not",
    ),
    "an annotation of no category": (
        {"annotations": of_first(category_id=1)},
        "annotation 10: ",
        "is of category 1, which",
    ),
    "an annotation twice": ({"annotations": lambda items: items[1].update(id=10)}, "annotation 10: ", "a second time"),
    "a polygon outside": (
        {"annotations": of_first(segmentation=[[10, 10, 99, 10, 20, 20]])},
        "annotation 10: ",
        "a polygon's corner at x 99, y 10, outside the picture of 40 x 30",
    ),
    "a line": ({"annotations": of_first(segmentation=[[1, 1, 5, 5]])}, "annotation 10: ", "three corners at least"),
    "corners that are no numbers": (
        {"annotations": of_first(segmentation=[[1, 1, 5, "x", 3, 3]])},
        "annotation 10: ",
        "corners must be numbers",
    ),
    "a corner that is not a number": (
        {"annotations": of_first(segmentation=[[1, 1, 5, float("nan"), 3, 3]])},
        "annotation 10: ",
        "corners must be numbers",
    ),
    "no polygons": ({"annotations": of_first(segmentation=[])}, "annotation 10: ", "no polygons"),
    "neither polygons nor run lengths": (
        {"annotations": of_first(segmentation=3)},
        "annotation 10: ",
        "is neither polygons",
    ),
    "run lengths of another size": (
        {"annotations": of_first(segmentation={"size": [9, 9], "counts": [81]})},
        "annotation 10: ",
        "run lengths of size [9, 9], but the picture is [30, 40]",
    ),
    "run lengths that do not add up": (
        {"annotations": of_first(segmentation={"size": [30, 40], "counts": [7]})},
        "annotation 10: ",
        "do not add up to 30 x 40 pixels",
    ),
    "compressed run lengths that do not add up": (
        {"annotations": of_first(segmentation={"size": [30, 40], "counts": "0000"})},
        "annotation 10: ",
        "do not add up to 30 x 40 pixels",
    ),
    "compressed run lengths of other letters": (
        {"annotations": of_first(segmentation={"size": [30, 40], "counts": "\u20ac~"})},
        "annotation 10: ",
        "not in COCO's compressed form",
    ),
    "another size than the picture": ({"images": of_first(width=41)}, "", "41 x 30 pixels, but its picture"),
    "no categories that are known": (
        {"categories": lambda items: [item.update(name="x") for item in items]},
        "instances.json: ",
        "none of its categories is one of the classes",
    ),
    "a missing key": (
        {"annotations": lambda items: items[0].pop("image_id")},
        "annotations.0.image_id: ",
        "Field required",
    ),
}


@pytest.mark.parametrize("kind", COCO)
def test_coco(tmp_path, kind):
    changes, where, what = COCO[kind]
    problems = problems_in(coco_files(tmp_path, **changes))
    assert len(problems) == 1, problems
    assert where in problems[0]
    assert what in problems[0]
    assert str(tmp_path / "instances.json") in problems[0]


def test_sound_coco(tmp_path):
    assert problems_in(coco_files(tmp_path)) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "valid dictionary"),
        ("{}", "Field required"),
        ("[" * 100_000, "JSON that cannot be read"),
        ('{"images": ' + "1" * 5000 + "}", "JSON that cannot be read"),
    ],
)
def test_coco_that_is_no_such_file(tmp_path, content, expected):
    data = coco_files(tmp_path)
    (tmp_path / "instances.json").write_text(content)
    assert any(expected in problem for problem in problems_in(data))


@pytest.mark.parametrize(
    ("colour", "segments", "expected"),
    [
        ((5, 0, 0), [], "segment 5 at row 0, column 0 is not in segments_info of "),
        ((5, 0, 0), [5, 6], "has no pixel of segment 6, which "),
        (
            (5, 0, 0),
            [5, 5],
            "annotation of image 1: has a segment of id 0, which stands for no segment, or two of one id",
        ),
        ((0, 0, 0), [0], "annotation of image 1: has a segment of id 0"),
    ],
)
def test_panoptic_segments_that_do_not_match(tmp_path, colour, segments, expected):
    coco_files(tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    (tmp_path / "masks").mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", SIZE, colour if number == 1 else (5, 0, 0)).save(tmp_path / "masks" / f"{number}.png")
    content["annotations"] = [
        {
            "image_id": number,
            "file_name": f"{number}.png",
            "segments_info": [
                {"id": segment, "category_id": 7, "iscrowd": 0} for segment in (segments if number == 1 else [5])
            ],
        }
        for number in (1, 2, 3)
    ]
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    split = {"images": "pictures", "annotations": "panoptic.json", "masks": "masks"}
    data = {"format": "coco_panoptic", "root": tmp_path, "splits": {"train": split, "eval": split}}
    (problem,) = problems_in(DATA.validate_python(data))
    assert expected in problem
    assert ("1.png: " in problem) != ("image 1: " in problem)
