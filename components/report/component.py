"""Report's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts.types import ExportedModels, RunReport
from components.report import executor


class ReportSpec(types.ComponentSpec):
    """What Report is given and gives."""

    PARAMETERS = {
        executor.CONFIGURATION: component_spec.ExecutionParameter(type=str),
        executor.LABELS: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.ANOMALIES: component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        executor.TRANSFORM_GRAPH: component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.MODEL_RUN: component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        executor.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.INFRA_BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        executor.EXPORTS: component_spec.ChannelParameter(type=ExportedModels, optional=True),
    }
    OUTPUTS = {executor.REPORT: component_spec.ChannelParameter(type=RunReport)}


class Report(base_component.BaseComponent):
    """Draws what a run came to on one page, whether the model is good enough or not."""

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        anomalies: types.BaseChannel,
        transform_graph: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        evaluation: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        configuration_json: str,
        labels_json: str,
        exports: types.BaseChannel | None = None,
    ):
        """Configures the component.

        Args:
            examples: `Examples`, of whose eval split some pictures are shown.
            statistics: `ExampleStatistics`.
            anomalies: `ExampleAnomalies`.
            transform_graph: `TransformGraph`, for what the step took that made it.
            model: `Model`, which predicts the pictures that are shown.
            model_run: `ModelRun`, which tells how training went.
            evaluation: `ModelEvaluation`.
            infra_blessing: `InfraBlessing`.
            configuration_json: the configuration as JSON; `name` is the experiment's.
            labels_json: `schema.labels.Labels` as JSON, for the names and colours of the classes.
            exports: `ExportedModels`, if there are other formats.
        """
        super().__init__(
            spec=ReportSpec(
                **{
                    executor.EXAMPLES: examples,
                    executor.STATISTICS: statistics,
                    executor.ANOMALIES: anomalies,
                    executor.TRANSFORM_GRAPH: transform_graph,
                    executor.MODEL: model,
                    executor.MODEL_RUN: model_run,
                    executor.EVALUATION: evaluation,
                    executor.INFRA_BLESSING: infra_blessing,
                    executor.EXPORTS: exports,
                    executor.CONFIGURATION: configuration_json,
                    executor.LABELS: labels_json,
                    executor.REPORT: types.Channel(type=RunReport),
                }
            )
        )
