"""BulkInferrer's executor: the masks of whole splits."""

from __future__ import annotations

import json
import logging
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts.problems import DataError
from components.bulk_inferrer.inference import predict_masks
from components.shared_model import SharedModel
from trainer.common import files

LOGGER = logging.getLogger(__name__)

# TFX's names of the channels.
EXAMPLES = "examples"
MODEL = "model"
BLESSING = "model_blessing"
INFRA_BLESSING = "infra_blessing"
INFERENCE_RESULT = "inference_result"
SPLITS = "splits"
PREDICTED = "predicted"
"""The result's custom property: 1, or 0 if the model is not good enough to be asked."""
WITHOUT_MASK = "without_mask"
"""The result's custom property: how many pictures have no mask, or files could not be read to the end."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes what `predict_masks` says."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Predicts the masks if all blessings are good that the model has.

        Pictures without a mask are warned of, counted and named in a file: if the step failed, TFX would remove the
        masks of all others.

        Raises:
            DataError: there are pictures, and not one of them has a mask.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        result = artifact_utils.get_single_instance(output_dict[INFERENCE_RESULT])
        blessings = [*input_dict.get(BLESSING, []), *input_dict.get(INFRA_BLESSING, [])]
        blessed = all(blessing.get_int_custom_property("blessed") == 1 for blessing in blessings)
        result.set_int_custom_property(PREDICTED, int(blessed))
        if not blessed:
            LOGGER.warning("no masks are predicted: the model is not blessed")
            return
        splits = json.loads(exec_properties[SPLITS])
        paths = [
            files.join(folder, name)
            for split in splits
            for folder in artifact_utils.get_split_uris(input_dict[EXAMPLES], split)
            for name in sorted(files.list_files(folder))
        ]
        model = SharedModel(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[MODEL])))
        inference = predict_masks(self._make_beam_pipeline(), paths, model, result.uri)
        LOGGER.info("%d pictures of %s are predicted", inference.predicted, ", ".join(splits))
        result.set_int_custom_property(WITHOUT_MASK, len(inference.problems))
        if inference.problems:
            error = DataError(*inference.problems)
            if not inference.predicted:
                raise error
            LOGGER.warning("%d of the records or files have no masks:\n%s", len(inference.problems), error)
