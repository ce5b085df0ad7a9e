"""What is expected of a model's answers. Pure functions of arrays: no model is run here."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from schema import features
from schema.labels import IGNORE_LABEL
from trainer.common.metrics import BOUNDARY_COUNTS

AGREEMENT = 0.99
"""Smallest share of a picture's pixels in which two signatures agree. It is not 1, since rounding, which may differ
from one graph to another, decides between classes that are equally likely."""

ENCODED_MASKS = {
    features.SERVING_SIGNATURE: features.MASK,
    features.REST_SIGNATURE: features.MASK_BYTES,
    features.EXAMPLES_SIGNATURE: features.MASK,
}
"""Signatures that return masks as PNGs, and what these outputs are called."""


@dataclass(frozen=True)
class SampleImage:
    """A labelled picture."""

    id: str
    serialised: bytes
    """The whole tf.Example."""
    encoded: bytes
    """JPEG or PNG."""
    size: tuple[int, int]
    """Height and width, pixels."""
    label: np.ndarray
    """uint8[H, W]: class indices, `IGNORE_LABEL` where void."""


def find_problems(outputs: Mapping[str, np.ndarray], pictures: Sequence[SampleImage], num_classes: int) -> list[str]:
    """Looks for what is wrong with a model's answers.

    Args:
        outputs: as `probe.OUTPUTS_FILE` has them, for all pictures.
        pictures: that the model was asked about.
        num_classes: of the model.

    Returns:
        A sentence for each problem.
    """
    wanted: dict[str, tuple[int, ...]] = {
        **{f"{signature}/{output}": (len(pictures),) for signature, output in ENCODED_MASKS.items()},
        **{f"{signature}/{features.CLASS_PIXELS}": (len(pictures), num_classes) for signature in ENCODED_MASKS},
        f"{features.CONFUSION_SIGNATURE}/{features.CONFUSION_MATRIX}": (len(pictures), num_classes, num_classes),
        f"{features.CONFUSION_SIGNATURE}/{features.BOUNDARY_COUNTS}": (
            len(pictures),
            num_classes,
            len(BOUNDARY_COUNTS),
        ),
    }
    wanted |= {_segmented(index): (1, *picture.size) for index, picture in enumerate(pictures)}
    shapes = [problem for key, shape in wanted.items() for problem in _shape_problems(key, outputs, shape)]
    # Of arrays of other shapes nothing more can be said.
    return shapes or [
        f"picture {picture.id}: {problem}"
        for index, picture in enumerate(pictures)
        for problem in _picture_problems(outputs, index, picture, num_classes)
    ]


def _segmented(index: int) -> str:
    return f"{features.SEGMENT_SIGNATURE}/{features.MASK}/{index}"


def _shape_problems(key: str, outputs: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> Iterator[str]:
    signature, output, *_ = key.split("/")
    if key not in outputs:
        found = sorted({name.split("/")[1] for name in outputs if name.split("/")[0] == signature})
        yield f"{signature} does not return {output}, only {', '.join(found)}"
    elif outputs[key].shape != shape:
        yield f"{signature} returns {output} of shape {outputs[key].shape}, wanted is {shape}"
    elif outputs[key].dtype.kind in "fiu" and not (np.isfinite(outputs[key]) & (outputs[key] >= 0)).all():
        yield f"{signature} returns {output} with values that are negative or no finite numbers"


def _picture_problems(
    outputs: Mapping[str, np.ndarray], index: int, picture: SampleImage, num_classes: int
) -> Iterator[str]:
    def output_of(signature: str, output: str) -> np.ndarray:
        return outputs[f"{signature}/{output}"][index]

    masks: dict[str, np.ndarray] = {features.SEGMENT_SIGNATURE: outputs[_segmented(index)][0]}
    for signature, output in ENCODED_MASKS.items():
        mask = _decoded(bytes(output_of(signature, output)))
        if mask is None:
            yield f"{signature} returns a mask that is no PNG of one channel"
        elif mask.shape != picture.size:
            yield f"{signature} returns a mask of {_size(mask.shape)} pixels, and the picture has {_size(picture.size)}"
        else:
            masks[signature] = mask
            yield from _count_problems(signature, mask, output_of(signature, features.CLASS_PIXELS))
    for signature, mask in masks.items():
        if mask.max() >= num_classes:
            yield f"{signature} returns a mask with class {mask.max()}, and there are {num_classes}, from 0"
    served = masks.get(features.SERVING_SIGNATURE)
    if served is None or served.max() >= num_classes:
        return
    for signature in sorted(masks.keys() - {features.SERVING_SIGNATURE}):
        yield from _disagreement(features.SERVING_SIGNATURE, served, signature, masks[signature])
    matrix = output_of(features.CONFUSION_SIGNATURE, features.CONFUSION_MATRIX)
    yield from _confusion_problems(matrix, picture.label, served)


def other_mask_problems(source: str, encoded: bytes, signature: str, mask: np.ndarray) -> Iterator[str]:
    """Looks for what is wrong with a mask that came another way.

    Args:
        source: where it is from.
        encoded: what was returned there.
        signature: that has returned the mask it should be like.
        mask: int[H, W], that one.

    Yields:
        A sentence for each problem.
    """
    other = _decoded(encoded)
    if other is None:
        yield f"{source} returns a mask that is no PNG of one channel"
    elif other.shape != mask.shape:
        yield f"{source} returns a mask of {_size(other.shape)} pixels, and the picture has {_size(mask.shape)}"
    else:
        yield from _disagreement(signature, mask, source, other)


def _disagreement(source: str, mask: np.ndarray, other_source: str, other: np.ndarray) -> Iterator[str]:
    agreement = float(np.mean(mask == other))
    if agreement < AGREEMENT:
        yield f"the masks of {source} and {other_source} agree in {agreement:.1%} of the pixels only"


def _count_problems(signature: str, mask: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    if counts.sum() != mask.size:
        yield f"the {features.CLASS_PIXELS} of {signature} add up to {counts.sum()}, and the picture has {mask.size}"
    elif (np.bincount(mask.ravel(), minlength=len(counts))[: len(counts)] != counts).any():
        yield f"the {features.CLASS_PIXELS} of {signature} are not those of its mask"


def _confusion_problems(matrix: np.ndarray, label: np.ndarray, mask: np.ndarray) -> Iterator[str]:
    """What is wrong with a matrix int[C, C] of a label uint8[H, W], with void, and a predicted mask int[H, W]."""
    valid = label != IGNORE_LABEL
    if matrix.sum() != valid.sum():
        yield (
            f"the {features.CONFUSION_MATRIX} of {features.CONFUSION_SIGNATURE} adds up to {matrix.sum()}, and the "
            f"label has {valid.sum()} pixels besides void"
        )
        return
    counted = np.zeros(matrix.shape, np.int64)
    np.add.at(counted, (label[valid], mask[valid]), 1)
    # Each pixel that is counted elsewhere is missing in one cell and too much in another.
    if np.abs(counted - matrix).sum() / 2 > (1 - AGREEMENT) * valid.sum():
        yield (
            f"the {features.CONFUSION_MATRIX} of {features.CONFUSION_SIGNATURE} is not that of the label and of the "
            f"mask of {features.SERVING_SIGNATURE}"
        )


def _decoded(png: bytes) -> np.ndarray | None:
    """A mask, uint8[H, W]; None if it is none."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.asarray(image) if image.mode == "L" else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _size(shape: tuple[int, ...]) -> str:
    """As people write it: width first."""
    return f"{shape[1]} x {shape[0]}"
