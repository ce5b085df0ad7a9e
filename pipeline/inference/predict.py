"""Predicts pictures one after the other, and writes masks under their names."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.images import ImageFile, read_picture
from pipeline.inference.image_arguments import MASK_ENDING, OVERLAY_COMMENT, ChosenPicture
from pipeline.inference.saved_model import Model
from schema.labels import VOC_PALETTE, Labels
from trainer.common import files
from trainer.common.drawing import overlay
from trainer.common.tensorflow_errors import PictureRefusedError

OVERLAY_ENDING = "_overlay.jpg"
OVERLAY_QUALITY = 90


@dataclass(frozen=True)
class PredictedPicture:
    """What has become of one picture."""

    picture: str
    """Path or URI."""
    mask: str
    """What was written for it."""
    overlay: str | None
    width: int
    """Upright, pixels."""
    height: int
    seconds: float
    """To read, predict and write it."""
    shares: dict[str, float]
    """Of the picture's pixels, 0 to 1, by the name of the class; classes that are not in it are left out."""


def endings(*, with_overlay: bool) -> tuple[str, ...]:
    """What is put behind a picture's name to name what is written for it."""
    return (MASK_ENDING, OVERLAY_ENDING) if with_overlay else (MASK_ENDING,)


def predict(
    model: Model, chosen: Iterable[ChosenPicture], output: str, *, with_overlay: bool
) -> Iterator[PredictedPicture | Problem]:
    """Predicts pictures and writes their masks. One picture is held in memory at a time.

    Args:
        model: what predicts.
        chosen: the pictures.
        output: folder or URI.
        with_overlay: write the mask over the picture as well.

    Yields:
        For each picture what has become of it, or why nothing has.

    Raises:
        OSError: the output folder cannot be written.
    """
    for picture in chosen:
        try:
            yield _predict(model, picture, output, with_overlay)
        except DataError as error:
            yield error.problems[0]
        except PictureRefusedError as error:
            yield Problem(picture.file, error.reason)


def _predict(model: Model, chosen: ChosenPicture, output: str, with_overlay: bool) -> PredictedPicture:
    started = time.perf_counter()
    picture = read_picture(chosen.file, lenient=True)
    (prediction,) = model.serve([picture.encoded])
    mask_file = files.join(output, chosen.name + MASK_ENDING)
    overlay_file = files.join(output, chosen.name + OVERLAY_ENDING) if with_overlay else None
    if overlay_file is not None:
        files.write_bytes(overlay_file, _overlay(picture, prediction.mask, model.labels))
    # Last: where there is a mask, all is there.
    files.write_bytes(mask_file, palette_png(prediction.mask, model.labels))
    counts = zip(model.labels.names, prediction.class_pixels.tolist(), strict=True)
    return PredictedPicture(
        picture=chosen.file,
        mask=mask_file,
        overlay=overlay_file,
        width=picture.width,
        height=picture.height,
        seconds=round(time.perf_counter() - started, 3),
        shares={name: round(count / prediction.mask.size, 6) for name, count in counts if count},
    )


def palette_png(mask: np.ndarray, labels: Labels) -> bytes:
    """A mask as VOC's are: a PNG whose values are class indices, and whose palette has the classes' colours.

    Args:
        mask: uint8[H, W], class indices.
        labels: the classes; values that are none have the colours of VOC's palette.
    """
    colors = [item.color for item in labels.classes]
    image = Image.fromarray(mask)
    image.putpalette(np.array([*colors, *VOC_PALETTE[len(colors) :]], np.uint8).tobytes())
    return _encoded(image, "PNG")


def _overlay(picture: ImageFile, mask: np.ndarray, labels: Labels) -> bytes:
    over = overlay(np.asarray(picture.rgb()), mask, labels)
    return _encoded(Image.fromarray(over), "JPEG", quality=OVERLAY_QUALITY, comment=OVERLAY_COMMENT)


def _encoded(image: Image.Image, kind: str, **options: int | bytes) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
