"""Report draws what a run came to on a page."""

# TFX reads annotations as objects, so they are not postponed here.

import datetime
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from tfx import types
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import names
from components.artifacts.anomalies import read_anomalies, sentences
from components.artifacts.evaluation import Evaluation, read_evaluation
from components.artifacts.exports import read_exports
from components.artifacts.infra_validation import read_validation
from components.artifacts.measurements import Watch, measurements_on
from components.artifacts.statistics import read_statistics, split_numbers
from components.artifacts.types import ExportedModels, RunReport
from components.report.example_images import chosen_pictures, shown_pictures
from components.report.page import ReportData, report_page
from schema.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from schema.labels import Labels
from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE, HISTORY, TrainingHistory


@component
def Report(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    transform_graph: InputArtifact[standard_artifacts.TransformGraph],
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    configuration_json: Parameter[str],
    labels_json: Parameter[str],
    report: OutputArtifact[RunReport],
    exports: InputArtifact[ExportedModels] = None,
) -> None:
    """Draws a run on one page, `<report>/index.html`, whether the model is good enough or not.

    Args:
        examples: TFRecords; some pictures of the split `eval` are shown.
        statistics: the statistics of the data.
        anomalies: what the validator found.
        transform_graph: tells how long Transform took.
        model: predicts the pictures that are shown.
        model_run: tells how training went.
        evaluation: the evaluation of the model.
        infra_blessing: tells whether the model can be served.
        configuration_json: the configuration as JSON; `name` is the experiment's.
        labels_json: `schema.labels.Labels` as JSON, for the names and colors of the classes.
        report: the page.
        exports: the model in other formats, if there are any.

    Raises:
        EvaluationError: there is no evaluation.
    """
    labels = Labels.model_validate_json(labels_json)
    configuration = json.loads(configuration_json)
    found = read_evaluation(evaluation.uri)
    training = json.loads(_text(model_run, EFFECTIVE_FILE) or "{}")
    history = _text(model_run, HISTORY)
    by_split = read_statistics(statistics)
    # An output of each step whose time is told, in the order of the steps.
    steps = (examples, statistics, anomalies, transform_graph, model, evaluation, infra_blessing, exports)
    run = ReportData(
        name=configuration["name"],
        written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        evaluation=found,
        validation=read_validation(infra_blessing.uri),
        exports=read_exports(exports.uri) if exports else (),
        labels=labels,
        history=TrainingHistory.from_json(history) if history else TrainingHistory(),
        training=training,
        configuration=configuration,
        data={
            split: split_numbers(by_split[split], labels)
            for split in (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)
            if split in by_split
        },
        anomalies=sentences(read_anomalies(anomalies)),
        pictures=shown_pictures(
            chosen_pictures(evaluation.uri),
            artifact_utils.get_split_uri([examples], EVAL_SPLIT),
            path_utils.serving_model_path(model.uri),
            labels,
        ),
        lineage=_lineage(examples, found, training),
        versions=_versions(training),
        measurements=measurements_on(artifact for artifact in steps if artifact),
        run_id=Watch.run,
    )
    files.write_bytes(files.join(report.uri, names.PAGE_FILE), report_page(run).encode())


def _text(artifact: types.Artifact, file: str) -> str | None:
    """The contents of a file of an artifact; None if it has none."""
    try:
        return files.read_bytes(files.join(artifact.uri, file)).decode()
    except FileNotFoundError:
        return None


def _lineage(examples: types.Artifact, evaluation: Evaluation, training: Mapping[str, Any]) -> dict[str, str]:
    start = training.get("settings", {}).get("train", {}).get("init_from") or ["not known"]
    return {
        "Spans of the data": examples.get_string_custom_property(names.SPANS) or "the data have none",
        "Fingerprint of the data": examples.get_string_custom_property(names.FINGERPRINT) or "not known",
        "Training started from": start[0],
        "New model": evaluation.candidate.uri,
        "Compared with": evaluation.baseline.uri if evaluation.baseline else f"none, {evaluation.not_compared}",
    }


def _versions(training: Mapping[str, Any]) -> dict[str, str]:
    """TensorFlow and Keras are those that the model was trained with, which may have been an earlier run's."""
    trained = training.get("versions", {})
    return {
        "deeplab": version("deeplabv3plus-tfx"),
        "TensorFlow": trained.get("tensorflow") or version("tensorflow"),
        "Keras": trained.get("keras") or version("keras"),
        "TFX": version("tfx"),
        "Python": platform.python_version(),
    }
