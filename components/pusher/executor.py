"""The Pusher's executor: a blessed model, and its card, to a folder or into an object store."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts.evaluation import read_evaluation
from components.artifacts.exports import PUSHED_FOLDER, read_exports
from components.artifacts.statistics import read_statistics
from components.pusher.model_card import CARD_JSON, CARD_MARKDOWN, CardFacts, as_markdown, model_card
from components.pusher.versions import PUSHED_DESTINATION, push
from schema.labels import Labels, read_labels
from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE

MODEL = "model"
BLESSING = "model_blessing"
INFRA_BLESSING = "infra_blessing"
EVALUATION = "evaluation"
STATISTICS = "statistics"
MODEL_RUN = "model_run"
EXPORTS = "exports"
DESTINATION = "destination"
KEEP_VERSIONS = "keep_versions"
CARD_FACTS = "card_facts"
PUSHED_MODEL = "pushed_model"


class Executor(base_executor.BaseExecutor):
    """Makes a blessed model the newest version in the destination: see `versions.push`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if all blessings are good that it has.

        Raises:
            PushError: the destination cannot be written; the versions there are as they were.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL])
        blessings = [*input_dict[BLESSING], *input_dict.get(INFRA_BLESSING, [])]
        blessed = all(blessing.get_int_custom_property("blessed") == 1 for blessing in blessings)
        pushed.set_int_custom_property("pushed", int(blessed))
        if not blessed:
            return
        destination = exec_properties[DESTINATION]
        model = path_utils.serving_model_dir(artifact_utils.get_single_uri(input_dict[MODEL]))
        card = _card(model, input_dict, exec_properties)
        with tempfile.TemporaryDirectory() as temporary:
            folder = _with_card(model, card, Path(temporary, "model"))
            for exports in input_dict.get(EXPORTS, []):
                _add_exports(exports.uri, folder)
            # A bucket is as lasting a store as that of the artifacts. From a folder, models may be cleared away.
            if not files.is_remote(destination):
                files.upload_folder(str(folder), pushed.uri)
            # Last: what fails after it would fail with the model at work.
            version = push(str(folder), destination, keep=exec_properties.get(KEEP_VERSIONS))
        pushed.set_string_custom_property(PUSHED_DESTINATION, files.join(destination, version))
        pushed.set_string_custom_property("pushed_version", version)


def _card(model: str, input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> dict[str, Any]:
    """The model card, with what only the run's data tell."""
    evaluation = read_evaluation(artifact_utils.get_single_uri(input_dict[EVALUATION]))
    statistics = read_statistics(input_dict[STATISTICS]) or {}
    pictures = {split: int(found.datasets[0].num_examples) for split, found in sorted(statistics.items(), reverse=True)}
    model_run = artifact_utils.get_single_uri(input_dict[MODEL_RUN])
    training = json.loads(files.read_bytes(files.join(model_run, EFFECTIVE_FILE)))
    exports = [export for artifact in input_dict.get(EXPORTS, []) for export in read_exports(artifact.uri)]
    facts = CardFacts.model_validate_json(exec_properties[CARD_FACTS])
    labels = read_labels(model) or Labels.model_validate({"classes": list(evaluation.class_names)})
    return model_card(facts, evaluation, labels, pictures, training, exports)


def _with_card(model: str, card: dict[str, Any], folder: Path) -> Path:
    """A folder of links to the model's files, and the card."""
    shutil.copytree(Path(model).absolute(), folder, copy_function=os.symlink)
    for place, text in ((CARD_JSON, json.dumps(card, indent=2)), (CARD_MARKDOWN, as_markdown(card))):
        file = folder / place
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def _add_exports(exports: str, folder: Path) -> None:
    """Links the files of the formats that were kept into the folder of the model."""
    for export in read_exports(exports):
        if export.file is not None:
            place = folder / PUSHED_FOLDER / export.format
            shutil.copytree(Path(exports, export.format).absolute(), place, copy_function=os.symlink)
