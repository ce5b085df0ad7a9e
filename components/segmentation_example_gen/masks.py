"""Masks of many kinds, each decoded to class indices uint8[H, W], `IGNORE_LABEL` where ignored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from components.artifacts.problems import refusal
from components.segmentation_example_gen.images import open_image, png_bit_depth, without_alpha
from schema.features import MAX_PIXELS
from schema.labels import IGNORE_LABEL, Labels

OUTSIDE = 1.0
"""Pixels by which a polygon's corner may lie outside the picture: COCO's own are rounded outwards."""


class Mask(Protocol):
    """Where the labels of a picture come from. Beam hands it to other machines, so it holds no open file."""

    @property
    def file(self) -> str:
        """The file that a message is to name."""

    @property
    def files(self) -> tuple[str, ...]:
        """Read for this mask alone."""

    @property
    def content(self) -> str:
        """What it says beside its files, for the fingerprint."""

    def decode(self, labels: Labels) -> np.ndarray:
        """Class indices, uint8[H, W].

        Raises:
            DataError: it is not sound.
        """


@dataclass(frozen=True)
class PngMask:
    """A PNG: palette or grey of 8 bits, whose values are looked up, or RGB, whose colours are."""

    file: str

    @property
    def files(self) -> tuple[str, ...]:
        """See `Mask`."""
        return (self.file,)

    @property
    def content(self) -> str:
        """See `Mask`."""
        return ""

    def decode(self, labels: Labels) -> np.ndarray:
        """See `Mask`."""
        image = open_png(self.file)
        if image.mode == "RGB":
            return self._by_color(np.asarray(image), labels)
        return self._by_value(np.asarray(image), labels)

    def _by_value(self, values: np.ndarray, labels: Labels) -> np.ndarray:
        table = np.full(256, -1)
        table[list(labels.ignore)] = IGNORE_LABEL
        for index, item in enumerate(labels.classes):
            table[list(item.values)] = index
        counts = np.bincount(values.ravel(), minlength=256)
        strange = np.flatnonzero((counts > 0) & (table < 0))
        if strange.size:
            row, column = np.argwhere(values == strange[0])[0]
            raise refusal(
                self.file,
                f"value {strange[0]} at row {row}, column {column} ({counts[strange[0]]} pixels), but "
                f"classes are {_ranges(value for item in labels.classes for value in item.values)} and ignored is "
                f"{_ranges(labels.ignore) or 'nothing'}",
            )
        return np.take(table.astype(np.uint8), values)

    def _by_color(self, colors: np.ndarray, labels: Labels) -> np.ndarray:
        codes = _color_codes(colors)
        known = {_color_codes(np.array(color)).item(): IGNORE_LABEL for color in labels.ignore_colors}
        known |= {_color_codes(np.array(item.color)).item(): index for index, item in enumerate(labels.classes)}
        found, inverse = np.unique(codes, return_inverse=True)
        strange = [code for code in found.tolist() if code not in known]
        if strange:
            row, column = np.argwhere(codes == strange[0])[0]
            others = f", and {len(strange) - 1} other unknown colours" if len(strange) > 1 else ""
            raise refusal(
                self.file,
                f"colour {tuple(colors[row, column].tolist())} at row {row}, column {column} "
                f"({np.count_nonzero(codes == strange[0])} pixels) is that of no class{others}; data.labels "
                "states the colours",
            )
        return np.array([known[code] for code in found.tolist()], np.uint8)[inverse].reshape(codes.shape)


@dataclass(frozen=True)
class InstanceMask:
    """COCO's instances: polygons and run lengths.

    Overlaps are settled by size: the smaller object lies on top, of two of one size the one with the larger id. Crowds
    are ignored, and lie below all objects.
    """

    file: str
    """The JSON file."""
    width: int
    height: int
    background: int
    """The label of what no object covers."""
    objects: str
    """JSON list of [id, class index or null for a crowd, area, segmentation]."""

    @property
    def files(self) -> tuple[str, ...]:
        """See `Mask`."""
        return ()

    @property
    def content(self) -> str:
        """See `Mask`."""
        return f"{self.width} {self.height} {self.background} {self.objects}"

    def decode(self, labels: Labels) -> np.ndarray:
        """See `Mask`."""
        from pycocotools import mask as coco_mask

        objects = []
        for number, label, segmentation in json.loads(self.objects):
            run_lengths = self._run_lengths(segmentation, f"{self.file}: annotation {number}")
            objects.append((label is not None, -int(coco_mask.area(run_lengths)), number, label, run_lengths))
        mask = np.full((self.height, self.width), self.background, np.uint8)
        for *_, label, run_lengths in sorted(objects, key=lambda item: item[:3]):
            mask[coco_mask.decode(run_lengths).astype(bool)] = IGNORE_LABEL if label is None else label
        return mask

    def _run_lengths(self, segmentation: object, where: str) -> dict:
        from pycocotools import mask as coco_mask

        if isinstance(segmentation, list):
            for polygon in segmentation:
                self._check_polygon(polygon, where)
            if not segmentation:
                raise refusal(where, "no polygons; wanted one at least")
            return coco_mask.merge(coco_mask.frPyObjects(segmentation, self.height, self.width))
        if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
            raise refusal(where, "the segmentation is neither polygons nor run lengths with size and counts")
        if segmentation["size"] != [self.height, self.width]:
            raise refusal(
                where,
                f"run lengths of size {segmentation['size']}, but the picture is "
                f"[{self.height}, {self.width}] (height, width)",
            )
        counts = segmentation["counts"]
        lengths = counts if isinstance(counts, list) else _compressed_counts(counts, where)
        sound = all(type(length) is int and length >= 0 for length in lengths)
        if not sound or sum(lengths) != self.height * self.width:
            raise refusal(where, f"run lengths that do not add up to {self.height} x {self.width} pixels")
        return coco_mask.frPyObjects({"size": segmentation["size"], "counts": lengths}, self.height, self.width)

    def _check_polygon(self, polygon: object, where: str) -> None:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise refusal(where, "a polygon must be a list [x, y, x, y, ...] of three corners at least")
        if not all(type(number) in (int, float) and abs(number) < MAX_PIXELS for number in polygon):
            raise refusal(where, "a polygon's corners must be numbers, of pixels")
        corners = np.array(polygon, float).reshape(-1, 2)
        inside = (corners >= -OUTSIDE) & (corners <= np.array([self.width, self.height]) + OUTSIDE)
        if not inside.all():
            x, y = corners[~inside.all(axis=1)][0]
            raise refusal(
                where, f"a polygon's corner at x {x:g}, y {y:g}, outside the picture of {self.width} x {self.height}"
            )


@dataclass(frozen=True)
class PanopticMask:
    """COCO's panoptic PNG: R + 256 G + 65536 B is the id of a segment, and the JSON file tells its class."""

    file: str
    json_file: str
    background: int
    """The label of pixels of no segment, whose id is 0."""
    segments: tuple[tuple[int, int], ...]
    """Id and label of each."""

    @property
    def files(self) -> tuple[str, ...]:
        """See `Mask`."""
        return (self.file,)

    @property
    def content(self) -> str:
        """See `Mask`."""
        return f"{self.background} {self.segments}"

    def decode(self, labels: Labels) -> np.ndarray:
        """See `Mask`."""
        image = open_png(self.file)
        if image.mode != "RGB":
            raise refusal(self.file, f"a PNG of mode {image.mode}; a panoptic mask is RGB, its colours are ids")
        ids = _color_codes(np.asarray(image))
        known = {0: self.background, **dict(self.segments)}
        found, inverse = np.unique(ids, return_inverse=True)
        strange = [segment for segment in found.tolist() if segment not in known]
        if strange:
            row, column = np.argwhere(ids == strange[0])[0]
            raise refusal(
                self.file,
                f"segment {strange[0]} at row {row}, column {column} is not in segments_info of {self.json_file}",
            )
        missing = set(known) - set(found.tolist()) - {0}
        if missing:
            raise refusal(self.file, f"has no pixel of segment {min(missing)}, which {self.json_file} names")
        return np.array([known[segment] for segment in found.tolist()], np.uint8)[inverse].reshape(ids.shape)


def open_png(uri: str) -> Image.Image:
    """A mask's PNG, decoded, in mode P, L or RGB.

    Raises:
        DataError: it is none, or holds no class indices.
    """
    encoded, image = open_image(uri)
    if image.format != "PNG":
        raise refusal(uri, f"holds a {image.format}, wanted PNG: compression with losses makes up values")
    bits = png_bit_depth(encoded)
    if bits == 16 or (image.mode not in ("P",) and bits != 8):
        # Decoders stretch grey values of few bits to 0 to 255, and class 1 of 4 bits would become 17.
        raise refusal(
            uri, f"a PNG of {bits} bits per channel, whose values would be taken for brightness; save it with 8 bits"
        )
    return without_alpha(image, uri)


def _color_codes(colors: np.ndarray) -> np.ndarray:
    """RGB [..., 3] to one number int32[...]."""
    return colors.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def _ranges(values: object) -> str:
    """0 to 20, 30: numbers as a person would write them."""
    numbers = sorted(values)  # type: ignore[call-overload]
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in parts)


def _compressed_counts(counts: object, where: str) -> list[int]:
    """The numbers in COCO's compressed run lengths: 5 bits a character, differences from the last but one.

    Checked here because the C code of pycocotools trusts them and would write outside its memory. Source: `rleFrString`
    of its maskApi.c.
    """
    if not isinstance(counts, str) or not all(48 <= ord(character) < 112 for character in counts):
        raise refusal(where, "run lengths that are not in COCO's compressed form")
    numbers: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(numbers) > 2:
            value += numbers[-2]
        if value < 0:
            raise refusal(where, "a negative run length")
        numbers.append(value)
        value = shift = 0
    if shift:
        raise refusal(where, "run lengths that break off")
    return numbers
