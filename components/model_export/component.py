"""ModelExport converts a model for other runtimes."""

# TFX reads annotations as objects, so they are not postponed here.

import json
import logging

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.artifacts.exports import METRICS_FILE, write_exports
from components.artifacts.types import ExportedModels
from components.model_export.gate import Canvases, Gate, export_as
from schema import features
from trainer.common import files

LOGGER = logging.getLogger(__name__)


@component
def ModelExport(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    formats: Parameter[str],
    max_mean_iou_loss: Parameter[float],
    calibration_pictures: Parameter[int],
    exports: OutputArtifact[ExportedModels],
    eval_pictures: Parameter[int] = None,
) -> None:
    """Converts a model's network for other runtimes, and keeps what loses little enough of the mean IoU.

    A format that cannot be made, or loses too much, is no error: it is left out.

    Args:
        model: the model that is converted.
        examples: TFRecords with the splits `train` and `eval`.
        formats: the formats that are asked for, a JSON list of `exports.FormatName`.
        max_mean_iou_loss: the loss that an export may have, 0 to 1; with more it is left out.
        calibration_pictures: how many images of the split `train` quantization is calibrated on.
        exports: a folder for each format that is kept, with its file and `ExportedModel`, and the list of all.
        eval_pictures: how many images of the split `eval` the loss is measured on; all by default.

    Raises:
        WeightsError: the model does not say what its network is, or has no weights that fit it.
        ValueError: the split `eval` has no labelled pictures.
    """
    # Only here: Keras takes seconds, and whoever builds the graph imports this module.
    from trainer.serving.conversion import read_segmenter

    segmenter = read_segmenter(path_utils.serving_model_path(model.uri))
    eval_folders, train_folders = (
        artifact_utils.get_split_uris([examples], split) for split in (features.EVAL_SPLIT, features.TRAIN_SPLIT)
    )
    calibration = Canvases(train_folders, segmenter, calibration_pictures)
    gate = Gate(segmenter, Canvases(eval_folders, segmenter, eval_pictures), max_mean_iou_loss)
    made = []
    for name in json.loads(formats):
        contents, export = export_as(name, segmenter, calibration, gate)
        if contents is not None and export.file is not None:
            folder = files.join(exports.uri, name)
            files.write_bytes(files.join(folder, export.file), contents)
            files.write_bytes(files.join(folder, METRICS_FILE), export.model_dump_json(indent=1).encode())
            LOGGER.info("%s: %s", name, export.sentence)
        else:
            LOGGER.warning("the export %s is left out: %s", name, export.sentence)
        made.append(export)
    write_exports(exports.uri, made)
