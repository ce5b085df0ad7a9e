"""The sheet of a batch: it shows the pictures of training, and says whose they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.artifacts.problems import DataError
from components.segmentation_example_gen import executor
from components.segmentation_example_gen.dataset import read_dataset
from pipeline.commands.main import app
from pipeline.commands.options import CommandError, DataRefusedError
from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.datasets import show_batch
from schema.labels import IGNORE_LABEL, VOC_PALETTE
from trainer.data.input import ids_of, training_records

DEMO = Path(__file__).parents[3] / "configs" / "demo.yaml"
STILL = ("augmentation.scale=[1, 1]", "augmentation.flip=0")
BATCH, STEP = 5, 3


def configuration(data: Path, *overrides: str) -> Config:
    overrides = (f"hps.batch_size={BATCH}", "train.shuffle_buffer=4", *overrides)
    return load_config(DEMO, data=str(data), overrides=overrides)


def test_the_pictures_are_those_of_training(devkit_root, tmp_path):
    config = configuration(devkit_root)
    dataset = read_dataset(config.data_source)
    for shard in executor.split_into_shards(dataset.splits["train"], "train", str(tmp_path)):
        assert list(executor.write_shard(shard, config.data.labels)) == []
    records = training_records([f"{tmp_path}/*"], shuffle_buffer=4, seed=config.seed).batch(BATCH)
    expected = [picture_id.decode() for picture_id in ids_of(list(records.take(STEP + 1))[STEP]).numpy()]
    assert [picture.id for picture in show_batch.batch(config, dataset, STEP)] == expected


def test_without_augmentation_they_are_shown_as_they_are(devkit_root):
    config = configuration(devkit_root, *STILL)
    for picture in show_batch.batch(config, read_dataset(config.data_source), 0):
        height, width = picture.canvas.shape[:2]
        inside = np.argwhere(picture.label != IGNORE_LABEL)
        rows, columns = zip(inside.min(0), inside.max(0) + 1, strict=True)
        mask = np.asarray(Image.open(devkit_root / "SegmentationClass" / f"{picture.id}.png"))
        np.testing.assert_array_equal(np.unique(mask), np.unique(picture.label))
        # It lies somewhere in the canvas, whole.
        top, left = min(rows[0], 81 - height), min(columns[0], 81 - width)
        found = [
            np.array_equal(picture.image[y : y + height, x : x + width], picture.canvas)
            for y in range(max(0, top - 3), top + 1)
            for x in range(max(0, left - 3), left + 1)
        ]
        assert any(found)


def test_the_command_writes_a_sheet(devkit_root, tmp_path):
    file = tmp_path / "sheet.png"
    arguments = ["show-batch", str(DEMO), "--data", str(devkit_root), "--set", f"hps.batch_size={BATCH}"]
    done = CliRunner().invoke(app, [*arguments, "--step", "2", "--output-file", str(file)], catch_exceptions=False)
    config = load_config(DEMO, data=str(devkit_root), overrides=[f"hps.batch_size={BATCH}"])
    pictures = show_batch.batch(config, read_dataset(config.data_source), 2)
    ids = ", ".join(picture.id for picture in pictures)
    assert f"the {BATCH} pictures of step 2: {ids}" in done.output
    sheet = Image.open(file)
    assert sheet.format == "PNG"
    assert sheet.height > BATCH * show_batch.TILE
    # The label's tile of the first row holds the colours of its classes and of what counts nowhere, and no others.
    left = 2 * (show_batch.TILE + show_batch.GAP) + show_batch.GAP
    tile = np.asarray(sheet.crop((left, 2 * show_batch.HEADLINE, left + 81, 2 * show_batch.HEADLINE + 81)))
    classes = config.data.labels.classes
    allowed = {item.color for item in classes} | {VOC_PALETTE[IGNORE_LABEL]}
    assert {tuple(color) for color in tile.reshape(-1, 3).tolist()} <= allowed
    colors = {
        VOC_PALETTE[IGNORE_LABEL] if index == IGNORE_LABEL else classes[index].color
        for index in np.unique(pictures[0].label)
    }
    assert {tuple(color) for color in tile.reshape(-1, 3).tolist()} == colors


def test_an_unsound_pair_of_the_batch_is_named(devkit_copy, tmp_path):
    config = configuration(devkit_copy)
    shown = show_batch.batch(config, read_dataset(config.data_source), 0)[0].id
    (devkit_copy / "JPEGImages" / f"{shown}.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=shown):
        show_batch.batch(config, read_dataset(config.data_source), 0)
    arguments = ["show-batch", str(DEMO), "--data", str(devkit_copy), "--set", f"hps.batch_size={BATCH}"]
    arguments += ["--set", "train.shuffle_buffer=4", "--output-file", str(tmp_path / "sheet.png")]
    with pytest.raises(DataRefusedError, match="the data are not sound"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("file", "message"),
    [("sheet.jpg", r"found the suffix \.jpg, it must be \.png"), ("gone/sheet.png", "there is no folder")],
)
def test_a_sheet_that_cannot_be_written(devkit_root, tmp_path, file, message):
    arguments = ["show-batch", str(DEMO), "--data", str(devkit_root), "--output-file", str(tmp_path / file)]
    with pytest.raises(CommandError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_only_the_pictures_of_the_batch_are_read(devkit_copy):
    """All others may be gone."""
    config = configuration(devkit_copy, "hps.batch_size=2")
    dataset = read_dataset(config.data_source)
    shown = {picture.id for picture in show_batch.batch(config, dataset, 0)}
    for pair in dataset.splits["train"]:
        if pair.id not in shown:
            Path(pair.image).unlink()
    assert {picture.id for picture in show_batch.batch(config, dataset, 0)} == shown
