"""The page of problems: what is wrong with the data, with the pictures and masks concerned."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, ImageOps

from components import pages
from components.artifacts.names import PAGE_FILE
from components.artifacts.problems import PROBLEMS_FILE, Problem
from components.segmentation_example_gen.dataset import DataSet
from schema.features import MAX_PIXELS
from schema.labels import VOC_PALETTE
from trainer.common import files

MAX_PICTURED = 200
"""Pairs with thumbnails: some 10 kB each in the page."""
THUMBNAIL_SIZE = 160
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
"""What is decoded: the formats wanted and those that are mistaken for them. Pillow would run programs for others."""

# Else Pillow knows only the commonest formats at first.
Image.init()


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or why there is none."""

    uri: str = ""
    """A data URI."""
    missing: str = ""


@dataclass(frozen=True)
class Group:
    """The problems of one pair."""

    split: str
    pair: str
    problems: list[Problem]
    picture: Thumbnail | None
    """None beyond the limit of `MAX_PICTURED`; `mask` too."""
    mask: Thumbnail | None


def write(problems: list[Problem], dataset: DataSet, folder: str) -> str:
    """Writes the problems for people, `index.html`, and for programs, `problems.json`.

    Args:
        problems: all of them; none is fine.
        dataset: what was read.
        folder: path or URI of the folder to write to; it need not exist.

    Returns:
        The page's place.

    Raises:
        OSError: the folder cannot be written to.
    """
    content = json.dumps([problem.as_dict() for problem in problems], indent=1, ensure_ascii=False)
    files.write_bytes(files.join(folder, PROBLEMS_FILE), _encode(content))
    page = pages.render(
        "problems.html",
        pairs={split: len(pairs) for split, pairs in dataset.splits.items()},
        problems=len(problems),
        groups=_groups(problems),
        pictured=MAX_PICTURED,
    )
    place = files.join(folder, PAGE_FILE)
    files.write_bytes(place, _encode(page))
    return place


def _encode(text: str) -> bytes:
    # The names of files on a disk may be no text, and Python keeps their bytes as lone surrogates.
    return text.encode(errors="replace")


def _groups(problems: list[Problem]) -> list[Group]:
    """The problems by pair. One without a pair of its own stands by itself, as in the counts of quarantine."""
    by_pair: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_pair[problem.entry].append(problem)
    groups = []
    for number, found in enumerate(by_pair.values()):
        picture = mask = None
        if number < MAX_PICTURED:
            picture = _thumbnail(
                next((problem.image for problem in found if problem.image), ""), "jpeg", _small_picture
            )
            mask = _thumbnail(next((problem.mask for problem in found if problem.mask), ""), "png", _small_mask)
        groups.append(Group(found[0].split, found[0].pair, found, picture, mask))
    return groups


def _thumbnail(uri: str, encoding: str, shrink: Callable[[Image.Image], Image.Image]) -> Thumbnail:
    if not uri:
        return Thumbnail(missing="none")
    if uri.lower().endswith(".json"):
        return Thumbnail(missing="drawn by a JSON file")
    truncated_too = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        content = files.read_bytes(uri)
        with warnings.catch_warnings():
            # Pillow's own limit is a warning at first; ours comes before decoding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                return Thumbnail(missing=f"{image.width} x {image.height} pixels")
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            encoded = io.BytesIO()
            shrink(image).save(encoded, encoding)
    except FileNotFoundError:
        return Thumbnail(missing="there is no such file")
    except Image.DecompressionBombError:
        return Thumbnail(missing=f"more than {MAX_PIXELS:,} pixels")
    # What Pillow raises for broken files is nobody's promise, and none of it may cost the page.
    except Exception:
        return Thumbnail(missing="cannot be decoded")
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated_too
    return Thumbnail(f"data:image/{encoding};base64,{base64.b64encode(encoded.getvalue()).decode()}")


def _small_picture(image: Image.Image) -> Image.Image:
    # A JPEG is decoded at a fraction of its size.
    image.draft("RGB", (2 * THUMBNAIL_SIZE, 2 * THUMBNAIL_SIZE))
    upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    return upright


def _small_mask(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode not in ("P", "L"):
        image = image.convert("RGB")
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.NEAREST)
    if image.mode != "RGB":
        image = Image.fromarray(np.asarray(image))
        image.putpalette(np.array(VOC_PALETTE, np.uint8).tobytes())
    return image
