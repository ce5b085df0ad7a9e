"""A run on a folder pair with classes of its own, coloured masks, and pictures that are only predicted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config.loading import load_config
from schema import features

CONFIG = """
name: own
base_model: MobileNetV2
nn_arch: {image_size: 65, mv2_depth_multiplier: 0.35, reduction_size: 8, concat_channels: 8}
hps: {steps: 2, batch_size: 2}
train: {init_from: none}
data:
  format: folders
  labels:
    classes: [{name: ground, color: [10, 20, 30]}, {name: thing, color: [200, 0, 0]}]
    ignore_colors: [[255, 255, 255]]
  splits: {test: {images: new}}
  val_ratio: 0.4
"""


def make_folders(devkit: Path, root: Path) -> None:
    """VOC's generated pictures as a folder pair: everything but background is a thing."""
    for folder in ("images", "masks", "new"):
        (root / folder).mkdir(parents=True)
    colors = np.full((256, 3), (200, 0, 0), np.uint8)
    colors[0], colors[255] = (10, 20, 30), (255, 255, 255)
    for mask in sorted((devkit / "SegmentationClass").iterdir()):
        picture = devkit / "JPEGImages" / f"{mask.stem}.jpg"
        if mask.stem > "2012_000012":
            shutil.copy(picture, root / "new")
            continue
        Image.open(picture).convert("RGB").save(root / "images" / f"{mask.stem}.png")
        Image.fromarray(colors[np.asarray(Image.open(mask))]).save(root / "masks" / mask.name)


@pytest.mark.slow
def test_a_run_on_a_folder_pair(silent, devkit_root, tmp_path):
    from pipeline.runs import local

    make_folders(devkit_root, tmp_path / "data")
    (tmp_path / "own.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "own.yaml", data=str(tmp_path / "data"), output=tmp_path / "out")
    result = local.run(config, silent)
    assert result.pictures["train"] + result.pictures["eval"] == 12
    assert result.pictures["test"] == 4
    assert result.anomalies == ()

    labels = json.loads(Path(result.pushed_to, "assets.extra", "labels.json").read_text())
    assert [(item["name"], item["color"]) for item in labels["classes"]] == [
        ("ground", [10, 20, 30]),
        ("thing", [200, 0, 0]),
    ]
    (unlabelled,) = (tmp_path / "out" / "artifacts" / "SegmentationExampleGen").glob("examples/*/Split-test/*")
    records = [record.numpy() for record in tf.data.TFRecordDataset([str(unlabelled)])]
    answer = tf.saved_model.load(str(result.pushed_to)).signatures["examples"](tf.constant(records))
    assert answer["class_pixels"].shape == (4, 2)
    for record, mask in zip(records, answer["mask"].numpy(), strict=True):
        example = tf.train.Example.FromString(record).features.feature
        size = [example[key].int64_list.value[0] for key in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH)]
        assert tf.io.decode_png(mask).shape == (*size, 1)
