"""Reading a devkit, and what is said of one that is not sound."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.voc_example_gen.devkit import DataError, Pair, fingerprint, read_pair, read_split, read_splits
from trainer.voc import IGNORE_LABEL

MASKS = "SegmentationClass"


def list_file(root: Path, name: str = "train") -> Path:
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def first_pair(root: Path) -> Pair:
    return read_split(root, "train", MASKS)[0]


def write_mask(file: Path, array: np.ndarray, mode: str | None = None) -> None:
    Image.fromarray(array, mode).save(file)


def test_a_split_in_the_order_of_its_list(devkit_root):
    pairs = read_split(devkit_root, "train", MASKS)
    assert [pair.id for pair in pairs] == [f"2012_{number:06d}" for number in range(1, 13)]
    assert all(pair.image.is_file() and pair.mask.is_file() for pair in pairs)


def test_any_list_by_name(devkit_copy):
    list_file(devkit_copy, "train_aug").write_text("2012_000002 \n\n2012_000001\r\n")
    assert [pair.id for pair in read_split(devkit_copy, "train_aug", MASKS)] == ["2012_000002", "2012_000001"]


def test_a_sound_pair(devkit_root):
    pair = first_pair(devkit_root)
    sample = read_pair(pair, 21)
    assert sample.jpeg == pair.image.read_bytes()
    np.testing.assert_array_equal(sample.mask, np.asarray(Image.open(pair.mask)))
    assert sample.channels == 3


def test_palette_and_grey_masks_hold_the_same_indices(devkit_copy):
    pair = first_pair(devkit_copy)
    indices = read_pair(pair, 21).mask
    assert IGNORE_LABEL in indices
    write_mask(pair.mask, indices)
    assert Image.open(pair.mask).mode == "L"
    np.testing.assert_array_equal(read_pair(pair, 21).mask, indices)


def test_a_grey_picture(devkit_copy):
    pair = first_pair(devkit_copy)
    Image.open(pair.image).convert("L").save(pair.image)
    assert read_pair(pair, 21).channels == 1


def problem_of_split(root: Path, name: str = "train", masks: str = MASKS) -> str:
    with pytest.raises(DataError) as error:
        read_split(root, name, masks)
    return str(error.value)


def test_no_folder(tmp_path):
    assert problem_of_split(tmp_path / "gone") == f"{tmp_path / 'gone'}: there is no such data folder"


def test_no_devkit(tmp_path):
    message = problem_of_split(tmp_path)
    assert "not a Pascal VOC devkit" in message
    assert "JPEGImages" in message
    assert "VOCdevkit/VOC2012" in message


def test_the_problems_of_all_splits_are_told_together_and_once(devkit_copy, tmp_path):
    def problems(root: Path, **lists: str) -> tuple[str, ...]:
        with pytest.raises(DataError) as error:
            read_splits(root, {name: {"list": given, "masks": MASKS} for name, given in lists.items()})
        return error.value.problems

    first, second = problems(devkit_copy, train="trian", eval="vall")
    assert "trian.txt: there is no such list" in first
    assert "vall.txt: there is no such list" in second
    assert len(problems(tmp_path / "gone", train="train", eval="val")) == 1


def test_no_mask_folder(devkit_copy):
    assert "no SegmentationClassAug" in problem_of_split(devkit_copy, masks="SegmentationClassAug")


def test_no_list(devkit_copy):
    message = problem_of_split(devkit_copy, "trian")
    assert "trian.txt: there is no such list" in message
    assert "train, trainval, val" in message


@pytest.mark.parametrize("content", ["", "\n  \n"])
def test_an_empty_list(devkit_copy, content):
    list_file(devkit_copy).write_text(content)
    assert "train.txt: the list is empty" in problem_of_split(devkit_copy)


def test_every_missing_file_is_named(devkit_copy):
    list_file(devkit_copy).write_text("2012_000001\n2012_000099\n")
    (devkit_copy / MASKS / "2012_000001.png").unlink()
    lines = problem_of_split(devkit_copy).splitlines()
    assert len(lines) == 3
    assert "line 1: '2012_000001' has no mask" in lines[0]
    assert "line 2: '2012_000099' has no picture" in lines[1]
    assert "line 2: '2012_000099' has no mask" in lines[2]


@pytest.mark.parametrize("picture_id", ["../2012_000001", "/etc/passwd", "a/b", "..", "a\\b", "."])
def test_an_id_that_leaves_the_folder(devkit_copy, picture_id):
    list_file(devkit_copy).write_text(f"{picture_id}\n")
    message = problem_of_split(devkit_copy)
    assert "line 1" in message
    assert "inside the data folder" in message


def test_an_id_twice(devkit_copy):
    list_file(devkit_copy).write_text("2012_000001\n2012_000001\n")
    assert "line 2: '2012_000001' stands in the list a second time" in problem_of_split(devkit_copy)


def test_a_list_that_is_no_text(devkit_copy):
    list_file(devkit_copy).write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in problem_of_split(devkit_copy)


def test_a_long_list_of_problems_is_cut():
    message = str(DataError(*(f"file{number}: broken" for number in range(30))))
    assert "file19: broken" in message
    assert "file20: broken" not in message
    assert "... and 10 more" in message


def problem_of_pair(pair: Pair) -> str:
    with pytest.raises(DataError) as error:
        read_pair(pair, 21)
    return str(error.value)


def test_a_truncated_jpeg(devkit_copy):
    pair = first_pair(devkit_copy)
    pair.image.write_bytes(pair.image.read_bytes()[:-500])
    message = problem_of_pair(pair)
    assert message.startswith(f"{pair.image}: cannot be decoded")
    assert "truncated" in message


@pytest.mark.parametrize("content", [b"", b"not a picture at all"])
def test_no_picture(devkit_copy, content):
    pair = first_pair(devkit_copy)
    pair.image.write_bytes(content)
    assert problem_of_pair(pair) == f"{pair.image}: {len(content)} bytes that are no picture, wanted JPEG"


def test_a_png_named_jpg(devkit_copy):
    pair = first_pair(devkit_copy)
    Image.open(pair.image).save(pair.image, "PNG")
    assert problem_of_pair(pair) == f"{pair.image}: holds a PNG, wanted JPEG"


def test_a_cmyk_picture(devkit_copy):
    pair = first_pair(devkit_copy)
    Image.open(pair.image).convert("CMYK").save(pair.image)
    assert "mode CMYK" in problem_of_pair(pair)


def test_a_broken_mask(devkit_copy):
    pair = first_pair(devkit_copy)
    pair.mask.write_bytes(pair.mask.read_bytes()[:-100])
    assert problem_of_pair(pair).startswith(f"{pair.mask}: cannot be decoded")


def test_a_mask_of_another_size(devkit_copy):
    pair = first_pair(devkit_copy)
    write_mask(pair.mask, np.zeros((7, 9), np.uint8))
    assert problem_of_pair(pair) == f"{pair.mask}: 9 x 7 pixels, but its picture {pair.image.name} has 160 x 120"


def test_a_value_that_is_no_class(devkit_copy):
    pair = first_pair(devkit_copy)
    mask = np.zeros((120, 160), np.uint8)
    mask[3, 5] = mask[4, 5] = 21
    write_mask(pair.mask, mask)
    message = problem_of_pair(pair)
    assert message == f"{pair.mask}: value 21 at row 3, column 5 (2 pixels), but classes are 0 to 20 and void is 255"


def test_an_rgb_mask(devkit_copy):
    pair = first_pair(devkit_copy)
    Image.open(pair.mask).convert("RGB").save(pair.mask)
    message = problem_of_pair(pair)
    assert message.startswith(f"{pair.mask}: a PNG of mode RGB, which holds no class indices")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_mask_of_few_bits(devkit_copy, bits):
    """A decoder would take class 1 of 4 bits for brightness, and make 17 of it."""
    pair = first_pair(devkit_copy)
    Image.new("P" if bits > 1 else "1", (160, 120)).save(pair.mask, bits=bits)
    content = bytearray(pair.mask.read_bytes())
    header = content[12:29]
    header[13] = 0  # grey, in the place of palette
    content[12:33] = header + zlib.crc32(header).to_bytes(4, "big")
    pair.mask.write_bytes(bytes(content))
    message = problem_of_pair(pair)
    assert f"{pair.mask}: a " in message
    assert (f"a grey PNG of {bits} bits" in message) or (bits == 1 and "mode 1" in message)


def test_a_palette_mask_of_few_bits_is_sound(devkit_copy):
    pair = first_pair(devkit_copy)
    mask = Image.new("P", (160, 120), 3)
    mask.putpalette([0] * 48)
    mask.save(pair.mask, bits=4)
    assert set(np.unique(read_pair(pair, 21).mask)) == {3}


def test_a_png_with_a_broken_header(devkit_copy):
    pair = first_pair(devkit_copy)
    content = bytearray(pair.mask.read_bytes())
    content[11] = 5  # IHDR must have 13 bytes
    pair.mask.write_bytes(bytes(content))
    assert problem_of_pair(pair).startswith(f"{pair.mask}: ")


def test_a_picture_that_may_not_be_read(devkit_copy):
    pair = first_pair(devkit_copy)
    pair.image.unlink()
    pair.image.mkdir()
    assert problem_of_pair(pair).startswith(f"{pair.image}: cannot be decoded")


def test_a_list_from_a_windows_editor(devkit_copy):
    list_file(devkit_copy).write_bytes(b"\xef\xbb\xbf2012_000001\r\n")
    assert [pair.id for pair in read_split(devkit_copy, "train", MASKS)] == ["2012_000001"]


def test_an_enormous_picture(devkit_copy, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "cannot be decoded" in problem_of_pair(first_pair(devkit_copy))


def test_the_fingerprint_sees_every_change(devkit_copy):
    def now() -> str:
        return fingerprint({name: read_split(devkit_copy, name, MASKS) for name in ("train", "val")})

    seen = [now()]
    assert now() == seen[0]

    pair = first_pair(devkit_copy)
    pair.image.touch()
    assert now() == seen[0], "a new date alone is no change"

    pair.image.write_bytes(pair.image.read_bytes() + b"\0")
    seen.append(now())
    mask = np.asarray(Image.open(pair.mask)).copy()
    mask[0, 0] ^= 1
    write_mask(pair.mask, mask)
    seen.append(now())
    list_file(devkit_copy).write_text("2012_000002\n2012_000001\n")
    seen.append(now())
    list_file(devkit_copy).write_text("2012_000002\n")
    seen.append(now())
    assert len(set(seen)) == len(seen)


def test_a_picture_in_no_list_does_not_count(devkit_copy):
    before = fingerprint({"train": read_split(devkit_copy, "train", MASKS)})
    stray = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stray, "JPEG")
    (devkit_copy / "JPEGImages" / "stray.jpg").write_bytes(stray.getvalue())
    assert fingerprint({"train": read_split(devkit_copy, "train", MASKS)}) == before
