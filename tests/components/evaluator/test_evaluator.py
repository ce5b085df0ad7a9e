"""The Evaluator on real pictures, with models whose predictions are known: the label, some pixels to the side."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import json_utils, proto_utils

from components.artifacts.evaluation import NO_THRESHOLDS, read_evaluation, read_pictures
from components.evaluator.executor import Executor
from components.evaluator.inputs import CannotEvaluateError
from components.segmentation_example_gen import executor as example_gen
from components.segmentation_example_gen.sources.voc import VocData
from pipeline.config.sections import Eval
from pipeline.eval_config import eval_config
from schema import features
from schema.labels import IGNORE_LABEL, LABELS_FILE, VOC2012, Labels
from trainer.common.counts import boundary_counts, confusion_matrix
from trainer.common.metrics import iou_per_class, mean_iou, metric_names
from trainer.data.preprocessing import decode_label

CLASSES = len(VOC2012.names)


class Shifted(tf.Module):
    """A model that predicts the label, moved to the right."""

    def __init__(self, pixels: int, classes: int = CLASSES):
        super().__init__()
        self._pixels = pixels
        self._classes = classes

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def confusion(self, examples):
        encoded = tf.io.parse_example(examples, {features.LABEL_ENCODED: tf.io.FixedLenFeature([], tf.string)})
        matrices, boundary = tf.map_fn(
            self._counts,
            encoded[features.LABEL_ENCODED],
            fn_output_signature=(
                tf.TensorSpec([self._classes, self._classes], tf.int64),
                tf.TensorSpec([self._classes, 7], tf.int64),
            ),
        )
        return {features.CONFUSION_MATRIX: matrices, features.BOUNDARY_COUNTS: boundary}

    def _counts(self, encoded):
        label = tf.cast(decode_label(encoded), tf.int32)
        prediction = tf.roll(tf.where(label == IGNORE_LABEL, 0, label), self._pixels, axis=1)
        return (
            confusion_matrix(label, prediction, self._classes),
            boundary_counts(label, prediction, self._classes),
        )


@pytest.fixture(scope="module")
def examples(devkit_root, tmp_path_factory):
    """The generated devkit's eval split, as an artifact."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["eval"])
    folder = Path(artifact.uri, "Split-eval")
    folder.mkdir()
    for shard in example_gen.split_into_shards(
        VocData().list_split(str(devkit_root), "eval").pairs, "eval", str(folder)
    ):
        assert list(example_gen.write_shard(shard, VOC2012)) == []
    return artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Callable:
    """Makes an artifact in a folder of its own."""

    def make(kind, name: str):
        made = kind()
        made.uri = str(tmp_path_factory.mktemp(name))
        return made

    return make


@pytest.fixture(scope="module")
def model(artifact) -> Callable:
    """Makes a Model artifact."""

    def make(name: str, pixels: int, labels: Labels = VOC2012):
        made = artifact(standard_artifacts.Model, name)
        made.id = len(name)
        folder = Path(made.uri, "Format-Serving")
        module = Shifted(pixels, len(labels.classes))
        tf.saved_model.save(module, str(folder), signatures={features.CONFUSION_SIGNATURE: module.confusion})
        (folder / LABELS_FILE).parent.mkdir(exist_ok=True)
        (folder / LABELS_FILE).write_text(labels.model_dump_json())
        return made

    return make


@pytest.fixture(scope="module")
def judge(artifact, examples) -> Callable:
    """Runs the executor; returns the evaluation and the blessing."""

    def run(candidate, baseline=None, gate: Eval | None = None, labels: Labels = VOC2012, examples=examples):
        gate = gate or Eval()
        evaluation = artifact(standard_artifacts.ModelEvaluation, f"evaluation-{candidate.id}")
        blessing = artifact(standard_artifacts.ModelBlessing, f"blessing-{candidate.id}")
        before = {} if gate.baseline == "none" else {"baseline_model": [baseline] if baseline is not None else []}
        Executor().Do(
            {"examples": [examples], "model": [candidate], **before},
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "eval_config": proto_utils.proto_to_json(eval_config(gate, labels)),
                "example_splits": json_utils.dumps(["eval"]),
            },
        )
        return read_evaluation(evaluation.uri), blessing, evaluation.uri

    return run


@pytest.fixture(scope="module")
def five_off(model, judge):
    """The evaluation, blessing and folder of a first model whose predictions are five pixels off."""
    return judge(model("five_off", 5), gate=Eval(confidence_intervals="jackknife"))


def masks(examples) -> list[tuple[str, np.ndarray]]:
    found = []
    for file in Path(examples.uri, "Split-eval").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            png = feature[features.LABEL_ENCODED].bytes_list.value[0]
            picture_id = feature[features.IMAGE_SOURCE_ID].bytes_list.value[0].decode()
            found.append((picture_id, np.asarray(Image.open(io.BytesIO(png))).astype(int)))
    return sorted(found)


def plain_matrix(label: np.ndarray, pixels: int) -> np.ndarray:
    prediction = np.roll(np.where(label == IGNORE_LABEL, 0, label), pixels, axis=1)
    matrix = np.zeros((CLASSES, CLASSES), int)
    valid = label != IGNORE_LABEL
    np.add.at(matrix, (label[valid], prediction[valid]), 1)
    return matrix


def test_the_numbers_are_those_of_a_plain_count(five_off, examples):
    evaluation, _, folder = five_off
    expected = {picture_id: plain_matrix(label, 5) for picture_id, label in masks(examples)}
    total = sum(expected.values())
    np.testing.assert_array_equal(evaluation.candidate.confusion_matrix, total)
    hits, union = np.diag(total), total.sum(0) + total.sum(1) - np.diag(total)
    assert evaluation.mean_iou == mean_iou(total) == (hits[union > 0] / union[union > 0]).mean()
    for name, iou in zip(VOC2012.names, iou_per_class(total).tolist(), strict=True):
        assert evaluation.candidate.overall.iou(name) == (None if np.isnan(iou) else iou)
    assert evaluation.candidate.overall.pictures == len(expected)
    pictures = list(read_pictures(folder))
    assert [picture.id for picture in pictures] == sorted(expected)
    for picture in pictures:
        assert picture.mean_iou == mean_iou(expected[picture.id])


def test_mean_iou_is_that_of_keras(five_off, examples):
    evaluation, _, _ = five_off
    metric = keras.metrics.MeanIoU(CLASSES, ignore_class=IGNORE_LABEL)
    for _, label in masks(examples):
        metric.update_state(label, np.roll(np.where(label == IGNORE_LABEL, 0, label), 5, axis=1))
    assert evaluation.mean_iou == pytest.approx(float(metric.result()), abs=1e-6)


def test_the_first_model_needs_no_comparison(five_off):
    evaluation, blessing, _ = five_off
    assert evaluation.blessed
    assert evaluation.baseline is None
    assert evaluation.not_compared == "there was no good model before"
    assert evaluation.reasons == ()
    assert blessing.get_int_custom_property("blessed") == 1
    assert Path(blessing.uri, "BLESSED").exists()


def test_the_first_model_meets_a_change_that_is_asked_for(five_off):
    evaluation, _, _ = five_off
    floor, change = evaluation.checks
    assert (floor.is_change, change.is_change) == (False, True)
    assert change.passed
    assert "has nothing to be compared with, so eval.min_mean_iou_change asks for nothing" in change.sentence


def test_a_change_alone_is_a_threshold(model, judge):
    evaluation, _, _ = judge(model("alone", 1), gate=Eval(min_mean_iou=None))
    assert evaluation.blessed


def test_a_floor_is_for_all_pictures_together(model, judge, five_off):
    """Some slices are below it, and that is not what was asked."""
    evaluation, _, _ = five_off
    worst = min(part.scores.mean_iou for part in evaluation.candidate.slices)
    floor = (worst + evaluation.mean_iou) / 2
    evaluation, _, _ = judge(model("floored", 5), gate=Eval(min_mean_iou=floor, min_iou={"background": floor}))
    assert worst < floor < evaluation.mean_iou
    assert evaluation.blessed


def test_a_worse_model_is_refused_with_the_reason(model, judge):
    better, worse = model("better", 1), model("the worse", 9)
    evaluation, blessing, _ = judge(worse, better)
    assert not evaluation.blessed
    (reason,) = evaluation.reasons
    assert f"mean IoU {evaluation.mean_iou:.4f} differs by -" in reason
    assert f"from the {evaluation.baseline_mean_iou:.4f} of {better.uri};" in reason
    assert "eval.min_mean_iou_change asks for at least +0" in reason
    assert evaluation.baseline.uri == better.uri
    assert evaluation.baseline_mean_iou > evaluation.mean_iou
    assert blessing.get_int_custom_property("blessed") == 0
    assert Path(blessing.uri, "NOT_BLESSED").exists()
    assert blessing.get_string_custom_property("baseline_model") == better.uri


def test_a_better_model_is_blessed(model, judge):
    evaluation, _, folder = judge(model("the candidate", 1), model("before", 9))
    assert evaluation.blessed
    assert [check.passed for check in evaluation.checks] == [True, True]
    pictures = list(read_pictures(folder))
    assert pictures
    assert all(picture.baseline_mean_iou < picture.mean_iou for picture in pictures)


def test_floors_of_classes_and_slices(model, judge, five_off):
    evaluation, _, _ = five_off
    worst = min(
        (name for name in VOC2012.names if evaluation.candidate.overall.iou(name) is not None),
        key=evaluation.candidate.overall.iou,
    )
    gate = Eval(
        min_mean_iou=None,
        min_mean_iou_change=None,
        min_iou={worst: 0.99},
        min_slice_mean_iou={"picture_size": {"small": 0.99, "large": 0.1}},
    )
    evaluation, _, _ = judge(model("floors", 9), gate=gate)
    assert not evaluation.blessed
    floor, small, large = sorted(evaluation.checks, key=lambda check: (check.slice is not None, check.wanted != 0.99))
    assert floor.sentence.startswith(f"IoU of {worst} {floor.value:.4f} is below the floor eval.min_iou.{worst} 0.99")
    assert small.slice == ("picture_size", "small")
    assert "on the slice picture_size small" in small.sentence
    assert large.sentence == (
        "mean IoU on the slice picture_size large cannot be told, no picture is in it; "
        "eval.min_slice_mean_iou.picture_size.large asks for 0.1"
    )
    assert not any(check.passed for check in evaluation.checks)


def test_a_slice_s_numbers_are_those_of_its_pictures(five_off, examples):
    evaluation, _, _ = five_off
    found = {(part.feature, part.value): part.scores for part in evaluation.candidate.slices}
    for index, name in enumerate(VOC2012.names):
        inside = [plain_matrix(label, 5) for _, label in masks(examples) if (label == index).any()]
        if not inside:
            assert ("class", name) not in found
            continue
        assert found["class", name].pictures == len(inside)
        assert found["class", name].mean_iou == mean_iou(sum(inside))
    assert {feature for feature, _ in found} == {"class", "object_size", "class_count", "picture_size"}


def test_without_thresholds_nothing_is_blessed(model, judge):
    evaluation, blessing, _ = judge(model("candidate", 0), gate=Eval(min_mean_iou=None, min_mean_iou_change=None))
    assert evaluation.mean_iou > 0.9
    assert not evaluation.blessed
    assert evaluation.reasons == (NO_THRESHOLDS,)
    assert blessing.get_int_custom_property("blessed") == 0


def test_where_none_is_to_be_compared_a_change_asks_for_nothing(model, judge):
    evaluation, _, _ = judge(model("candidate", 0), gate=Eval(baseline="none"))
    assert evaluation.blessed
    assert evaluation.not_compared == "eval.baseline is none"
    assert [check.key for check in evaluation.checks] == ["eval.min_mean_iou"]
    evaluation, _, _ = judge(model("candidate", 0), gate=Eval(baseline="none", min_mean_iou=None))
    assert not evaluation.blessed
    assert evaluation.reasons == (NO_THRESHOLDS,)


def test_confidence_intervals_hold_the_value(five_off):
    evaluation, _, _ = five_off
    low, high = evaluation.candidate.overall.intervals["mean_iou"]
    assert low <= evaluation.mean_iou <= high
    assert low < high


def test_what_tfma_says_of_intervals_is_no_metric(five_off):
    """Of a slice with one picture there is no interval, and TFMA says so among its metrics."""
    evaluation, _, _ = five_off
    slices = {part.scores.pictures: part.scores for part in evaluation.candidate.slices}
    assert slices[1].intervals == {}
    for scores in (evaluation.candidate.overall, *slices.values()):
        assert set(scores.metrics) == set(metric_names(VOC2012.names))


def test_a_slice_whose_values_are_numbers_can_have_a_floor(model, judge, five_off):
    (part, *_) = (part for part in five_off[0].candidate.slices if part.feature == "class_count")
    gate = Eval(min_slice_mean_iou={"class_count": {part.value: 0.999}})
    evaluation, _, _ = judge(model("counted", 5), gate=gate)
    (reason,) = evaluation.reasons
    assert f"mean IoU on the slice class_count {part.value} {part.scores.mean_iou:.4f} is below the floor" in reason


def test_a_baseline_of_an_earlier_version_is_compared_with_none_and_a_change_asks_for_nothing(model, judge):
    baseline = model("before", 1)

    class Earlier(Shifted):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def confusion(self, examples):
            return {features.CONFUSION_MATRIX: super().confusion(examples)[features.CONFUSION_MATRIX]}

    module = Earlier(1)
    folder = f"{baseline.uri}/Format-Serving"
    tf.saved_model.save(module, folder, signatures={features.CONFUSION_SIGNATURE: module.confusion})
    evaluation, _, _ = judge(model("the candidate", 9), baseline)
    assert evaluation.baseline is None
    assert evaluation.not_compared == "the last good model was made by an earlier version and cannot be judged"
    assert evaluation.blessed
    assert any("so eval.min_mean_iou_change asks for nothing" in check.sentence for check in evaluation.checks)
    with pytest.raises(CannotEvaluateError, match="does not return 'boundary_counts'; an earlier version made it"):
        judge(baseline)


def test_a_model_of_other_classes_is_compared_with_none(model, judge):
    others = Labels.model_validate({"classes": ["background", "cat", "dog"]})
    evaluation, _, _ = judge(model("the candidate", 1), model("before", 1, others))
    assert evaluation.baseline is None
    assert evaluation.not_compared == "the last good model is for 3 other classes"


def test_a_model_of_other_classes_is_not_judged(model, judge):
    others = Labels.model_validate({"classes": ["background", "cat", "dog"]})
    with pytest.raises(CannotEvaluateError, match="is for 3 classes, and 21 are judged"):
        judge(model("candidate", 1, others))


def test_a_model_without_the_signature_is_named(model, judge):
    candidate = model("candidate", 1)
    module = Shifted(1)
    tf.saved_model.save(module, f"{candidate.uri}/Format-Serving", signatures={"serve": module.confusion})
    with pytest.raises(CannotEvaluateError, match=r"the new model: .* has no signature 'confusion'.* only serve"):
        judge(candidate)


def test_a_baseline_that_is_gone_is_named(model, judge):
    baseline = model("before", 1)
    Path(baseline.uri, "Format-Serving", "saved_model.pb").unlink()
    with pytest.raises(CannotEvaluateError, match="the model to compare with: there is no SavedModel"):
        judge(model("the candidate", 1), baseline)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"no table")])
def test_a_baseline_whose_variables_are_damaged_is_named(model, judge, damage):
    baseline = model("before", 1)
    damage(Path(baseline.uri, "Format-Serving", "variables", "variables.index"))
    with pytest.raises(CannotEvaluateError, match=r"the model to compare with: the variables .* missing or damaged"):
        judge(model("the candidate", 1), baseline)


@pytest.fixture
def split_of(artifact) -> Callable:
    """Makes an Examples artifact whose eval split has these records."""

    def make(records: list[bytes]):
        made = artifact(standard_artifacts.Examples, "examples")
        made.split_names = artifact_utils.encode_split_names(["eval"])
        folder = Path(made.uri, "Split-eval")
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "data")) as writer:
            for record in records:
                writer.write(record)
        return made

    return make


def test_a_split_without_labels_is_refused(model, judge, split_of):
    with pytest.raises(CannotEvaluateError, match="the split 'eval' has no labels"):
        judge(model("candidate", 1), examples=split_of([tf.train.Example().SerializeToString()]))


def test_a_split_without_pictures_is_refused(model, judge, split_of):
    with pytest.raises(CannotEvaluateError, match="the split 'eval' has no examples"):
        judge(model("candidate", 1), examples=split_of([]))


def test_a_picture_that_cannot_be_judged_is_named_and_nothing_is_blessed(artifact, model, examples, split_of):
    files = sorted(map(str, Path(examples.uri, "Split-eval").iterdir()))
    records = [record.numpy() for record in tf.data.TFRecordDataset(files)]
    damaged = tf.train.Example.FromString(records[1])
    (label,) = damaged.features.feature[features.LABEL_ENCODED].bytes_list.value
    damaged.features.feature[features.LABEL_ENCODED].bytes_list.value[:] = [label[: len(label) // 2]]
    (name,) = damaged.features.feature[features.IMAGE_SOURCE_ID].bytes_list.value
    blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    with pytest.raises(CannotEvaluateError, match=f"^{name.decode()}: Invalid PNG data"):
        Executor().Do(
            {
                "examples": [split_of([records[0], damaged.SerializeToString(), *records[2:]])],
                "model": [model("candidate", 1)],
                "baseline_model": [],
            },
            {"evaluation": [artifact(standard_artifacts.ModelEvaluation, "evaluation")], "blessing": [blessing]},
            {
                "eval_config": proto_utils.proto_to_json(eval_config(Eval(), VOC2012)),
                "example_splits": json_utils.dumps(["eval"]),
            },
        )
    assert list(Path(blessing.uri).iterdir()) == []
    assert not blessing.has_custom_property("blessed")


def test_the_evaluation_is_json_without_tfma(five_off):
    _, _, folder = five_off
    told = json.loads(Path(folder, "evaluation.json").read_text())
    assert told["blessed"] is True
    assert told["reasons"] == []
    assert told["candidate"]["overall"]["metrics"]["iou/background"] > 0.5
