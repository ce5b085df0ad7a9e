"""BulkInferrer's specification."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.bulk_inferrer import executor


class BulkInferrerSpec(types.ComponentSpec):
    """What BulkInferrer is given and gives."""

    PARAMETERS = {executor.SPLITS: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        executor.INFRA_BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
    }
    OUTPUTS = {executor.INFERENCE_RESULT: component_spec.ChannelParameter(type=standard_artifacts.InferenceResult)}


class BulkInferrer(base_beam_component.BaseBeamComponent):
    """Predicts the masks of whole splits by a blessed model.

    TFX's writes PredictionLogs, which hold each request and so each picture, and fails at the first that is refused.
    """

    SPEC_CLASS = BulkInferrerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        splits: Sequence[str],
        model_blessing: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
    ):
        """Configures the component.

        Args:
            examples: `Examples` with the pictures.
            model: `Model` that is asked.
            splits: whose pictures are predicted.
            model_blessing: `ModelBlessing`; if it is given, it has to be good.
            infra_blessing: `InfraBlessing`; the same.
        """
        super().__init__(
            spec=BulkInferrerSpec(
                **{
                    executor.EXAMPLES: examples,
                    executor.MODEL: model,
                    executor.BLESSING: model_blessing,
                    executor.INFRA_BLESSING: infra_blessing,
                    executor.SPLITS: json.dumps(list(splits)),
                    executor.INFERENCE_RESULT: types.Channel(type=standard_artifacts.InferenceResult),
                }
            )
        )
