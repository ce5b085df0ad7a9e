"""ExampleValidator's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.example_validator import executor


class ExampleValidatorSpec(types.ComponentSpec):
    """What ExampleValidator is given and gives."""

    PARAMETERS = {executor.STOP_ON_ANOMALIES: component_spec.ExecutionParameter(type=bool)}
    INPUTS = {
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema),
        executor.PREVIOUS_STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {executor.ANOMALIES: component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class ExampleValidator(base_component.BaseComponent):
    """Finds what departs from the schema in each split, skew between train and eval, and drift since the run before.

    TFX's own ExampleValidator compares with the schema alone, knows no environments, and never stops a run.
    """

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        stop_on_anomalies: bool,
        previous_statistics: types.BaseChannel | None = None,
    ):
        """Configures the component.

        Args:
            statistics: `ExampleStatistics` of this run.
            schema: `Schema`, with the thresholds.
            stop_on_anomalies: whether an anomaly ends the run, instead of being recorded.
            previous_statistics: `ExampleStatistics` to find drift against; it may resolve to none.
        """
        super().__init__(
            spec=ExampleValidatorSpec(
                **{
                    executor.STATISTICS: statistics,
                    executor.SCHEMA: schema,
                    executor.PREVIOUS_STATISTICS: previous_statistics,
                    executor.STOP_ON_ANOMALIES: stop_on_anomalies,
                    executor.ANOMALIES: types.Channel(type=standard_artifacts.ExampleAnomalies),
                }
            )
        )
