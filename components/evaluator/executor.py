"""The Evaluator's executor: TFX's, which compares models of the same classes alone."""

from __future__ import annotations

import logging
from typing import Any

from tfx import types
from tfx.components.evaluator import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from trainer.labels import read_labels

LOGGER = logging.getLogger(__name__)


class Executor(executor.Executor):
    """Judges a model as if there were none to compare it with, where that one is for other classes.

    Confusion matrices of other classes cannot be put side by side, and mean IoUs over other classes say nothing of
    which model is better.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges the model."""
        super().Do(without_other_classes(input_dict), output_dict, exec_properties)


def without_other_classes(input_dict: dict[str, list[types.Artifact]]) -> dict[str, list[types.Artifact]]:
    """The Evaluator's inputs without the model to compare with, if it is for other classes than the new one."""
    baseline = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY)
    if not baseline:
        return input_dict
    before, now = (
        read_labels(path_utils.serving_model_path(artifact_utils.get_single_uri(models)))
        for models in (baseline, input_dict[standard_component_specs.MODEL_KEY])
    )
    # Models that do not say what they are for are taken to be comparable.
    if before is None or now is None or before.names == now.names:
        return input_dict
    LOGGER.warning(
        "eval: the last good model is for %d other classes, so the new one is compared with none", len(before.classes)
    )
    return {**input_dict, standard_component_specs.BASELINE_MODEL_KEY: []}
