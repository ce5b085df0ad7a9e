"""What becomes of sound pictures and masks of every kind."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.images import read_picture
from components.segmentation_example_gen.masks import InstanceMask, PanopticMask, PngMask
from components.segmentation_example_gen.pairs import Pair, fingerprint, read_pair
from schema.labels import IGNORE_LABEL, VOC2012, VOC_PALETTE, Labels

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
INDICES = np.random.default_rng(1).integers(0, 21, (30, 40)).astype(np.uint8)
INDICES[:3] = IGNORE_LABEL
ORIENTATION = 0x0112


def decoded(file: Path) -> np.ndarray:
    """The pixels that a picture comes to in the TFRecords."""
    return np.asarray(Image.open(io.BytesIO(read_picture(str(file)).encoded)))


# Pictures.


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.jpeg", "a.png"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_sound_pictures_stay_as_they_are(tmp_path, name, mode):
    file = tmp_path / name
    Image.fromarray(PIXELS).convert(mode).save(file)
    picture = read_picture(str(file))
    assert picture.encoded == file.read_bytes()
    assert picture.format == ("png" if name == "a.png" else "jpeg")
    assert (picture.width, picture.height, picture.channels) == (40, 30, len(mode))


def test_a_telephones_jpeg_with_more_behind_it_stays_as_it_is(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    assert Image.open(file).format == "MPO"
    assert read_picture(str(file)).encoded == file.read_bytes()


@pytest.mark.parametrize("orientation", [0, 1, 9, 65535])
def test_a_picture_that_exif_does_not_turn_stays_as_it_is(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(str(tmp_path / "a.jpg")).encoded == (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_that_exif_says_to_turn_is_turned_without_loss(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(file, exif=exif)
    stored = np.asarray(Image.open(file))
    # EXIF 2.32, 4.6.4 A: where row 0 and column 0 of the stored picture are to be shown.
    upright = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    np.testing.assert_array_equal(decoded(file), upright)


def test_a_turned_picture_and_the_mask_that_was_drawn_upright_agree(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(INDICES.T.copy()).save(tmp_path / "a.png")
    sample = read_pair(Pair("a", str(tmp_path / "a.jpg"), PngMask(str(tmp_path / "a.png"))), VOC2012)
    assert (sample.picture.height, sample.picture.width) == sample.mask.shape == (40, 30)
    assert sample.picture.format == "png"


def test_a_turned_picture_has_no_orientation_left(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    turned = Image.open(io.BytesIO(read_picture(str(tmp_path / "a.jpg")).encoded))
    assert ORIENTATION not in turned.getexif()


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = decoded(tmp_path / "a.jpg").reshape(-1, 3).mean(0)
    assert red > 240
    assert green < 15
    assert blue < 15


def test_cmyk_with_a_profile_that_is_not_of_cmyk_is_refused(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("CMYK", (40, 30)).save(tmp_path / "a.jpg", icc_profile=profile)
    with pytest.raises(DataError, match="its colour profile cannot be followed"):
        read_picture(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_other_pngs_become_rgb_with_the_same_colours(tmp_path, mode):
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


# Masks.


def mask_of(file: Path, labels: Labels = VOC2012) -> np.ndarray:
    return PngMask(str(file)).decode(labels)


def test_palette_grey_and_coloured_masks_hold_the_same_classes(tmp_path):
    colors = np.array(VOC_PALETTE, np.uint8)
    palette = Image.fromarray(INDICES, "P")
    palette.putpalette(colors.ravel().tolist())
    images = {
        "palette": palette,
        "grey": Image.fromarray(INDICES),
        "coloured": Image.fromarray(colors[INDICES]),
        "opaque": Image.fromarray(colors[INDICES]).convert("RGBA"),
    }
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(mask_of(tmp_path / f"{name}.png"), INDICES, name)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_mask_of_few_bits(tmp_path, bits):
    mask = Image.new("P", (40, 30), 1)
    mask.putpalette([0] * 48)
    mask.save(tmp_path / "a.png", bits=bits)
    assert set(np.unique(mask_of(tmp_path / "a.png"))) == {1}


def test_a_mask_of_void_alone_is_sound(tmp_path):
    Image.new("L", (40, 30), 255).save(tmp_path / "a.png")
    assert set(np.unique(mask_of(tmp_path / "a.png"))) == {IGNORE_LABEL}


def test_values_and_colours_as_the_labels_state_them(tmp_path):
    labels = Labels.model_validate(
        {
            "classes": [
                {"name": "no", "values": [0], "color": [9, 9, 9]},
                {"name": "yes", "values": [255, 254], "color": [1, 0, 0]},
            ],
            "ignore": [7],
            "ignore_colors": [[0, 0, 1]],
        }
    )
    Image.fromarray(np.array([[0, 255, 254, 7]], np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.array([[[9, 9, 9], [1, 0, 0], [1, 0, 0], [0, 0, 1]]], np.uint8)).save(tmp_path / "rgb.png")
    for name in ("grey", "rgb"):
        np.testing.assert_array_equal(mask_of(tmp_path / f"{name}.png", labels), [[0, 1, 1, IGNORE_LABEL]])


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def instances(*objects: tuple[int, int | None, object], background: int = 0) -> np.ndarray:
    drawn = json.dumps([list(item) for item in objects])
    return InstanceMask("x.json", 40, 30, background, drawn).decode(VOC2012)


def test_the_smaller_of_two_objects_lies_on_top():
    large, small = (1, 15, rectangle(0, 0, 20, 20)), (2, 3, rectangle(5, 5, 10, 10))
    for order in ([large, small], [small, large]):
        mask = instances(*order)
        assert mask[7, 7] == 3
        assert mask[1, 1] == 15
        assert mask[25, 35] == 0


def test_of_two_objects_of_one_size_the_later_lies_on_top():
    first, second = (1, 15, rectangle(0, 0, 10, 10)), (2, 3, rectangle(5, 5, 15, 15))
    assert instances(second, first)[7, 7] == 3


def test_crowds_are_ignored_and_lie_below():
    crowd = {"size": [30, 40], "counts": [0, 1200]}
    mask = instances((9, None, crowd), (1, 15, rectangle(5, 5, 10, 10)))
    assert mask[7, 7] == 15
    assert mask[0, 0] == IGNORE_LABEL


def test_a_polygon_of_two_parts():
    mask = instances((1, 15, rectangle(0, 0, 5, 5) + rectangle(20, 20, 25, 25)))
    assert mask[2, 2] == mask[22, 22] == 15
    assert mask[10, 10] == 0


def test_run_lengths_go_down_the_columns_plain_or_compressed():
    from pycocotools import mask as coco_mask

    wanted = np.zeros((30, 40), np.uint8)
    wanted[3:20, 4:9] = wanted[25, 39] = 1
    compressed = coco_mask.encode(np.asfortranarray(wanted))
    runs = np.flatnonzero(np.diff(np.concatenate([[2], wanted.T.ravel(), [2]])))
    plain = {"size": [30, 40], "counts": np.diff(runs).tolist()}
    as_text = {"size": [30, 40], "counts": compressed["counts"].decode()}
    np.testing.assert_array_equal(instances((1, 1, plain)), wanted)
    np.testing.assert_array_equal(instances((1, 1, as_text)), wanted)


def test_panoptic_ids_are_the_bytes_of_the_colour(tmp_path):
    colors = np.zeros((30, 40, 3), np.uint8)
    colors[:10] = (1, 2, 0)
    colors[10:20] = (0, 0, 3)
    Image.fromarray(colors).save(tmp_path / "a.png")
    mask = PanopticMask(str(tmp_path / "a.png"), "x.json", IGNORE_LABEL, ((1 + 2 * 256, 5), (3 * 65536, IGNORE_LABEL)))
    decoded = mask.decode(VOC2012)
    assert set(np.unique(decoded[:10])) == {5}
    assert set(np.unique(decoded[10:])) == {IGNORE_LABEL}


# Fingerprints.


def pair_of(folder: Path) -> Pair:
    return Pair("a", str(folder / "a.jpg"), PngMask(str(folder / "a.png")))


def test_the_fingerprint_sees_every_change_of_contents_and_no_other(tmp_path):
    picture, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    Image.fromarray(PIXELS).save(picture)
    Image.fromarray(INDICES).save(mask)
    first = fingerprint({"train": [pair_of(tmp_path)]})
    picture.touch()
    assert fingerprint({"train": [pair_of(tmp_path)]}) == first, "a new date alone is no change"

    seen = {first}
    picture.write_bytes(picture.read_bytes() + b"\0")
    seen.add(fingerprint({"train": [pair_of(tmp_path)]}))
    Image.fromarray(INDICES[::-1].copy()).save(mask)
    seen.add(fingerprint({"train": [pair_of(tmp_path)]}))
    seen.add(fingerprint({"eval": [pair_of(tmp_path)]}))
    seen.add(fingerprint({"train": [pair_of(tmp_path)] * 2}))
    seen.add(fingerprint({"train": [Pair("b", str(picture), PngMask(str(mask)))]}))
    drawn = [
        InstanceMask("x.json", 40, 30, 0, f'[[1, {label}, {{"size": [30, 40], "counts": [0, 1200]}}]]')
        for label in (1, 2)
    ]
    seen |= {fingerprint({"train": [Pair("a", str(picture), mask)]}) for mask in drawn}
    assert len(seen) == 8


def test_a_file_that_went_away_is_told_when_it_is_read_not_before(tmp_path):
    missing = fingerprint({"train": [pair_of(tmp_path)]})
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    assert fingerprint({"train": [pair_of(tmp_path)]}) != missing
    with pytest.raises(DataError, match=r"a\.png: cannot be read: No such file"):
        read_pair(pair_of(tmp_path), VOC2012)


def test_mended_lists_are_other_data(tmp_path):
    pairs = {"train": [pair_of(tmp_path)]}
    assert fingerprint(pairs) != fingerprint(pairs, [Problem("train.txt, line 3", "is wrong")])
