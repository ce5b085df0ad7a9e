"""BulkInferrer with a small real model: the masks, what is refused, and models that may not be asked."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts.predictions import MASK_FILES, PROBLEMS_FILE
from components.artifacts.problems import DataError, Problem
from components.bulk_inferrer.component import PREDICTED, WITHOUT_MASK, BulkInferrer
from components.shared_model import SharedModel
from components.tf_example import to_tf_example
from schema import features
from schema.labels import LABELS_FILE, VOC2012
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.serving import signatures

NUM_CLASSES = 21


@pytest.fixture(scope="module")
def model(transformed, tmp_path_factory):
    """The Trainer's artifact, with a network of one convolution that uses all classes."""
    keras.utils.set_random_seed(0)
    images = keras.Input((65, 65, 3))
    logits = keras.layers.Conv2D(NUM_CLASSES, 3, padding="same", bias_initializer="random_normal")(images)
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path_factory.mktemp("model"))
    folder = f"{artifact.uri}/Format-Serving"
    signatures.save(keras.Model(images, logits), transformed.graph, MINUS_ONE_TO_ONE, VOC2012, folder)
    return artifact


def write_records(file: Path, records: list[bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
        for record in records:
            writer.write(record)


def examples_of(folder: Path, **splits: list[bytes]) -> standard_artifacts.Examples:
    """ExampleGen's artifact: each split in two files, one of them gzipped."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    for split, records in splits.items():
        write_records(folder / f"Split-{split}/data_tfrecord-00000-of-00002", records[:2])
        write_records(folder / f"Split-{split}/data_tfrecord-00001-of-00002.gz", records[2:])
    return artifact


def run(model, examples, result, splits=("eval",), **blessings) -> None:
    context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    given = {"model": [model], "examples": [examples], **{name: [blessing] for name, blessing in blessings.items()}}
    executor = BulkInferrer.EXECUTOR_SPEC.executor_class(context)
    executor.Do(given, {"inference_result": [result]}, {"splits": json.dumps(splits)})


def predictions(folder: str) -> dict[str, dict]:
    """The features of what was written, by the names of the pictures."""
    found = {}
    for file in Path(folder).glob(MASK_FILES):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            feature = dict(tf.train.Example.FromString(record).features.feature)
            name = only(feature[features.IMAGE_FILENAME].bytes_list).decode()
            assert name not in found
            found[name] = feature
    return found


def only(values):
    (value,) = values.value
    return value


def feature_of(record: bytes, key: str) -> bytes:
    return only(tf.train.Example.FromString(record).features.feature[key].bytes_list)


@pytest.fixture(scope="module")
def inferred(model, transformed, tmp_path_factory):
    """The result for a split of six pictures, beside another split that is not asked for."""
    examples = examples_of(
        tmp_path_factory.mktemp("examples"), train=transformed.records[6:], eval=transformed.records[:6]
    )
    result = standard_artifacts.InferenceResult()
    result.uri = str(tmp_path_factory.mktemp("result"))
    run(model, examples, result)
    return result


def test_the_masks_are_those_that_the_model_serves(inferred, model, transformed):
    records = transformed.records[:6]
    pictures = [feature_of(record, features.IMAGE_ENCODED) for record in records]
    loaded = tf.saved_model.load(f"{model.uri}/Format-Serving")
    served = loaded.signatures[features.SERVING_SIGNATURE](tf.constant(pictures))
    found = predictions(inferred.uri)
    assert len(found) == len(records)
    for record, mask, counts in zip(
        records, served[features.MASK].numpy(), served[features.CLASS_PIXELS].numpy(), strict=True
    ):
        feature = found[feature_of(record, features.IMAGE_FILENAME).decode()]
        assert only(feature[features.LABEL_ENCODED].bytes_list) == mask
        np.testing.assert_array_equal(feature[features.LABEL_PIXELS].int64_list.value, counts)


def test_a_record_has_the_standard_keys_and_not_the_picture(inferred, transformed):
    found = predictions(inferred.uri)
    sizes = set()
    for record in transformed.records[:6]:
        given = tf.train.Example.FromString(record).features.feature
        feature = found[feature_of(record, features.IMAGE_FILENAME).decode()]
        assert set(feature) == {
            "image/source_id",
            "image/filename",
            "image/height",
            "image/width",
            "image/segmentation/class/encoded",
            "image/segmentation/class/format",
            "image/segmentation/class/pixels",
        }
        for key in (features.IMAGE_SOURCE_ID, features.IMAGE_HEIGHT, features.IMAGE_WIDTH, features.LABEL_FORMAT):
            assert feature[key] == given[key]
        mask = np.asarray(Image.open(io.BytesIO(only(feature[features.LABEL_ENCODED].bytes_list))))
        assert mask.shape == tuple(only(given[key].int64_list) for key in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH))
        np.testing.assert_array_equal(
            feature[features.LABEL_PIXELS].int64_list.value, np.bincount(mask.ravel(), minlength=NUM_CLASSES)
        )
        sizes.add(mask.shape)
    assert len(sizes) > 1


def test_the_classes_lie_beside_the_masks(inferred, model):
    beside = Path(inferred.uri, "labels.json").read_bytes()
    assert beside == Path(model.uri, "Format-Serving", LABELS_FILE).read_bytes()
    assert Path(inferred.uri, PROBLEMS_FILE).read_bytes() == b""
    assert inferred.get_int_custom_property(PREDICTED) == 1


def test_what_the_model_refuses_is_named_and_stops_no_other(model, transformed, artifact, tmp_path, caplog):
    good, other, broken = transformed.records[:3]
    cut = tf.train.Example.FromString(broken)
    cut.features.feature[features.IMAGE_ENCODED].bytes_list.value[0] = b"\xff\xd8\xff cut"
    without = tf.train.Example.FromString(broken)
    del without.features.feature[features.IMAGE_ENCODED]
    records = [good, cut.SerializeToString(), without.SerializeToString(), b"\xff no example", other]
    examples = examples_of(tmp_path / "examples", eval=records)
    damaged = tmp_path / "examples/Split-eval/damaged"
    damaged.write_bytes((tmp_path / "examples/Split-eval/data_tfrecord-00000-of-00002").read_bytes()[:-3])
    result = artifact(standard_artifacts.InferenceResult, "result")
    run(model, examples, result)

    # The damaged file begins with a sound record, the same as the first of the other file.
    written = [
        feature_of(record, features.IMAGE_FILENAME)
        for file in Path(result.uri).glob(MASK_FILES)
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    ]
    assert sorted(written) == sorted(feature_of(record, features.IMAGE_FILENAME) for record in (good, good, other))
    folder, picture_id = damaged.parent, feature_of(broken, features.IMAGE_SOURCE_ID).decode()
    first, second = f"{folder}/data_tfrecord-00000-of-00002", f"{folder}/data_tfrecord-00001-of-00002.gz"
    lines = Path(result.uri, PROBLEMS_FILE).read_text().splitlines()
    found = {problem.where: problem for problem in (Problem(**json.loads(line)) for line in lines)}
    assert set(found) == {f"{first}, record 2", f"{second}, record 1", f"{second}, record 2", str(damaged)}
    reason = "found cut off after 7 bytes; wanted whole JPEGs or PNGs"
    assert found[f"{first}, record 2"].what == f"{picture_id}: {reason}"
    assert found[f"{first}, record 2"].pair == found[f"{second}, record 1"].pair == picture_id
    assert found[f"{second}, record 1"].what.startswith(f"{picture_id}: ")
    assert features.IMAGE_ENCODED in found[f"{second}, record 1"].what
    assert found[f"{second}, record 2"].what == "12 bytes that are no tf.Example"
    assert found[str(damaged)].what.startswith("cannot be read after 1 records")
    assert result.get_int_custom_property(WITHOUT_MASK) == len(lines) == 4
    assert "4 of the records or files have no masks" in caplog.text
    assert all(str(problem) in caplog.text for problem in found.values())


def test_where_nothing_can_be_predicted_the_step_fails(model, artifact, tmp_path):
    result = artifact(standard_artifacts.InferenceResult, "result")
    with pytest.raises(DataError, match=r"record 1: 12 bytes that are no tf\.Example"):
        run(model, examples_of(tmp_path / "examples", eval=[b"\xff no example"]), result)


def test_others_tfrecords_need_nothing_but_the_picture(model, transformed, artifact, tmp_path):
    encoded = feature_of(transformed.records[0], features.IMAGE_ENCODED)
    record = to_tf_example({features.IMAGE_ENCODED: encoded, features.IMAGE_FILENAME: b"theirs.jpg"})
    result = artifact(standard_artifacts.InferenceResult, "result")
    run(model, examples_of(tmp_path / "examples", test=[record.SerializeToString()]), result, splits=["test"])
    feature = predictions(result.uri)["theirs.jpg"]
    width, height = Image.open(io.BytesIO(encoded)).size
    assert only(feature[features.IMAGE_WIDTH].int64_list) == width
    assert only(feature[features.IMAGE_HEIGHT].int64_list) == height
    assert features.IMAGE_SOURCE_ID not in feature


@pytest.mark.parametrize(("blessed", "servable"), [(1, 1), (0, 1), (1, 0)])
def test_only_a_model_with_all_blessings_is_asked(model, transformed, artifact, tmp_path, caplog, blessed, servable):
    model_blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    model_blessing.set_int_custom_property("blessed", blessed)
    infra_blessing = artifact(standard_artifacts.InfraBlessing, "infra_blessing")
    infra_blessing.set_int_custom_property("blessed", servable)
    result = artifact(standard_artifacts.InferenceResult, "result")
    examples = examples_of(tmp_path / "examples", eval=transformed.records[:1])
    run(model, examples, result, model_blessing=model_blessing, infra_blessing=infra_blessing)
    asked = bool(blessed and servable)
    assert result.get_int_custom_property(PREDICTED) == asked
    assert len(predictions(result.uri)) == asked
    assert any(Path(result.uri).iterdir()) == asked
    assert ("no masks are predicted: the model is not blessed" in caplog.text) != asked


def test_a_process_loads_a_model_once(model):
    shared = SharedModel(f"{model.uri}/Format-Serving")
    loaded = shared.load()
    assert pickle.loads(pickle.dumps(shared)).load() is loaded
