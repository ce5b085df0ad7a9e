"""A run on real Pascal VOC pictures, where some are at hand.

They may not be shipped. The test takes the devkit that the environment variable VOC_DEVKIT names, or a small one in a
folder beside the project, and is skipped without.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.config import load_config

PROJECT = Path(__file__).parents[2]


def test_a_run_on_real_pictures(real_devkit, silent, tmp_path):
    from pipeline import local

    overrides = [
        *("nn_arch.image_size=129", "hps.steps=2", "hps.batch_size=2", "train.init_from=none", "eval.min_mean_iou=0"),
        *("data.splits.train.list=train", "data.splits.train.masks=SegmentationClass"),
    ]
    config = load_config(
        PROJECT / "configs" / "voc_mobilenetv2.yaml",
        overrides=overrides,
        data=str(real_devkit),
        output=tmp_path / "out",
    )
    result = local.run(config, silent)
    lists = real_devkit / "ImageSets" / "Segmentation"
    ids = (lists / "val.txt").read_text().split()
    assert result.pictures == {"train": len((lists / "train.txt").read_text().split()), "eval": len(ids)}
    assert result.anomalies == ()
    assert result.evaluation.blessed

    serve = tf.saved_model.load(str(result.pushed_to)).signatures["serving_default"]
    pictures = [real_devkit / "JPEGImages" / f"{picture_id}.jpg" for picture_id in ids[:3]]
    for picture, mask in zip(pictures, serve(tf.constant([p.read_bytes() for p in pictures]))["mask"], strict=True):
        decoded = Image.open(io.BytesIO(mask.numpy()))
        assert decoded.size == Image.open(picture).size
        assert np.asarray(decoded).max() < 21
