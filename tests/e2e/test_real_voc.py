"""Runs on real Pascal VOC pictures: those of the devkit that VOC_DEVKIT names. Without one the tests are skipped."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from pipeline.config.loading import load_config
from schema.labels import IGNORE_LABEL, VOC2012

PROJECT = Path(__file__).parents[2]


def test_a_run_on_real_pictures(real_devkit, silent, tmp_path):
    from pipeline.runs import local

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


LEARNT = """
name: learnt
base_model: MobileNetV2
nn_arch: {image_size: 129, dropout_rate: 0}
hps: {steps: 150, batch_size: 8, optimizer: adam, lr: 1e-3, weight_decay: 0, bn_momentum: 0.9}
augmentation: {scale: [1, 1], scale_step: 0, flip: 0}
train: {init_from: none}
data: {splits: {train: {list: val}, eval: {list: val}}}
"""
CLASSES = len(VOC2012.classes)


@pytest.mark.slow
def test_a_second_run_that_is_worse_is_refused_and_the_numbers_are_those_of_numpy(real_devkit, silent, tmp_path):
    from pipeline.commands import main
    from pipeline.runs import local

    file = tmp_path / "learnt.yaml"
    file.write_text(LEARNT)
    output = tmp_path / "out"
    first, second = (
        local.run(load_config(file, overrides=[f"hps.steps={steps}"], data=str(real_devkit), output=output), silent)
        for steps in (150, 3)
    )
    assert first.evaluation.blessed
    assert not second.evaluation.blessed
    assert second.pushed_to is None
    (reason,) = second.evaluation.reasons
    difference = second.evaluation.mean_iou - first.evaluation.mean_iou
    before = f"the {first.evaluation.mean_iou:.4f} of {second.evaluation.baseline.uri};"
    assert f"differs by {difference:+.4f} from {before}" in reason
    assert second.evaluation.baseline_mean_iou == first.evaluation.mean_iou

    def deeplab(*arguments: object) -> str:
        done = CliRunner().invoke(main.app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done.output

    assert reason in deeplab("explain", output)
    told = json.loads(deeplab("evaluate", first.pushed_to, "--data", real_devkit, "--split", "val", "--json"))
    ids = (real_devkit / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    pictures = [real_devkit / "JPEGImages" / f"{picture_id}.jpg" for picture_id in ids]
    deeplab("predict", first.pushed_to, *pictures, "-o", tmp_path / "masks")
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    for picture_id in ids:
        label, mask = (
            np.asarray(Image.open(folder / f"{picture_id}.png")).astype(int)
            for folder in (real_devkit / "SegmentationClass", tmp_path / "masks")
        )
        counted = label != IGNORE_LABEL
        np.add.at(matrix, (label[counted], mask[counted]), 1)
    with np.errstate(invalid="ignore"):
        iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert told["images"] == len(ids)
    assert told["mean_iou"] == first.evaluation.mean_iou == np.nanmean(iou)
    assert list(told["iou"].values()) == [None if np.isnan(value) else value for value in iou.tolist()]
    assert told["pixel_accuracy"] == np.diag(matrix).sum() / matrix.sum()
