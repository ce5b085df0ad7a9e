"""ModelExport's specification."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts.exports import FormatName
from components.artifacts.types import ExportedModels
from components.model_export import executor


class ModelExportSpec(types.ComponentSpec):
    """What ModelExport is given and gives."""

    PARAMETERS = {
        executor.FORMATS: component_spec.ExecutionParameter(type=str),
        executor.MAX_MEAN_IOU_LOSS: component_spec.ExecutionParameter(type=float),
        executor.CALIBRATION_PICTURES: component_spec.ExecutionParameter(type=int),
        executor.EVAL_PICTURES: component_spec.ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {executor.EXPORTS: component_spec.ChannelParameter(type=ExportedModels)}


class ModelExport(base_component.BaseComponent):
    """Converts a model's network for other runtimes, and keeps what loses little enough of the mean IoU."""

    SPEC_CLASS = ModelExportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        formats: Sequence[FormatName],
        max_mean_iou_loss: float,
        calibration_pictures: int,
        eval_pictures: int | None = None,
    ):
        """Configures the component.

        Args:
            model: `Model` that is converted.
            examples: `Examples`, with the splits `train` and `eval`.
            formats: that are wanted.
            max_mean_iou_loss: that an export may have, 0 to 1; with more it is left out.
            calibration_pictures: of the split `train`, that quantisation is calibrated on.
            eval_pictures: of the split `eval`, that the loss is measured on; without it all.
        """
        super().__init__(
            spec=ModelExportSpec(
                **{
                    executor.MODEL: model,
                    executor.EXAMPLES: examples,
                    executor.FORMATS: json.dumps(list(formats)),
                    executor.MAX_MEAN_IOU_LOSS: max_mean_iou_loss,
                    executor.CALIBRATION_PICTURES: calibration_pictures,
                    executor.EVAL_PICTURES: eval_pictures,
                    executor.EXPORTS: types.Channel(type=ExportedModels),
                }
            )
        )
