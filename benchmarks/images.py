"""Draws pictures, labels and predictions of a pushed model side by side, one row a picture.

.venv/bin/python benchmarks/images.py MODEL_DIR VOCdevkit/VOC2012 OUT.png [--list val] [--count 6] [--masks FOLDER]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from schema.features import MASK, SERVING_SIGNATURE
from schema.labels import VOC2012
from trainer.common.drawing import side_by_side

WIDTH = 1000
"""Pixels of a row."""


def main() -> None:
    """Rows of picture, label, prediction, and the prediction over the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--list", default="val")
    parser.add_argument("--masks", default="SegmentationClass")
    parser.add_argument("--count", type=int, default=6)
    arguments = parser.parse_args()

    lists = arguments.data / "ImageSets" / "Segmentation"
    ids = (lists / f"{arguments.list}.txt").read_text().split()[: arguments.count]
    encoded = [(arguments.data / "JPEGImages" / f"{each}.jpg").read_bytes() for each in ids]
    serve = tf.saved_model.load(str(arguments.model)).signatures[SERVING_SIGNATURE]
    rows = []
    for picture_id, picture, mask in zip(ids, encoded, serve(tf.constant(encoded))[MASK].numpy(), strict=True):
        image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        label = np.asarray(Image.open(arguments.data / arguments.masks / f"{picture_id}.png"))
        row = Image.fromarray(side_by_side(image, label, np.asarray(Image.open(io.BytesIO(mask))), VOC2012))
        rows.append(np.asarray(row.resize((WIDTH, round(row.height * WIDTH / row.width)))))
    Image.fromarray(np.concatenate(rows)).save(arguments.out)


if __name__ == "__main__":
    main()
