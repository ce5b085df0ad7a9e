"""The specifications of PreviousRun, the first step, and RunRecord, the last."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from kubeflow.run_record import executor


class PreviousRunSpec(types.ComponentSpec):
    """What PreviousRun is given and gives."""

    PARAMETERS = {
        executor.RECORDS: component_spec.ExecutionParameter(type=str),
        executor.PUSHED_MODELS: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }


class PreviousRun(base_component.BaseComponent):
    """Brings the last pushed model and the statistics of the last finished run into the pipeline.

    Either may be missing; its artifact then says so by the custom property `absent`.
    """

    SPEC_CLASS = PreviousRunSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.PreviousRunExecutor)

    def __init__(self, records: str, pushed_models: str):
        """Configures the component.

        Args:
            records: path or URI of the folder that RunRecord writes to.
            pushed_models: path or URI of the folder that the Pusher writes to.
        """
        super().__init__(
            spec=PreviousRunSpec(
                **{
                    executor.RECORDS: records,
                    executor.PUSHED_MODELS: pushed_models,
                    executor.MODEL: types.Channel(type=standard_artifacts.Model),
                    executor.STATISTICS: types.Channel(type=standard_artifacts.ExampleStatistics),
                }
            )
        )


class RunRecordSpec(types.ComponentSpec):
    """What RunRecord is given; it gives nothing to other steps."""

    PARAMETERS = {
        executor.RECORDS: component_spec.ExecutionParameter(type=str),
        executor.WARM_START: component_spec.ExecutionParameter(type=bool),
    }
    INPUTS = {
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.INFRA_BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        executor.PUSHED_MODEL: component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS: dict = {}


class RunRecord(base_component.BaseComponent):
    """Writes down what a run came to, for people and for the next run's PreviousRun.

    What it has to know of large artifacts it is told by execution properties of the run: see `record.TOLD`.
    """

    SPEC_CLASS = RunRecordSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.RunRecordExecutor)

    def __init__(
        self,
        records: str,
        warm_start: bool,
        statistics: types.BaseChannel,
        evaluation: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        pushed_model: types.BaseChannel,
    ):
        """Configures the component.

        Args:
            records: path or URI of the folder to write to.
            warm_start: whether training starts from the last pushed model where there is one.
            statistics: `ExampleStatistics`, for the next run.
            evaluation: `ModelEvaluation`.
            infra_blessing: `InfraBlessing`.
            pushed_model: `PushedModel`.
        """
        super().__init__(
            spec=RunRecordSpec(
                **{
                    executor.RECORDS: records,
                    executor.WARM_START: warm_start,
                    executor.STATISTICS: statistics,
                    executor.EVALUATION: evaluation,
                    executor.INFRA_BLESSING: infra_blessing,
                    executor.PUSHED_MODEL: pushed_model,
                }
            )
        )
