"""Pusher puts a blessed model, with its card, into a folder or an object store."""

# TFX reads annotations as objects, so they are not postponed here.

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.artifacts.evaluation import read_evaluation
from components.artifacts.exports import PUSHED_FOLDER, ExportedModel, read_exports
from components.artifacts.statistics import read_statistics
from components.artifacts.types import ExportedModels, all_blessed
from components.pusher.model_card import CARD_JSON, CARD_MARKDOWN, CardFacts, as_markdown, model_card
from components.pusher.versions import PUSHED_DESTINATION, push
from schema.labels import Labels, read_labels
from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE


@component
def Pusher(
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    destination: Parameter[str],
    card_facts: Parameter[str],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing] = None,
    exports: InputArtifact[ExportedModels] = None,
    keep_versions: Parameter[int] = None,
) -> None:
    """Makes a model the newest version in the destination if every blessing is positive: see `versions.push`.

    TFX's Pusher writes with TensorFlow's file systems, which know neither S3 nor Kubeflow's minio://, and has no model
    card.

    Args:
        model: the model that is pushed.
        model_blessing: the Evaluator's blessing.
        evaluation: the evaluation, for the card.
        statistics: the statistics of the data, for the card.
        model_run: how training went, for the card.
        destination: path or URI of the folder of versions.
        card_facts: `model_card.CardFacts` as JSON.
        pushed_model: a copy of what was pushed, unless it went to an object store.
        infra_blessing: the InfraValidator's blessing.
        exports: the model in other formats, which go with it.
        keep_versions: how many of the newest versions stay; all by default.

    Raises:
        PushError: the destination cannot be written; the versions there are as they were.
    """
    blessed = all_blessed(model_blessing, infra_blessing)
    pushed_model.set_int_custom_property("pushed", int(blessed))
    if not blessed:
        return
    serving = path_utils.serving_model_dir(model.uri)
    exported = read_exports(exports.uri) if exports else ()
    card = _card(serving, evaluation, statistics, model_run, CardFacts.model_validate_json(card_facts), exported)
    with tempfile.TemporaryDirectory() as temporary:
        folder = _with_card(serving, card, Path(temporary, "model"))
        for export in exported:
            if export.file is not None:
                place = folder / PUSHED_FOLDER / export.format
                shutil.copytree(Path(exports.uri, export.format).absolute(), place, copy_function=os.symlink)
        # A bucket is as lasting a store as that of the artifacts. From a folder, models may be cleared away.
        if not files.is_remote(destination):
            files.upload_folder(str(folder), pushed_model.uri)
        # Last: what fails after it would fail with the model at work.
        version = push(str(folder), destination, keep=keep_versions)
    pushed_model.set_string_custom_property(PUSHED_DESTINATION, files.join(destination, version))
    pushed_model.set_string_custom_property("pushed_version", version)


def _card(
    model: str,
    evaluation: types.Artifact,
    statistics: types.Artifact,
    model_run: types.Artifact,
    facts: CardFacts,
    exports: tuple[ExportedModel, ...],
) -> dict[str, Any]:
    """The model card, with what only the run's data tell."""
    found = read_evaluation(evaluation.uri)
    pictures = {
        split: int(numbers.datasets[0].num_examples)
        for split, numbers in sorted(read_statistics(statistics).items(), reverse=True)
    }
    training = json.loads(files.read_bytes(files.join(model_run.uri, EFFECTIVE_FILE)))
    labels = read_labels(model) or Labels.model_validate({"classes": list(found.class_names)})
    return model_card(facts, found, labels, pictures, training, exports)


def _with_card(model: str, card: dict[str, Any], folder: Path) -> Path:
    """A folder of links to the model's files, and the card."""
    shutil.copytree(Path(model).absolute(), folder, copy_function=os.symlink)
    for place, text in ((CARD_JSON, json.dumps(card, indent=2)), (CARD_MARKDOWN, as_markdown(card))):
        file = folder / place
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder
