"""The pictures on the page: which are shown, and how they are drawn."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.artifacts.evaluation import PictureScores, read_pictures
from schema import features
from schema.labels import IGNORE_LABEL, Labels
from trainer.common import files
from trainer.common.drawing import palette

LOGGER = logging.getLogger(__name__)

WORST, MIDDLE, BEST = "worst", "middle", "best"
SHOWN = 4
"""Pictures of each of these kinds."""
SIDES = (480, 360, 240, 160, 80)
"""Pixels of the longer side, at most; the first with which a picture is small enough."""
MAX_BYTES = 240_000
"""Of a picture in the page with all that is drawn over it, so that the page stays under 4 MB."""
JPEG_QUALITY = 85
MASK_OPACITY, BACKGROUND_OPACITY = 170, 0
"""Of masks over the picture, out of 255."""
AGREE, DIFFER, IGNORED = range(3)
DIFFERENCE_COLORS = {AGREE: (0, 0, 0, 0), DIFFER: (255, 0, 60, 220), IGNORED: (128, 128, 128, 170)}
"""RGB and opacity."""


@dataclass(frozen=True)
class Drawing:
    """A picture and what lies over it, all of one size, as data URIs."""

    width: int
    height: int
    wrong: float | None
    """Share of the labelled pixels whose prediction is another class; None if none are labelled."""
    picture: str
    label: str
    prediction: str
    differences: str


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    scores: PictureScores
    drawing: Drawing


def chosen_pictures(folder: str) -> dict[str, list[PictureScores]]:
    """The pictures that the model does worst on, those around the median, and the best, by mean IoU.

    Each stands once. Of the others no more is kept than their rank.

    Args:
        folder: of the `ModelEvaluation` artifact.

    Returns:
        By kind, from the worst and from the best on; a kind may be empty. Pictures without a labelled pixel are left
        out.
    """
    order = sorted(
        (scores.mean_iou, number) for number, scores in enumerate(read_pictures(folder)) if scores.mean_iou is not None
    )
    count = len(order)
    each = min(SHOWN, math.ceil(count / 3))
    first = (count - each) // 2
    places = {WORST: range(each), BEST: range(count - 1, count - 1 - each, -1), MIDDLE: range(first, first + each)}
    taken: dict[int, tuple[str, int]] = {}
    for kind, ranks in places.items():
        for rank in ranks:
            taken.setdefault(order[rank][1], (kind, len(taken)))
    found = {taken[number]: scores for number, scores in enumerate(read_pictures(folder)) if number in taken}
    return {kind: [found[key] for key in sorted(found) if key[0] == kind] for kind in (WORST, MIDDLE, BEST)}


def shown_pictures(
    chosen: Mapping[str, Sequence[PictureScores]], examples: str, model: str, labels: Labels
) -> dict[str, list[Shown]]:
    """Predicts pictures and draws them, one after another.

    Args:
        chosen: by kind; see `chosen_pictures`.
        examples: folder of the split's TFRecords.
        model: folder of the SavedModel.
        labels: the classes.
    """
    # Only here: the page needs this module, and no TensorFlow.
    import tensorflow as tf

    wanted = {scores.id for kind in chosen.values() for scores in kind}
    found = _examples(examples, wanted)
    if gone := wanted - set(found):
        LOGGER.warning("the report lacks pictures that are not in %s: %s", examples, ", ".join(sorted(gone)))
    if not found:
        return {}
    # The loaded model is kept, since its functions die with it.
    loaded = tf.saved_model.load(model)
    serve = loaded.signatures[features.SERVING_SIGNATURE]

    def shown(scores: PictureScores) -> Shown:
        picture, label = found[scores.id]
        answer = serve(images=tf.constant([picture]))
        return Shown(scores, draw(picture, label, answer[features.MASK].numpy()[0], labels))

    return {kind: [shown(scores) for scores in of_kind if scores.id in found] for kind, of_kind in chosen.items()}


def _examples(folder: str, ids: set[str]) -> dict[str, tuple[bytes, bytes]]:
    """Pictures and labels, encoded, by their ids; of several with the same id the first."""
    import tensorflow as tf

    found: dict[str, tuple[bytes, bytes]] = {}
    records = tf.data.TFRecordDataset([files.join(folder, file) for file in sorted(files.list_files(folder))])
    for record in records.as_numpy_iterator() if ids else ():
        example = tf.train.Example.FromString(record).features.feature
        (picture_id,) = example[features.IMAGE_SOURCE_ID].bytes_list.value
        if (name := picture_id.decode()) in ids and name not in found:
            picture, label = (
                example[key].bytes_list.value[0] for key in (features.IMAGE_ENCODED, features.LABEL_ENCODED)
            )
            found[name] = picture, label
            if len(found) == len(ids):
                break
    return found


def draw(picture: bytes, label: bytes, prediction: bytes, labels: Labels) -> Drawing:
    """Draws a picture, its label, the prediction and where they differ.

    Args:
        picture: JPEG or PNG.
        label: PNG of class indices, `IGNORE_LABEL` for what is ignored, of the picture's size.
        prediction: the same, without ignored pixels.
        labels: the classes and their colours.

    Raises:
        ValueError: they differ in size.
    """
    expected, found = (np.asarray(_opened(encoded)) for encoded in (label, prediction))
    if expected.shape != found.shape:
        raise ValueError(f"a label of shape {expected.shape} and a prediction of shape {found.shape} differ in size")
    differences = np.where(expected == IGNORE_LABEL, IGNORED, np.where(expected == found, AGREE, DIFFER))
    counted = int((differences != IGNORED).sum())
    opacities = np.full(256, MASK_OPACITY, np.uint8)
    if labels.background != IGNORE_LABEL:
        opacities[labels.background] = BACKGROUND_OPACITY
    mask_colors = np.column_stack([palette(labels), opacities])
    layers = (
        (expected, mask_colors),
        (found, mask_colors),
        (differences, np.array([DIFFERENCE_COLORS[value] for value in (AGREE, DIFFER, IGNORED)], np.uint8)),
    )
    for side in SIDES:
        shown = _opened(picture)
        # A JPEG is decoded at a fraction of its size.
        shown.draft("RGB", (side, side))
        scale = min(1, side / max(expected.shape))
        height, width = (max(1, round(scale * length)) for length in expected.shape)
        small = _jpeg(shown.convert("RGB").resize((width, height)))
        over = [_png(mask, colors, (width, height)) for mask, colors in layers]
        if len(small) + sum(map(len, over)) <= MAX_BYTES:
            break
    wrong = int((differences == DIFFER).sum()) / counted if counted else None
    return Drawing(width, height, wrong, small, *over)


def _opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG"))


def _jpeg(image: Image.Image) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return _data_uri("jpeg", encoded)


def _png(mask: np.ndarray, colors: np.ndarray, size: tuple[int, int]) -> str:
    """A mask in colours uint8[N, 4], RGB and opacity, as a palette PNG of a width and height."""
    image = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    image.putpalette(colors[:, :3].tobytes())
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True, transparency=colors[:, 3].tobytes())
    return _data_uri("png", encoded)


def _data_uri(kind: str, encoded: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"
