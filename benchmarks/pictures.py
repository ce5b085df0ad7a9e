"""Draws pictures, labels and predictions of a pushed model side by side.

.venv/bin/python benchmarks/pictures.py MODEL_DIR VOCdevkit/VOC2012 OUT.png [--list val] [--count 6]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from components.voc_example_gen.devkit import read_split
from PIL import Image

from trainer.features import MASK, SERVING_SIGNATURE
from trainer.labels import VOC_PALETTE

HEIGHT = 150
GAP = 6


def main() -> None:
    """One column per picture: picture, label, prediction from top to bottom."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--list", default="val")
    parser.add_argument("--count", type=int, default=6)
    arguments = parser.parse_args()

    pairs = read_split(arguments.data, arguments.list, "SegmentationClass")[: arguments.count]
    serve = tf.saved_model.load(str(arguments.model)).signatures[SERVING_SIGNATURE]
    masks = serve(tf.constant([pair.image.read_bytes() for pair in pairs]))[MASK].numpy()
    columns = []
    for pair, mask in zip(pairs, masks, strict=True):
        rows = [Image.open(pair.image).convert("RGB"), coloured(Image.open(pair.mask)), coloured(decoded(mask))]
        width = round(rows[0].width * HEIGHT / rows[0].height)
        columns.append([row.resize((width, HEIGHT), Image.Resampling.NEAREST) for row in rows])
    sheet = Image.new("RGB", (sum(c[0].width + GAP for c in columns) - GAP, 3 * (HEIGHT + GAP) - GAP), "white")
    left = 0
    for column in columns:
        for row, image in enumerate(column):
            sheet.paste(image, (left, row * (HEIGHT + GAP)))
        left += column[0].width + GAP
    sheet.save(arguments.out, optimize=True)


def decoded(png: bytes) -> Image.Image:
    """A PNG's bytes as an image."""
    return Image.open(io.BytesIO(png))


def coloured(mask: Image.Image) -> Image.Image:
    """Class indices in VOC's colours."""
    return Image.fromarray(np.array(VOC_PALETTE, np.uint8)[np.asarray(mask)])


if __name__ == "__main__":
    main()
