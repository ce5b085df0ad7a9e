"""Whole runs on this machine: from a devkit to a pushed model, killed, repeated, changed."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.exports import PUSHED_FOLDER
from components.artifacts.predictions import MASK_FILES
from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.datasets.synthetic_voc import write_devkit
from pipeline.inference.saved_model import open_model
from pipeline.runs.results import RunResult
from schema.labels import VOC2012

CONFIG = """
name: e2e
base_model: MobileNetV2
nn_arch: {image_size: 65, mv2_depth_multiplier: 0.35, reduction_size: 8, concat_channels: 8}
hps: {steps: 60, batch_size: 4}
train: {init_from: none}
"""
STEPS = {
    "SegmentationExampleGen",
    "CuratedSchema",
    "StatisticsGen",
    "PreviousStatistics",
    "DataReport",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Resolver",
    "Evaluator",
    "InfraValidator",
    "Report",
    "Pusher",
}
RESOLVERS = {"PreviousStatistics", "Resolver"}
"""They look things up anew in each run."""


@dataclass
class Recorder:
    """A reporter that remembers which steps worked and which came from the cache."""

    worked: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)

    def step_started(self, step: str) -> None:
        pass

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        (self.cached if cached else self.worked).append(step)


@dataclass
class Story:
    """One output folder, run again and again."""

    config_file: Path
    data: str
    """The pattern of the spans."""
    output: Path

    def config(self, *overrides: str) -> Config:
        return load_config(self.config_file, overrides=overrides, data=self.data, output=self.output)

    def run(self, *overrides: str) -> tuple[RunResult, Recorder]:
        from pipeline.runs import local

        recorder = Recorder()
        return local.run(self.config(*overrides), recorder), recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, devkit_root) -> Story:
    directory = tmp_path_factory.mktemp("story")
    config_file = directory / "e2e.yaml"
    config_file.write_text(CONFIG)
    shutil.copytree(devkit_root, directory / "span-1" / "VOC2012")
    return Story(config_file, str(directory / "span-{SPAN}" / "VOC2012"), directory / "out")


@pytest.fixture(scope="module")
def interrupted(folder) -> tuple[int, str, str]:
    """A run that was interrupted in training: its exit code, what it showed, and its log."""
    process = started(folder)
    wait_for_training(folder, process)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    (log,) = (folder.output / "logs").iterdir()
    return process.returncode, shown, log.read_text()


@pytest.fixture(scope="module")
def killed(folder, interrupted) -> str:
    """What a run showed that went on after it, and was killed in training."""
    process = started(folder)
    wait_for_training(folder, process)
    process.kill()
    _, shown = process.communicate(timeout=60)
    return shown


@pytest.fixture(scope="module")
def first(folder, killed) -> tuple[RunResult, Recorder]:
    """The first run that came to its end."""
    return folder.run()


@pytest.fixture
def story(folder, first, tmp_path) -> Iterator[Story]:
    """The folder after the first run. What a test makes of it, and of the data, is undone after it."""
    place, saved = folder.output.parent, tmp_path / "saved"
    shutil.copytree(place, saved, symlinks=True)
    yield folder
    shutil.rmtree(place)
    shutil.copytree(saved, place, symlinks=True)


def add_span(story: Story) -> Path:
    """Adds the second span, of other pictures than the first."""
    write_devkit(story.output.parent / "new", train=12, val=4, seed=1)
    span = story.output.parent / "span-2" / "VOC2012"
    return shutil.copytree(story.output.parent / "new" / "VOCdevkit" / "VOC2012", span)


def started(story: Story) -> subprocess.Popen:
    deeplab = Path(sys.executable).with_name("deeplab")
    return subprocess.Popen(
        [deeplab, "run", story.config_file, "--data", story.data, "--output", story.output],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_training(story: Story, process: subprocess.Popen) -> None:
    """Returns as soon as the log of this run tells of a training step."""
    earlier = set((story.output / "logs").glob("*.log"))
    while process.poll() is None:
        for log in set((story.output / "logs").glob("*.log")) - earlier:
            if "trainer.training.progress: step" in log.read_text(errors="replace"):
                return
        time.sleep(0.1)
    pytest.fail(f"the run ended before it trained: {process.stderr.read()}")


def test_interrupted_it_says_how_to_go_on(interrupted):
    exit_code, shown, log = interrupted
    assert exit_code == 130
    assert "interrupted; the steps that are done are kept" in shown
    assert "Traceback" not in shown
    assert "✓ SegmentationExampleGen" in shown
    assert "✓ Transform" in shown
    assert "oneDNN" not in shown
    assert "WARNING" not in shown
    assert "Going to run a new execution" in log


def test_killed_in_training(killed):
    assert "✓ Transform               as before, from the cache" in killed
    assert "✓ Trainer" not in killed


def test_it_goes_on_after_the_last_finished_step(first):
    _, steps = first
    assert {"SegmentationExampleGen", "CuratedSchema", "Transform"} <= set(steps.cached)
    assert {"Trainer", "Resolver", "Evaluator", "InfraValidator", "Report", "Pusher"} <= set(steps.worked)
    assert set(steps.worked) | set(steps.cached) == STEPS


def test_what_came_out(story, first):
    result, _ = first
    assert result.pictures == {"train": 12, "eval": 4}
    assert result.spans == "1"
    assert "aeroplane" in result.data_report.read_text()
    assert result.quarantined == 0
    assert 0 <= result.evaluation.mean_iou <= 1
    page = result.report.read_text()
    assert page.count('class="stage"') == 4
    assert re.search(r"Trainer</th><td class=.number.>\d+\.\d</td><td class=.number.>[\d,]+ MiB", page)
    assert result.evaluation.baseline_mean_iou is None
    assert result.evaluation.blessed
    assert result.validation.blessed
    assert result.validation.pictures == 4
    assert result.anomalies == ()
    assert result.pushed_to is not None
    assert Path(result.pushed_to).parent == story.output / "serving_model"


def test_the_newest_report_is_named(story, first):
    result, _ = first
    deeplab = Path(sys.executable).with_name("deeplab")
    done = subprocess.run([deeplab, "report", story.output], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(result.report), done.stderr


def test_the_classes_travel_with_the_model(first):
    result, _ = first
    labels = json.loads(Path(result.pushed_to, "assets.extra", "labels.json").read_text())
    assert [item["name"] for item in labels["classes"]] == list(VOC2012.names)
    assert labels["classes"][15]["color"] == [192, 128, 128]


def test_the_pushed_model_needs_nothing_but_tensorflow(first, devkit_root, tmp_path):
    result, _ = first
    picture = devkit_root / "JPEGImages" / "2012_000007.jpg"
    code = textwrap.dedent(
        f"""
        import sys
        import tensorflow as tf
        model = tf.saved_model.load({str(result.pushed_to)!r})
        answer = model.signatures["serving_default"](tf.constant([open({str(picture)!r}, "rb").read()]))
        open("mask.png", "wb").write(answer["mask"].numpy()[0])
        print(*answer["class_pixels"].numpy()[0])
        assert not {{"trainer", "components", "pipeline", "tensorflow_transform", "tfx"}} & set(sys.modules)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    mask = Image.open(io.BytesIO((tmp_path / "mask.png").read_bytes()))
    assert mask.size == Image.open(picture).size == (141, 213)
    np.testing.assert_array_equal(
        np.bincount(np.asarray(mask).ravel(), minlength=21), [int(count) for count in done.stdout.split()]
    )


def test_predict_writes_what_the_pushed_model_says(first, devkit_root, tmp_path):
    result, _ = first
    picture = devkit_root / "JPEGImages" / "2012_000007.jpg"
    command = [Path(sys.executable).with_name("deeplab"), "predict", str(Path(result.pushed_to).parent), str(picture)]
    done = subprocess.run([*command, "-o", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (prediction,) = open_model(result.pushed_to).serve([picture.read_bytes()])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "2012_000007.png")), prediction.mask)


def test_with_nothing_changed_everything_comes_from_the_cache(story, first):
    result, steps = story.run()
    assert set(steps.cached) >= STEPS - RESOLVERS
    assert set(steps.worked) <= RESOLVERS
    assert result == first[0]


def test_options_of_the_run_train_no_new_model(story, first):
    result, steps = story.run("train.checkpoint_every=7", "train.num_gpus=0", "train.checkpoints=elsewhere")
    assert set(steps.cached) >= STEPS - RESOLVERS
    assert result == first[0]


def test_a_changed_training_parameter_runs_only_the_trainer_and_what_follows(story, first):
    """The new model is compared with the first; asked for a gain it cannot have, it is refused, with the reason."""
    result, steps = story.run("hps.lr=0.001", "eval.min_mean_iou_change=0.9")
    assert set(steps.worked) - RESOLVERS == {"Trainer", "Evaluator", "InfraValidator", "Report", "Pusher"}
    assert result.evaluation.baseline_mean_iou == pytest.approx(first[0].evaluation.mean_iou)
    assert not result.evaluation.blessed
    (reason,) = result.evaluation.reasons
    assert f"{first[0].evaluation.mean_iou:.4f}" in reason
    assert "eval.min_mean_iou_change asks for at least +0.9" in reason
    assert result.pushed_to is None
    (only,) = (story.output / "serving_model").glob("[0-9]*")
    assert only == Path(first[0].pushed_to)


def test_a_changed_gate_judges_the_same_model_again(story, first):
    story.run("hps.lr=0.001", "eval.min_mean_iou_change=0.9")
    result, steps = story.run("hps.lr=0.001", "eval.min_mean_iou=0.99", "eval.min_mean_iou_change=-1")
    assert set(steps.worked) - RESOLVERS == {"Evaluator", "Report", "Pusher"}
    assert not result.evaluation.blessed
    found = result.evaluation.mean_iou
    assert result.evaluation.reasons == (f"mean IoU {found:.4f} is below the floor eval.min_mean_iou 0.99",)


def test_a_model_that_cannot_be_served_is_not_pushed_whatever_its_iou(story, first):
    """The run goes on, and says why."""
    result, steps = story.run("infra_validation.max_memory_mib=50")
    assert set(steps.worked) - RESOLVERS == {"InfraValidator", "Pusher", "Report"}
    assert result.evaluation.blessed
    assert "50 MiB of infra_validation.max_memory_mib" in result.validation.reason
    assert result.pushed_to is None


def test_other_formats_are_pushed_with_the_model(story, first, tmp_path):
    formats = ["litert_float32", "litert_int8"]
    result, steps = story.run(
        f"export.formats={json.dumps(formats)}", "export.max_mean_iou_loss=1", f"push.directory={tmp_path}"
    )
    assert set(steps.worked) - RESOLVERS == {"ModelExport", "Report", "Pusher"}
    assert [export.format for export in result.exports] == formats
    for export in result.exports:
        assert export.reason is None
        file = Path(result.pushed_to, PUSHED_FOLDER, export.format, export.file)
        assert file.stat().st_size == export.size_bytes


def test_masks_of_a_split_are_predicted_by_a_blessed_model(story, first):
    import tensorflow as tf

    result, steps = story.run("bulk_inference.splits=[eval]")
    assert set(steps.worked) - RESOLVERS == {"BulkInferrer", "Report"}
    files = [str(file) for file in result.predictions.glob(MASK_FILES)]
    assert sum(1 for _ in tf.data.TFRecordDataset(files, "GZIP")) == result.pictures["eval"]


def test_no_masks_are_predicted_by_a_model_that_is_not_blessed(story, first):
    result, steps = story.run("bulk_inference.splits=[eval]", "eval.min_mean_iou=0.99")
    assert "BulkInferrer" in steps.worked
    assert not result.evaluation.blessed
    assert result.predictions is None


def test_a_failing_step_is_named_with_its_own_error(story, tmp_path):
    from pipeline.runs import local

    weights = tmp_path / "broken.weights.h5"
    weights.write_text("no weights")
    with pytest.raises(local.StepFailedError, match=f"{weights} holds no weights") as error:
        story.run(f"train.init_from={weights}")
    assert error.value.step == "Trainer"
    assert isinstance(error.value.__cause__, ValueError)


def test_a_new_span_trains_again_and_is_compared_with_the_last(story, first):
    add_span(story)
    result, steps = story.run("eval.min_mean_iou_change=-1")
    assert set(steps.worked) - RESOLVERS == STEPS - RESOLVERS - {"CuratedSchema"}
    assert result.spans == "2"
    assert result.evaluation.baseline_mean_iou is not None
    assert "the run before" in result.data_report.read_text()

    again, steps = story.run("eval.min_mean_iou_change=-1")
    assert set(steps.worked) <= RESOLVERS
    assert again == result


def test_a_span_with_other_data_stops_before_training(story, first):
    """All pictures are strips. Nothing of them is broken, but a camera does not take such pictures."""
    root = story.output.parent / "span-3" / "VOC2012"
    shutil.copytree(add_span(story), root)
    for number in range(1, 17):
        Image.new("L", (90, 4), 7).save(root / "SegmentationClass" / f"2012_{number:06d}.png")
        Image.new("RGB", (90, 4)).save(root / "JPEGImages" / f"2012_{number:06d}.jpg")
    from pipeline.commands import main
    from pipeline.runs import local

    config, steps = story.config("validation.stop_on_anomalies=true"), Recorder()
    with pytest.raises(local.StepFailedError) as error:
        local.run(config, steps)
    assert error.value.step == "ExampleValidator"
    assert "DataReport" in steps.worked
    assert "Transform" not in steps.worked

    told = str(main._step_failure(error.value, config))
    assert "train: image/aspect_ratio: Unexpectedly high value" in told
    page = Path(told.split("The page of the data: ")[1])
    assert "image/aspect_ratio" in page.read_text()
