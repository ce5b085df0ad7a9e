"""The InfraValidator with real SavedModels and pictures. What is held to what: test_checks.py."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts.infra_validation import read_validation
from components.infra_validator import probe
from components.infra_validator.component import InfraValidator
from components.infra_validator.limits import Limits
from components.infra_validator.validate import CALLS, read_pictures, validate
from components.segmentation_example_gen.executor import to_example
from components.segmentation_example_gen.images import ImageFile as Source
from components.segmentation_example_gen.pairs import Pair, Sample
from schema import features
from schema.labels import IGNORE_LABEL, LABELS_FILE
from trainer.common.counts import boundary_counts, confusion_matrix

CLASSES = 3
SIZES = ((40, 30), (40, 30), (17, 33), (25, 25))
"""Width and height of the pictures."""
AMPLE = Limits(300, 4000)


class ByBrightness(tf.Module):
    """A model that goes by a pixel's green: below a threshold, between two, above."""

    def __init__(self, factor: float = 3 / 256):
        super().__init__()
        self._factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, images):
        outputs = (tf.TensorSpec([], tf.string), tf.TensorSpec([CLASSES], tf.int64))
        mask, class_pixels = tf.map_fn(self._served, images, fn_output_signature=outputs)
        return {features.MASK: mask, features.CLASS_PIXELS: class_pixels}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve_rest(self, images):
        served = self.serve(images)
        return {features.MASK_BYTES: served[features.MASK], features.CLASS_PIXELS: served[features.CLASS_PIXELS]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve_examples(self, examples):
        return self.serve(_parsed(examples, features.IMAGE_ENCODED))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def segment(self, image):
        return {features.MASK: self._mask(image)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def confusion(self, examples):
        matrices, boundaries = tf.map_fn(
            lambda pair: self._counts(*pair),
            (_parsed(examples, features.IMAGE_ENCODED), _parsed(examples, features.LABEL_ENCODED)),
            fn_output_signature=(tf.TensorSpec([CLASSES, CLASSES], tf.int64), tf.TensorSpec([CLASSES, 7], tf.int64)),
        )
        return {features.CONFUSION_MATRIX: matrices, features.BOUNDARY_COUNTS: boundaries}

    def _mask(self, image):
        return tf.cast(tf.cast(image[..., 1], tf.float32) * self._factor, tf.int32)

    def _served(self, encoded):
        mask = self._mask(tf.io.decode_image(encoded, channels=3, expand_animations=False))
        counts = tf.math.bincount(tf.reshape(mask, [-1]), minlength=CLASSES, maxlength=CLASSES, dtype=tf.int64)
        return tf.io.encode_png(tf.cast(mask, tf.uint8)[..., tf.newaxis]), counts

    def _counts(self, encoded, encoded_label):
        mask = self._mask(tf.io.decode_image(encoded, channels=3, expand_animations=False))
        label = tf.cast(tf.io.decode_png(encoded_label, channels=1)[..., 0], tf.int32)
        return confusion_matrix(label, mask, CLASSES), boundary_counts(label, mask, CLASSES)


def _parsed(examples, key):
    return tf.io.parse_example(examples, {key: tf.io.FixedLenFeature([], tf.string)})[key]


@pytest.fixture(scope="module")
def examples(tmp_path_factory, labels):
    """An eval split of pictures of noise, as an artifact."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["eval"])
    Path(artifact.uri, "Split-eval").mkdir()
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(f"{artifact.uri}/Split-eval/data-00000-of-00001") as writer:
        for number, (width, height) in enumerate(SIZES):
            encoded = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(encoded, "PNG")
            mask = random.integers(0, CLASSES, (height, width)).astype(np.uint8)
            mask[:3] = IGNORE_LABEL
            sample = Sample(Source(encoded.getvalue(), "png", width, height, 3), mask)
            writer.write(to_example(Pair(str(number), f"{number}.png", None), sample, labels).SerializeToString())
    return artifact


@pytest.fixture(scope="module")
def pictures(examples):
    return read_pictures(artifact_utils.get_split_uris([examples], "eval"), 8)


@pytest.fixture(scope="module")
def save(tmp_path_factory, labels):
    """Writes a model; returns its artifact."""

    def run(module=None, without=()):
        module = module or ByBrightness()
        artifact = standard_artifacts.Model()
        artifact.uri = str(tmp_path_factory.mktemp("model"))
        folder = Path(artifact.uri, "Format-Serving")
        signatures = {
            features.SERVING_SIGNATURE: module.serve,
            features.REST_SIGNATURE: module.serve_rest,
            features.EXAMPLES_SIGNATURE: module.serve_examples,
            features.SEGMENT_SIGNATURE: module.segment,
            features.CONFUSION_SIGNATURE: module.confusion,
        }
        kept = {name: function for name, function in signatures.items() if name not in without}
        tf.saved_model.save(module, str(folder), signatures=kept)
        (folder / LABELS_FILE).parent.mkdir(exist_ok=True)
        (folder / LABELS_FILE).write_text(labels.model_dump_json())
        return artifact

    return run


@pytest.fixture(scope="module")
def model(save):
    return save()


def served(artifact) -> str:
    return f"{artifact.uri}/Format-Serving"


def run(model, examples, folder: Path, **parameters: int):
    """Runs the executor."""
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(folder)
    limits = {"pictures": 8, "max_memory_mib": 4000, "max_seconds": 300}
    executor = InfraValidator.EXECUTOR_SPEC.executor_class()
    executor.Do({"model": [model], "examples": [examples]}, {"blessing": [blessing]}, {**limits, **parameters})
    return blessing, read_validation(blessing.uri)


def test_a_good_model_is_blessed(model, examples, tmp_path):
    blessing, validation = run(model, examples, tmp_path)
    assert validation.reason is None
    assert validation.blessed
    assert blessing.get_int_custom_property("blessed") == 1
    assert (tmp_path / "INFRA_BLESSED").exists()
    assert validation.pictures == 4
    assert set(validation.seconds) == {"load", "serving_default", "rest", "examples", "segment", "confusion"}
    assert 100 < validation.peak_memory_mib < 4000
    assert "every signature answers for 4 pictures" in validation.sentence


def test_a_model_that_takes_too_much_memory_is_not(model, examples, tmp_path):
    blessing, validation = run(model, examples, tmp_path, max_memory_mib=50)
    assert not validation.blessed
    assert validation.reason.startswith("importing TensorFlow: it took ")
    assert "more than the 50 MiB of infra_validation.max_memory_mib" in validation.sentence
    assert blessing.get_int_custom_property("blessed") == 0
    assert (tmp_path / "INFRA_NOT_BLESSED").exists()


@pytest.fixture
def program(tmp_path):
    """Writes a program that does this in the probe's place, while it calls a signature."""

    def write(code: str) -> Path:
        file = tmp_path / "program.py"
        stage = f"open(sys.argv[1] + '/{probe.STAGE_FILE}', 'w').write('calling the signature segment')"
        file.write_text(f"import os, sys, time\n{stage}\n{code}\n")
        return file

    return write


def test_a_model_that_crashes_is_not(model, pictures, program):
    validation = validate(served(model), pictures, AMPLE, program("os.abort()"))
    assert not validation.blessed
    assert validation.reason == "calling the signature segment ended the process with signal SIGABRT"


def test_a_model_that_hangs_is_not(model, pictures, program):
    validation = validate(served(model), pictures, Limits(1, 4000), program("time.sleep(600)"))
    assert not validation.blessed
    assert validation.reason == (
        "calling the signature segment: it took more than the 1 s of infra_validation.max_seconds"
    )


def test_a_model_that_does_not_say_what_its_classes_are_is_not(pictures, tmp_path):
    validation = validate(str(tmp_path), pictures, AMPLE)
    assert not validation.blessed
    assert "assets.extra/labels.json is missing or damaged" in validation.reason


@pytest.fixture
def report_on(pictures, tmp_path):
    """What the probe says of a model, in this process, which has TensorFlow already."""

    def run(model) -> dict:
        request = {"model": served(model), "pictures": len(pictures), "calls": CALLS}
        (tmp_path / probe.REQUEST_FILE).write_text(json.dumps(request))
        for index, picture in enumerate(pictures):
            (tmp_path / f"{index}.image").write_bytes(picture.encoded)
            (tmp_path / f"{index}.example").write_bytes(picture.serialised)
        report = {"problem": None, "seconds": {}}
        probe._call_all(tmp_path, report)
        return report

    return run


def test_a_signature_that_is_missing(save, report_on):
    assert report_on(save(without=["segment"]))["problem"] == (
        "the model has no signature segment; it has confusion, examples, rest, serving_default"
    )


def test_weights_that_are_no_numbers(save, report_on):
    problem = report_on(save(ByBrightness(float("nan"))))["problem"]
    assert problem == "the model has weights that are no finite numbers: Variable:0"


def test_nothing_of_ours_is_there(tmp_path):
    """Where this project is installed, it could be imported even by an isolated Python."""
    code = f"import pathlib, runpy; main = runpy.run_path({probe.__file__!r})['main']; main(pathlib.Path('.'))"
    command = [sys.executable, "-I", "-c", f"{code}\nimport trainer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "import of trainer halted" in done.stderr
    assert json.loads((tmp_path / probe.REPORT_FILE).read_text())["problem"].startswith("reading the request failed")


def test_pictures_of_different_sizes_come_first(examples):
    folders = artifact_utils.get_split_uris([examples], "eval")
    assert [picture.id for picture in read_pictures(folders, 3)] == ["0", "2", "3"]
    assert [picture.id for picture in read_pictures(folders, 8)] == ["0", "2", "3", "1"]


def test_a_split_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="the split 'eval' has no pictures"):
        read_pictures([str(tmp_path)], 8)
