"""What TensorBoard will find in the event files."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from schema.labels import Labels
from trainer.common import metrics
from trainer.training.tensorboard import TensorBoardWriter

LABELS = Labels(classes=["background", "cat", "dog", "unseen"])
# The classes of the labels that are there: `unseen` is in neither label nor prediction.
MATRIX = np.array([[50, 1, 2, 0], [3, 20, 4, 0], [5, 6, 7, 0], [0, 0, 0, 0]])


def summaries(directory: Path) -> list[tuple[int, str, str, np.ndarray]]:
    """Step, tag, TensorBoard's plugin and tensor of all summaries, in the order of the files."""
    found = []
    for file in sorted(directory.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                found.append((event.step, value.tag, plugin, tf.make_ndarray(value.tensor)))
    return found


@pytest.fixture
def writer(tmp_path):
    writer = TensorBoardWriter(str(tmp_path / "logs"), LABELS)
    yield writer
    writer.close()


def test_curves_of_training(tmp_path, writer):
    for step in (10, 20):
        writer.training(step, loss=step / 10, learning_rate=1e-3, images_per_second=4.5)
    writer.close()
    found = summaries(tmp_path / "logs")
    assert [(step, tag) for step, tag, _, _ in found] == [
        (step, f"training/{name}") for step in (10, 20) for name in ("loss", "learning_rate", "images_per_second")
    ]
    assert {plugin for _, _, plugin, _ in found} == {"scalars"}
    assert [float(value) for _, tag, _, value in found if tag == "training/loss"] == [1.0, 2.0]
    assert all(value.shape == () and value.dtype == np.float32 for *_, value in found)


def test_an_evaluation_has_the_values_that_the_evaluator_would_give(tmp_path, writer):
    writer.evaluation(30, confusion_matrix=MATRIX, seconds=2.5)
    found = {tag: float(value) for _, tag, _, value in summaries(tmp_path / "logs")}
    assert found.pop("evaluation/mean_iou") == pytest.approx(metrics.mean_iou(MATRIX))
    assert found.pop("evaluation/pixel_accuracy") == pytest.approx(metrics.pixel_accuracy(MATRIX))
    assert found.pop("evaluation/seconds") == 2.5
    ious = dict(zip(LABELS.names, metrics.iou_per_class(MATRIX), strict=True))
    del ious["unseen"]
    assert found == pytest.approx({f"iou/{name}": iou for name, iou in ious.items()})


def test_nothing_is_written_of_an_evaluation_without_pixels_but_its_time(tmp_path, writer):
    writer.evaluation(1, confusion_matrix=np.zeros((4, 4), np.int64), seconds=1.0)
    assert [tag for _, tag, _, _ in summaries(tmp_path / "logs")] == ["evaluation/seconds"]


def test_each_picture_keeps_its_tag_over_the_steps(tmp_path, writer):
    rng = np.random.default_rng(0)
    drawn = {step: [rng.integers(0, 256, (20 + n, 30, 3), np.uint8) for n in range(2)] for step in (5, 6)}
    for step, pictures in drawn.items():
        writer.pictures(step, pictures, ["2007_000033", "2007_000042"])
    found = summaries(tmp_path / "logs")
    assert [(step, tag) for step, tag, _, _ in found] == [
        (step, f"pictures/{name}") for step in (5, 6) for name in ("2007_000033", "2007_000042")
    ]
    for (_, _, plugin, (width, height, png)), picture in zip(found, drawn[5] + drawn[6], strict=True):
        assert plugin == "images"
        assert (int(height), int(width)) == picture.shape[:2]
        np.testing.assert_array_equal(tf.io.decode_png(png), picture)


def test_a_restart_goes_on_in_a_file_of_its_own(tmp_path):
    for step in (100, 110):
        writer = TensorBoardWriter(str(tmp_path), LABELS)
        writer.training(step, loss=1.0, learning_rate=1e-3, images_per_second=1.0)
        writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(step for step, tag, _, _ in summaries(tmp_path) if tag == "training/loss") == [100, 110]


def test_an_evaluation_is_on_disk_before_the_writer_ends(tmp_path, writer):
    writer.training(1, loss=1.0, learning_rate=1e-3, images_per_second=1.0)
    writer.evaluation(1, confusion_matrix=MATRIX, seconds=2.5)
    tags = {tag for _, tag, _, _ in summaries(tmp_path / "logs")}
    assert {"training/loss", "evaluation/mean_iou"} <= tags
