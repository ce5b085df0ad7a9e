"""Whole runs with networks other than the default: each trains, is judged, pushed, and segments pictures."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config.loading import load_config
from pipeline.runs.results import RunResult
from schema.labels import VOC2012

pytestmark = pytest.mark.slow

SEED = json.loads((Path(__file__).parents[1] / "seed_conf.json").read_text())
WEIGHTS_FILE = "variables.data-00000-of-00001"
SMALL = (
    *("nn_arch.image_size=65", "nn_arch.reduction_size=8", "nn_arch.concat_channels=8", "hps.batch_size=4"),
    *("train.init_from=none", "eval.min_mean_iou=0"),
)


@pytest.fixture
def run(silent) -> Callable[..., RunResult]:
    """Runs a configuration, and lets the model that was pushed segment a picture."""
    from pipeline.runs import local

    def run(file: Path, devkit: Path, output: Path, *overrides: str) -> RunResult:
        config = load_config(
            file, overrides=(*SMALL, *overrides), data=str(devkit), output=output, warn=lambda sentence: None
        )
        result = local.run(config, silent)
        assert result.evaluation.blessed
        serve = tf.saved_model.load(str(result.pushed_to)).signatures["serving_default"]
        picture = sorted((devkit / "JPEGImages").glob("*.jpg"))[0]
        (mask,) = serve(tf.constant([picture.read_bytes()]))["mask"]
        decoded = Image.open(io.BytesIO(mask.numpy()))
        assert decoded.size == Image.open(picture).size
        assert np.asarray(decoded).max() < 21
        return result

    return run


def config_file(folder: Path, **values) -> Path:
    file = folder / "network.json"
    file.write_text(json.dumps({"name": "network", **values}))
    return file


def test_xception_at_stride_8(run, devkit_root, tmp_path):
    run(
        config_file(tmp_path, base_model="Xception"),
        devkit_root,
        tmp_path / "out",
        *("nn_arch.output_stride=8", "hps.steps=2"),
    )


def test_the_seed_s_configuration(run, devkit_copy, tmp_path):
    """With its random split of the pictures of train_aug and val."""
    shutil.copytree(devkit_copy / "SegmentationClass", devkit_copy / "SegmentationClassAug")
    lists = devkit_copy / "ImageSets" / "Segmentation"
    shutil.copy(lists / "train.txt", lists / "train_aug.txt")
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(SEED))
    result = run(file, devkit_copy, tmp_path / "out", "hps.epochs=1", "hps.val_ratio=0.6")
    assert sum(result.pictures.values()) == 8
    assert result.pictures == {"train": 4, "eval": 4}, "the official split has six and two"


def test_on_from_the_pushed_model_at_another_stride(run, devkit_root, tmp_path):
    """Trained at 16 and served at 8, it starts the next run, and as it is: one step of rate 1e-9 changes nothing."""
    file = config_file(tmp_path, base_model="MobileNetV2", nn_arch={"mv2_depth_multiplier": 0.35})
    first = run(file, devkit_root, tmp_path / "out", "hps.steps=20", "eval.output_stride=8")
    second = run(
        file,
        devkit_root,
        tmp_path / "out",
        *("hps.steps=1", "hps.lr=1e-9", "hps.bn_momentum=0.999999", f"train.init_from={first.pushed_to}"),
        *("eval.output_stride=8", "eval.min_mean_iou_change=-0.01"),
    )
    assert second.evaluation.mean_iou == pytest.approx(first.evaluation.mean_iou, abs=1e-3)
    assert second.evaluation.baseline_mean_iou == first.evaluation.mean_iou
    (*_, keras_file) = sorted((tmp_path / "out").rglob("*.keras"), key=lambda path: path.stat().st_mtime)
    network = keras.saving.load_model(keras_file, compile=False)
    assert network.output_shape == (None, 65, 65, 21)
    assert network.get_layer("aspp_0_relu").output.shape[1:3] == (9, 9)


def test_on_from_the_last_model_with_other_classes(run, devkit_root, tmp_path, caplog):
    """Its last layer is made anew, and the new model is judged by itself."""
    file = config_file(tmp_path, base_model="MobileNetV2", nn_arch={"mv2_depth_multiplier": 0.35})
    first = run(file, devkit_root, tmp_path / "out", "hps.steps=20", "train.init_from=[latest_pushed, none]")
    assert first.started_from is None
    values = {name: [index] for index, name in enumerate(VOC2012.names)}
    values["animal"] = values.pop("cat") + values.pop("dog")
    classes = [{"name": name, "values": of_the_mask} for name, of_the_mask in values.items()]
    second = run(
        file,
        devkit_root,
        tmp_path / "out",
        *("hps.steps=20", "train.init_from=[latest_pushed, none]", f"data.labels={json.dumps(classes)}"),
    )
    assert Path(first.pushed_to, "variables", WEIGHTS_FILE).read_bytes() == (
        Path(second.started_from, "Format-Serving", "variables", WEIGHTS_FILE).read_bytes()
    )
    assert second.evaluation.baseline_mean_iou is None
    assert "19 of 20 classes are taken over by their names, and at random begin: animal" in caplog.text
    assert "the new one is compared with none" in caplog.text
