"""Report's executor: what the other steps have left to a page."""

from __future__ import annotations

import datetime
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import names
from components.artifacts.anomalies import read_anomalies, sentences
from components.artifacts.evaluation import Evaluation, PictureScores, read_evaluation
from components.artifacts.exports import read_exports
from components.artifacts.infra_validation import read_validation
from components.artifacts.measurements import measurements_on
from components.artifacts.names import PAGE_FILE
from components.artifacts.statistics import read_statistics, split_numbers
from components.report.example_images import chosen_pictures, draw
from components.report.page import ReportData, Shown, report_page
from schema import features
from schema.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from schema.labels import Labels
from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE, HISTORY, TrainingHistory

LOGGER = logging.getLogger(__name__)

EXAMPLES = "examples"
STATISTICS = "statistics"
ANOMALIES = "anomalies"
TRANSFORM_GRAPH = "transform_graph"
MODEL = "model"
MODEL_RUN = "model_run"
EVALUATION = "evaluation"
INFRA_BLESSING = "infra_blessing"
EXPORTS = "exports"
CONFIGURATION = "configuration_json"
LABELS = "labels_json"
REPORT = "report"
STEPS = (EXAMPLES, STATISTICS, ANOMALIES, TRANSFORM_GRAPH, MODEL, EVALUATION, INFRA_BLESSING, EXPORTS)
"""An output of each step whose time is told, in the order of the steps."""


class Executor(base_executor.BaseExecutor):
    """Writes `<report>/index.html`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Draws the page.

        Raises:
            EvaluationError: there is no evaluation.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        given = {
            key: artifact_utils.get_single_instance(artifacts) for key, artifacts in input_dict.items() if artifacts
        }
        labels = Labels.model_validate_json(exec_properties[LABELS])
        configuration = json.loads(exec_properties[CONFIGURATION])
        evaluation = read_evaluation(given[EVALUATION].uri)
        training = json.loads(_text(given[MODEL_RUN], EFFECTIVE_FILE) or "{}")
        history = _text(given[MODEL_RUN], HISTORY)
        statistics = read_statistics([given[STATISTICS]]) or {}
        run = ReportData(
            name=configuration["name"],
            written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            evaluation=evaluation,
            validation=read_validation(given[INFRA_BLESSING].uri),
            exports=read_exports(given[EXPORTS].uri) if EXPORTS in given else (),
            labels=labels,
            history=TrainingHistory.from_json(history) if history else TrainingHistory(),
            training=training,
            configuration=configuration,
            data={
                split: split_numbers(statistics[split], labels)
                for split in (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)
                if split in statistics
            },
            anomalies=sentences(read_anomalies(given[ANOMALIES])),
            pictures=shown_pictures(
                chosen_pictures(given[EVALUATION].uri),
                artifact_utils.get_split_uri([given[EXAMPLES]], EVAL_SPLIT),
                path_utils.serving_model_path(given[MODEL].uri),
                labels,
            ),
            lineage=_lineage(given[EXAMPLES], evaluation, training),
            versions=_versions(training),
            measurements=measurements_on(given[key] for key in STEPS if key in given),
            run_id=(self._context and self._context.pipeline_run_id) or "",
        )
        place = files.join(artifact_utils.get_single_uri(output_dict[REPORT]), PAGE_FILE)
        files.write_bytes(place, report_page(run).encode())


def shown_pictures(
    chosen: Mapping[str, Sequence[PictureScores]], examples: str, model: str, labels: Labels
) -> dict[str, list[Shown]]:
    """Predicts pictures and draws them, one after another.

    Args:
        chosen: by kind; see `chosen_pictures`.
        examples: folder of the split's TFRecords.
        model: folder of the SavedModel.
        labels: the classes.
    """
    wanted = {scores.id for kind in chosen.values() for scores in kind}
    found = _examples(examples, wanted)
    if gone := wanted - set(found):
        LOGGER.warning("the report lacks pictures that are not in %s: %s", examples, ", ".join(sorted(gone)))
    if not found:
        return {}
    # The loaded model is kept, since its functions die with it.
    loaded = tf.saved_model.load(model)
    serve = loaded.signatures[features.SERVING_SIGNATURE]

    def shown(scores: PictureScores) -> Shown:
        picture, label = found[scores.id]
        answer = serve(images=tf.constant([picture]))
        return Shown(scores, draw(picture, label, answer[features.MASK].numpy()[0], labels))

    return {kind: [shown(scores) for scores in of_kind if scores.id in found] for kind, of_kind in chosen.items()}


def _examples(folder: str, ids: set[str]) -> dict[str, tuple[bytes, bytes]]:
    """Pictures and labels, encoded, by their ids; of several with the same id the first."""
    found: dict[str, tuple[bytes, bytes]] = {}
    records = tf.data.TFRecordDataset([files.join(folder, file) for file in sorted(files.list_files(folder))])
    for record in records.as_numpy_iterator() if ids else ():
        example = tf.train.Example.FromString(record).features.feature
        (picture_id,) = example[features.IMAGE_SOURCE_ID].bytes_list.value
        if (name := picture_id.decode()) in ids and name not in found:
            picture, label = (
                example[key].bytes_list.value[0] for key in (features.IMAGE_ENCODED, features.LABEL_ENCODED)
            )
            found[name] = picture, label
            if len(found) == len(ids):
                break
    return found


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
