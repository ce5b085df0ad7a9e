"""BulkInferrer predicts the masks of whole splits."""

# TFX reads annotations as objects, so they are not postponed here.

import json
import logging

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.artifacts.problems import DataError
from components.artifacts.types import all_blessed
from components.bulk_inferrer.inference import predict_masks
from components.shared_model import SharedModel
from trainer.common import files

LOGGER = logging.getLogger(__name__)

PREDICTED = "predicted"
"""The result's custom property: 1, or 0 if the model is not good enough to be asked."""
WITHOUT_MASK = "without_mask"
"""The result's custom property: how many pictures have no mask, or files could not be read to the end."""


@component(use_beam=True)
def BulkInferrer(
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    splits: Parameter[str],
    inference_result: OutputArtifact[standard_artifacts.InferenceResult],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing] = None,
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing] = None,
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Predicts the masks of whole splits if every blessing is positive.

    TFX's BulkInferrer writes PredictionLogs, which hold each request and so each picture, and fails at the first that
    is refused. Here pictures without a mask are warned of, counted and named in a file: if the step failed, TFX would
    remove the masks of all others.

    Args:
        examples: TFRecords with the pictures.
        model: the model that is asked.
        splits: the splits whose pictures are predicted, a JSON list.
        inference_result: the masks.
        model_blessing: the Evaluator's blessing.
        infra_blessing: the InfraValidator's blessing.
        beam_pipeline: what the prediction runs in.

    Raises:
        DataError: there are pictures, and not one of them has a mask.
    """
    blessed = all_blessed(model_blessing, infra_blessing)
    inference_result.set_int_custom_property(PREDICTED, int(blessed))
    if not blessed:
        LOGGER.warning("no masks are predicted: the model is not blessed")
        return
    names = json.loads(splits)
    paths = [
        files.join(folder, name)
        for split in names
        for folder in artifact_utils.get_split_uris([examples], split)
        for name in sorted(files.list_files(folder))
    ]
    serving = SharedModel(path_utils.serving_model_path(model.uri))
    inference = predict_masks(beam_pipeline, paths, serving, inference_result.uri)
    LOGGER.info("%d pictures of %s are predicted", inference.predicted, ", ".join(names))
    inference_result.set_int_custom_property(WITHOUT_MASK, len(inference.problems))
    if inference.problems:
        error = DataError(*inference.problems)
        if not inference.predicted:
            raise error
        LOGGER.warning("%d of the records or files have no masks:\n%s", len(inference.problems), error)
