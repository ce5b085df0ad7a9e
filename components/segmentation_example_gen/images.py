"""Opens pictures: sound 8-bit JPEGs and PNGs stay as they are, byte by byte; what else is sound becomes an RGB PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from components.artifacts.problems import DataError, refusal
from schema.features import MAX_PIXELS, MAX_SIDE
from trainer.common.files import name, read_bytes

FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}
"""Pillow's name of a format, and the one in the TFRecords. Telephones write MPO: a JPEG with others behind it."""
CONVERTIBLE = frozenset({*FORMATS, "BMP", "TIFF", "WEBP"})
"""What can be predicted as well, though not learnt from."""
SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
ORIENTATION = 0x0112
"""The EXIF tag that tells how a picture is to be turned."""
BITS_PER_SAMPLE = 258
"""The TIFF tag (TIFF 6.0, section 4)."""
PNG_BIT_DEPTH = 24
"""The byte with a PNG's bits per channel: after signature, length, type, width, height (PNG specification, 11.2.2)."""


@dataclass(frozen=True)
class ImageFile:
    """A sound picture, upright."""

    encoded: bytes
    """As on disk, unless it had to be turned, or to become RGB."""
    format: str
    """`jpeg` or `png`."""
    width: int
    height: int
    channels: int
    """1 or 3."""

    def rgb(self) -> Image.Image:
        """Decodes it, to RGB."""
        return Image.open(io.BytesIO(self.encoded)).convert("RGB")


def read_picture(uri: str, *, lenient: bool = False) -> ImageFile:
    """Reads, decodes and checks a picture.

    A picture that EXIF says is to be turned is turned; CMYK, palettes and opaque alpha become RGB.

    Args:
        uri: path or URI.
        lenient: take BMP, TIFF and WebP as well, and whatever the file's name ends in.

    Raises:
        DataError: it is no sound JPEG or PNG of 8 bits.
    """
    encoded, image = open_image(uri, CONVERTIBLE if lenient else FORMATS)
    kept_format = FORMATS.get(str(image.format))
    suffix = "." + name(uri).rpartition(".")[2].lower()
    if kept_format and not lenient and SUFFIXES.get(suffix) != kept_format:
        raise refusal(uri, f"holds a {kept_format.upper()}, but its name ends in {suffix}; rename it")
    bits = _bit_depth(image, encoded)
    if bits > 8 or image.mode.startswith(("I", "F")):
        raise refusal(
            uri, f"a picture of {max(bits, 16)} bits per channel; convert it to 8, so that the contrast is your choice"
        )
    upright = _upright(image, uri)
    as_it_is = upright is image and image.mode in ("RGB", "L") and bits == 8 and "transparency" not in image.info
    if kept_format and as_it_is:
        return ImageFile(encoded, kept_format, image.width, image.height, len(image.getbands()))
    pixels = _rgb(upright, uri)
    png = io.BytesIO()
    pixels.save(png, "PNG")
    return ImageFile(png.getvalue(), "png", pixels.width, pixels.height, 3)


def open_image(uri: str, formats: Container[str] = FORMATS) -> tuple[bytes, Image.Image]:
    """The bytes of a file and the picture in them, decoded whole.

    Args:
        uri: path or URI.
        formats: by Pillow's names, of `CONVERTIBLE`.

    Raises:
        DataError: it cannot be read, is of another format, is broken, animated, or larger than
            `MAX_PIXELS` or `MAX_SIDE`.
    """
    wanted = "JPEG or PNG" if formats is FORMATS else "JPEG, PNG, BMP, TIFF or WebP"
    try:
        content = read_bytes(uri)
    except OSError as error:
        raise refusal(uri, f"cannot be read: {error.strerror or error}") from error
    try:
        with warnings.catch_warnings():
            # Pillow's own limit is a warning at first; ours comes before decoding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
            # Before it is decoded: Pillow hands some formats, such as EPS, to other programs.
            if image.format not in formats:
                raise refusal(uri, f"holds a {image.format}, wanted {wanted}")
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise refusal(
                    uri,
                    f"{image.width} x {image.height} pixels, and at most {MAX_PIXELS:,} are read, {MAX_SIDE:,} on a "
                    "side; cut it into tiles",
                )
            frames = getattr(image, "n_frames", 1)
            if image.format != "MPO" and frames > 1:
                raise refusal(uri, f"an animation of {frames} pictures; save the one that is meant")
            if image.format == "PNG":
                # Pillow decodes PNGs whose checksums are wrong; TensorFlow does not.
                image.verify()
                image = Image.open(io.BytesIO(content))
            image.load()
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        what = "0 bytes, an empty file" if not content else f"{len(content)} bytes that are no picture"
        raise refusal(uri, f"{what}, wanted {wanted}") from error
    except Image.DecompressionBombError as error:
        raise refusal(uri, f"more pixels than the {MAX_PIXELS:,} that are read; cut it into tiles") from error
    # Besides its own, Pillow raises SyntaxError, ValueError and others for broken chunks; what a broken file can
    # raise is nobody's promise, and none of it may end the run without the file's name.
    except Exception as error:
        raise refusal(uri, f"cannot be decoded: {error}") from error
    return content, image


def _upright(image: Image.Image, uri: str) -> Image.Image:
    """A picture as EXIF says that it is to be shown; the same object if it is so already."""
    try:
        turned = image.getexif().get(ORIENTATION) in range(2, 9)
        return ImageOps.exif_transpose(image) if turned else image
    except Exception as error:
        # As in decoding, anything may come out of a broken block.
        raise refusal(uri, f"its EXIF data cannot be read: {error}; remove them") from error


def _bit_depth(image: Image.Image, encoded: bytes) -> int:
    """Bits per channel, of which Pillow's mode does not always tell."""
    if image.format == "PNG":
        return png_bit_depth(encoded)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    return 8


def png_bit_depth(encoded: bytes) -> int:
    """Bits per channel of a PNG."""
    return encoded[PNG_BIT_DEPTH]


def without_alpha(image: Image.Image, uri: str) -> Image.Image:
    """An RGBA or LA picture without its alpha channel; any other as it is.

    Raises:
        DataError: parts of it are transparent.
    """
    if image.mode not in ("RGBA", "LA", "PA"):
        return image
    transparent = np.asarray(image.getchannel("A")) < 255
    if transparent.any():
        row, column = np.argwhere(transparent)[0]
        raise refusal(
            uri,
            f"transparent at row {row}, column {column}; nobody can tell what is meant there; save it without alpha",
        )
    return image.convert(image.mode.removesuffix("A"))


def _rgb(image: Image.Image, uri: str) -> Image.Image:
    if "transparency" in image.info:
        image = image.convert("RGBA")
    image = without_alpha(image, uri)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError) as error:
            raise refusal(uri, f"its colour profile cannot be followed ({error}); convert it to RGB") from error
        image = converted or image
    return image.convert("RGB")
