"""Reads a Pascal VOC devkit: which pictures a list names, where they and their masks lie, and whether they are sound.

<root>/JPEGImages/<id>.jpg
<root>/SegmentationClass/<id>.png        masks; or another folder, such as SegmentationClassAug
<root>/ImageSets/Segmentation/<list>.txt one id per line
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from trainer.voc import IGNORE_LABEL

IMAGE_FOLDER = "JPEGImages"
LIST_FOLDER = Path("ImageSets", "Segmentation")
PNG_BIT_DEPTH = 24
"""The byte with a PNG's bits per channel: after signature, length, type, width, height (PNG specification, 11.2.2)."""
SHOWN_PROBLEMS = 20


class DataError(ValueError):
    """Something in a data folder is wrong. Its message names every file concerned, up to a limit.

    Args:
        problems: one sentence each, beginning with the file.
    """

    def __init__(self, *problems: str):
        self.problems = problems
        shown = list(self.problems[:SHOWN_PROBLEMS])
        if len(self.problems) > len(shown):
            shown.append(f"... and {len(self.problems) - len(shown)} more")
        super().__init__("\n".join(shown))


@dataclass(frozen=True)
class Pair:
    """A picture and its mask."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Sample:
    """A pair that has been read and found sound."""

    jpeg: bytes
    """As on disk."""
    mask: np.ndarray
    """uint8[H, W], class indices, 255 = void."""
    channels: int


def read_splits(root: Path, splits: Mapping[str, Mapping[str, str]]) -> dict[str, list[Pair]]:
    """The pairs of each split.

    Args:
        root: the devkit's folder.
        splits: of each, by name, its `list` and the folder of its `masks`; see `read_split`.

    Raises:
        DataError: with the problems of all splits.
    """
    pairs: dict[str, list[Pair]] = {}
    problems: list[str] = []
    for name, split in splits.items():
        try:
            pairs[name] = read_split(root, split["list"], split["masks"])
        except DataError as error:
            problems += error.problems
    if problems:
        # What concerns the whole folder is found once for each split.
        raise DataError(*dict.fromkeys(problems))
    return pairs


def read_split(root: Path, list_name: str, mask_folder: str) -> list[Pair]:
    """The pairs that a list names, in its order.

    Args:
        root: the devkit's folder, such as `VOCdevkit/VOC2012`.
        list_name: a file of `ImageSets/Segmentation`, without `.txt`.
        mask_folder: the folder of the masks, inside `root`.

    Raises:
        DataError: the folder is no devkit, the list is missing or empty, or it names what is not there.
    """
    _require_devkit(root, mask_folder)
    list_file = root / LIST_FOLDER / f"{list_name}.txt"
    if not list_file.is_file():
        known = ", ".join(sorted(file.stem for file in list_file.parent.glob("*.txt"))) or "none"
        raise DataError(f"{list_file}: there is no such list; lists in that folder: {known}")

    pairs: dict[str, Pair] = {}
    problems = []
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{list_file}: not a text file in UTF-8 ({error.reason})") from error
    for number, line in enumerate(lines, start=1):
        picture_id = line.strip()
        if not picture_id:
            continue
        where = f"{list_file}, line {number}"
        if (
            PurePosixPath(picture_id).name != picture_id
            or picture_id == ".."
            or "\\" in picture_id
            or "\0" in picture_id
        ):
            problems.append(f"{where}: {picture_id!r} is not the name of a picture inside the data folder")
            continue
        if picture_id in pairs:
            problems.append(f"{where}: {picture_id!r} stands in the list a second time")
            continue
        pair = Pair(picture_id, root / IMAGE_FOLDER / f"{picture_id}.jpg", root / mask_folder / f"{picture_id}.png")
        pairs[picture_id] = pair
        for what, file in (("picture", pair.image), ("mask", pair.mask)):
            if not file.is_file():
                problems.append(f"{where}: {picture_id!r} has no {what}: {file} is not there")
    if problems:
        raise DataError(*problems)
    if not pairs:
        raise DataError(f"{list_file}: the list is empty; it must name one picture per line")
    return list(pairs.values())


def _require_devkit(root: Path, mask_folder: str) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such data folder")
    missing = [str(name) for name in (IMAGE_FOLDER, LIST_FOLDER, mask_folder) if not (root / name).is_dir()]
    if missing:
        raise DataError(
            f"{root}: not a Pascal VOC devkit, it has no {' and no '.join(missing)}; "
            "give the folder that holds them, such as VOCdevkit/VOC2012"
        )


def read_pair(pair: Pair, num_classes: int) -> Sample:
    """Decodes a pair and checks that it can be trained on.

    Args:
        pair: what to read.
        num_classes: classes that the mask may name, 0 to `num_classes - 1`.

    Raises:
        DataError: the picture is no sound 8-bit RGB or grey JPEG, or the mask no class-index PNG of its size.
    """
    jpeg, image = _open(pair.image, "JPEG")
    if image.mode not in ("RGB", "L"):
        raise DataError(f"{pair.image}: a JPEG of mode {image.mode}; convert it to RGB or grey")
    png, mask_image = _open(pair.mask, "PNG")
    if mask_image.mode not in ("P", "L"):
        raise DataError(
            f"{pair.mask}: a PNG of mode {mask_image.mode}, which holds no class indices; "
            "a mask must be an 8-bit palette or grey PNG whose values are the classes"
        )
    if mask_image.mode == "L" and png[PNG_BIT_DEPTH] != 8:
        # Decoders stretch such values to 0 to 255, and class 1 of 4 bits would become 17.
        raise DataError(
            f"{pair.mask}: a grey PNG of {png[PNG_BIT_DEPTH]} bits, whose values would be taken for brightness; "
            "save it with 8 bits"
        )
    if mask_image.size != image.size:
        raise DataError(
            f"{pair.mask}: {_size(mask_image)} pixels, but its picture {pair.image.name} has {_size(image)}"
        )
    mask = np.asarray(mask_image)
    allowed = np.zeros(256, bool)
    allowed[:num_classes] = allowed[IGNORE_LABEL] = True
    counts = np.bincount(mask.ravel(), minlength=256)
    strange = np.flatnonzero((counts > 0) & ~allowed)
    if strange.size:
        row, column = np.argwhere(mask == strange[0])[0]
        raise DataError(
            f"{pair.mask}: value {strange[0]} at row {row}, column {column} "
            f"({counts[strange[0]]} pixels), but classes are 0 to {num_classes - 1} and void is {IGNORE_LABEL}"
        )
    return Sample(jpeg, mask, channels=len(image.getbands()))


def find_problems(pair: Pair, num_classes: int) -> tuple[str, ...]:
    """What is wrong with a pair, a sentence each; see `read_pair`."""
    try:
        read_pair(pair, num_classes)
    except DataError as error:
        return error.problems
    return ()


def _open(file: Path, wanted_format: str) -> tuple[bytes, Image.Image]:
    """The bytes of a file and the picture in them, decoded whole."""
    content = b""
    try:
        content = file.read_bytes()
        image = Image.open(io.BytesIO(content))
        image.load()
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{file}: {len(content)} bytes that are no picture, wanted {wanted_format}") from error
    # Besides its own, Pillow raises SyntaxError and ValueError for broken PNG chunks.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be decoded: {error}") from error
    if image.format != wanted_format:
        raise DataError(f"{file}: holds a {image.format}, wanted {wanted_format}")
    return content, image


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def fingerprint(splits: Mapping[str, Iterable[Pair]]) -> str:
    """A hash of everything ingestion reads: which pairs are in which split, and the bytes of every picture and mask."""
    digest = hashlib.blake2b(digest_size=16)
    for split, pairs in sorted(splits.items()):
        digest.update(f"split {split}\n".encode())
        for pair in pairs:
            digest.update(f"pair {pair.id}\n".encode())
            for file in (pair.image, pair.mask):
                digest.update(hashlib.blake2b(file.read_bytes(), digest_size=16).digest())
    return digest.hexdigest()
