"""Twenty real pictures learnt by heart: nothing in loss, labels, resizing and metric is off by a pixel.

The pictures are those of the devkit that the environment variable VOC_DEVKIT names; without one the test is skipped.
"""

from __future__ import annotations

import shutil

import pytest

from pipeline.config.loading import load_config

PICTURES = 20
CONFIG = """
name: memorised
base_model: MobileNetV2
nn_arch: {image_size: 257, dropout_rate: 0}
hps: {steps: 2000, batch_size: 4, optimizer: adam, lr: 1e-3, weight_decay: 0, bn_momentum: 0.9}
augmentation: {scale: [1, 1], scale_step: 0, flip: 0}
train: {init_from: none}
data: {splits: {train: {list: memorised}, eval: {list: memorised}}}
"""


@pytest.mark.slow
def test_twenty_pictures_are_learnt_by_heart(real_devkit, silent, tmp_path):
    from pipeline.runs import local

    devkit = tmp_path / "VOC2012"
    lists = devkit / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    ids = (real_devkit / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[:PICTURES]
    (lists / "memorised.txt").write_text("\n".join(ids))
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (devkit / folder).mkdir()
        for picture_id in ids:
            shutil.copy(real_devkit / folder / f"{picture_id}.{suffix}", devkit / folder)
    file = tmp_path / "memorised.yaml"
    file.write_text(CONFIG)
    result = local.run(load_config(file, data=str(devkit), output=tmp_path / "out"), silent)
    assert result.pictures == {"train": PICTURES, "eval": PICTURES}
    # At the pictures' own size, twice that of the canvas.
    assert result.evaluation.mean_iou >= 0.95
