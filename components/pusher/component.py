"""The Pusher's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts.types import ExportedModels
from components.pusher import executor


class PusherSpec(types.ComponentSpec):
    """What the Pusher is given and gives."""

    PARAMETERS = {
        executor.DESTINATION: component_spec.ExecutionParameter(type=str),
        executor.KEEP_VERSIONS: component_spec.ExecutionParameter(type=int, optional=True),
        executor.CARD_FACTS: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        executor.INFRA_BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        executor.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        executor.EXPORTS: component_spec.ChannelParameter(type=ExportedModels, optional=True),
    }
    OUTPUTS = {executor.PUSHED_MODEL: component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class Pusher(base_component.BaseComponent):
    """Makes a blessed model the newest version in a folder or an object store, with its model card inside.

    TFX's writes with TensorFlow's file systems, which know neither S3 nor Kubeflow's minio://, and has no model card.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        statistics: types.BaseChannel,
        model_run: types.BaseChannel,
        destination: str,
        card_facts: str,
        keep_versions: int | None = None,
        infra_blessing: types.BaseChannel | None = None,
        exports: types.BaseChannel | None = None,
    ):
        """Configures the component.

        Args:
            model: `Model` that is pushed.
            model_blessing: `ModelBlessing`; without it nothing is pushed.
            evaluation: `ModelEvaluation`, for the card.
            statistics: `ExampleStatistics`, for the card.
            model_run: `ModelRun`, for the card.
            destination: path or URI of the folder of versions.
            card_facts: `model_card.CardFacts` as JSON.
            keep_versions: how many of the newest versions stay; without it all do.
            infra_blessing: `InfraBlessing`; if it is given, it has to be good as well.
            exports: `ExportedModels`, which go with the model if they are given.
        """
        super().__init__(
            spec=PusherSpec(
                **{
                    executor.MODEL: model,
                    executor.BLESSING: model_blessing,
                    executor.INFRA_BLESSING: infra_blessing,
                    executor.EVALUATION: evaluation,
                    executor.STATISTICS: statistics,
                    executor.MODEL_RUN: model_run,
                    executor.EXPORTS: exports,
                    executor.DESTINATION: destination,
                    executor.KEEP_VERSIONS: keep_versions,
                    executor.CARD_FACTS: card_facts,
                    executor.PUSHED_MODEL: types.Channel(type=standard_artifacts.PushedModel),
                }
            )
        )
