"""Report's executor reads what the other steps have left."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tfx  # noqa: F401  TFDV cannot be imported without it
from made_evaluation import exports_of
from PIL import Image
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.artifacts.anomalies import ANOMALIES_FILE, find_anomalies
from components.artifacts.evaluation import (
    EVALUATION_FILE,
    PICTURES_FILE,
    Evaluation,
    ModelEvaluation,
    PictureScores,
    Scores,
)
from components.artifacts.exports import write_exports
from components.artifacts.infra_validation import VALIDATION_FILE, InfraValidationResult
from components.artifacts.measurements import Measurement, mark
from components.artifacts.statistics import STATISTICS_FILE
from components.artifacts.types import ExportedModels, RunReport
from components.curated_schema.schema import schema_for
from components.report.component import Report
from components.segmentation_example_gen.executor import to_example
from components.segmentation_example_gen.images import ImageFile
from components.segmentation_example_gen.pairs import Pair, Sample
from schema.labels import Labels
from trainer.common.metrics import metric_names
from trainer.common.training_history import EFFECTIVE_FILE, HISTORY, TrainingHistory
from trainer.common.training_history import ValidationResult as TrainingEvaluation

LABELS = Labels.model_validate({"classes": ["background", "cat", "dog"]})
CAT, DOG = 1, 2


class AllCats(tf.Module):
    """A model that sees nothing but cats."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def serve(self, images):
        size = tf.shape(tf.io.decode_jpeg(images[0]))[:2]
        return {"mask": tf.io.encode_png(tf.ones([*tf.unstack(size), 1], tf.uint8))[tf.newaxis]}


def jpeg() -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(encoded, "JPEG")
    return encoded.getvalue()


@pytest.fixture
def inputs(artifact, masks, statistics_of) -> dict[str, list]:
    """What the steps leave: three pictures of the eval split, of which one was not judged."""
    examples = artifact(standard_artifacts.Examples, "examples")
    examples.split_names = artifact_utils.encode_split_names(["eval"])
    examples.set_string_custom_property("spans", "7")
    folder = Path(examples.uri, "Split-eval")
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.tfrecord")) as writer:
        for number, mask in enumerate(masks([CAT, DOG, DOG])):
            sample = Sample(ImageFile(jpeg(), "jpeg", 8, 6, 3), mask)
            writer.write(to_example(Pair(f"p{number}", f"p{number}.jpg", None), sample, LABELS).SerializeToString())

    statistics = artifact(standard_artifacts.ExampleStatistics, "statistics")
    anomalies = artifact(standard_artifacts.ExampleAnomalies, "anomalies")
    computed = statistics_of(masks([CAT, DOG, DOG]))
    for made in (statistics, anomalies):
        made.split_names = artifact_utils.encode_split_names(["eval"])
        Path(made.uri, "Split-eval").mkdir()
    Path(statistics.uri, "Split-eval", STATISTICS_FILE).write_bytes(computed.SerializeToString())
    found = find_anomalies({"eval": computed}, None, schema_for(LABELS))["eval"]
    Path(anomalies.uri, "Split-eval", ANOMALIES_FILE).write_bytes(found.SerializeToString())

    model = artifact(standard_artifacts.Model, "model")
    module = AllCats()
    tf.saved_model.save(module, str(Path(model.uri, "Format-Serving")), {"serving_default": module.serve})
    mark([model], Measurement(step="Trainer", seconds=61.5, peak_memory=3 * 2**30))
    model_run = artifact(standard_artifacts.ModelRun, "model_run")
    training = {"settings": {"train": {"init_from": ["imagenet"]}}, "steps": 7, "versions": {"tensorflow": "9.9"}}
    io_utils.write_string_file(f"{model_run.uri}/{EFFECTIVE_FILE}", json.dumps(training))
    history = TrainingHistory().with_evaluation(TrainingEvaluation(7, 0.25, (None,) * 3, 1.5, 0.01, 2.0))
    io_utils.write_string_file(f"{model_run.uri}/{HISTORY}", history.to_json())

    evaluation = artifact(standard_artifacts.ModelEvaluation, "evaluation")
    metrics = dict.fromkeys(metric_names(LABELS.names), 0.5)
    judged = ModelEvaluation(
        uri=model.uri, overall=Scores(pictures=2, metrics=metrics), confusion_matrix=((5, 1, 0), (0, 3, 0), (0, 2, 0))
    )
    document = Evaluation(
        class_names=LABELS.names,
        candidate=judged,
        baseline=None,
        not_compared="it is the first",
        blessed=False,
        checks=(),
    )
    Path(evaluation.uri, EVALUATION_FILE).write_text(document.model_dump_json())
    scores = [
        PictureScores(id=f"p{number}", mean_iou=0.1 + number, pixel_accuracy=0.5, iou={"cat": 0.5}) for number in (0, 1)
    ]
    Path(evaluation.uri, PICTURES_FILE).write_text("".join(f"{each.model_dump_json()}\n" for each in scores))
    infra_blessing = artifact(standard_artifacts.InfraBlessing, "infra_blessing")
    refused = InfraValidationResult(blessed=False, reason="it hangs", pictures=2)
    Path(infra_blessing.uri, VALIDATION_FILE).write_text(refused.model_dump_json())
    return {
        "examples": [examples],
        "statistics": [statistics],
        "anomalies": [anomalies],
        "transform_graph": [artifact(standard_artifacts.TransformGraph, "transform_graph")],
        "model": [model],
        "model_run": [model_run],
        "evaluation": [evaluation],
        "infra_blessing": [infra_blessing],
    }


@pytest.fixture
def draw(artifact):
    """Runs the executor and gives the page."""

    def run(inputs):
        report = artifact(RunReport, "report")
        configuration = json.dumps({"name": "cats", "hps": {"steps": 7}})
        properties = {"configuration_json": configuration, "labels_json": LABELS.model_dump_json()}
        Report.EXECUTOR_SPEC.executor_class().Do(inputs, {"report": [report]}, properties)
        return Path(report.uri, "index.html").read_text()

    return run


def test_all_that_the_steps_left_is_on_the_page(inputs, draw):
    html = draw(inputs)
    for said in (
        "<h1>cats: report</h1>",
        "no threshold is set",
        "it is the first",
        "<code>7</code>",
        "<code>imagenet</code>",
        "<dd>9.9</dd>",
        'Trainer</th><td class="number">61.5</td><td class="number">3,072 MiB</td>',
        '<tr><th scope="row">eval</th><td class="number">3</td>',
        "0.25 at step 7",
    ):
        assert said in html
    assert "Exports" not in html


def test_the_exports_are_on_the_page_if_there_are_any(inputs, draw, artifact):
    exports = artifact(ExportedModels, "exports")
    write_exports(exports.uri, exports_of())
    mark([exports], Measurement(step="ModelExport", seconds=20.5, peak_memory=2**30))
    html = draw({**inputs, "exports": [exports]})
    assert "litert_float16/model.tflite" in html
    assert 'ModelExport</th><td class="number">20.5</td>' in html


def test_judged_pictures_are_predicted_by_the_model(inputs, draw):
    html = draw(inputs)
    assert html.count('class="stage"') == 2
    # All is a cat: of p0, whose 24 background and 12 cat pixels count, the background is wrong; of p1 everything is.
    assert "<code>p0</code>: mean IoU <strong>0.1000</strong>, 66.7% of the pixels wrong" in html
    assert "<code>p1</code>: mean IoU <strong>1.1000</strong>, 100.0% of the pixels wrong" in html


def test_a_picture_that_is_gone_costs_nothing_but_itself(inputs, draw, caplog):
    place = Path(inputs["evaluation"][0].uri, PICTURES_FILE)
    place.write_text(place.read_text().replace('"p1"', '"p9"'))
    assert draw(inputs).count('class="stage"') == 1
    assert "the report lacks pictures that are not in" in caplog.text
    assert "p9" in caplog.text


def test_a_training_without_evaluations_is_no_error(inputs, draw):
    Path(inputs["model_run"][0].uri, HISTORY).unlink()
    assert "Nothing was evaluated while the model was trained." in draw(inputs)
