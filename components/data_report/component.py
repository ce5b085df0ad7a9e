"""DataReport's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts.types import DataProblems, DataReportPage
from components.data_report import executor


class DataReportSpec(types.ComponentSpec):
    """What DataReport is given and gives."""

    PARAMETERS = {executor.LABELS: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.STATISTICS: component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema),
        executor.PROBLEMS: component_spec.ChannelParameter(type=DataProblems),
        executor.PREVIOUS_STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {executor.REPORT: component_spec.ChannelParameter(type=DataReportPage)}


class DataReport(base_component.BaseComponent):
    """Draws the statistics, anomalies and quarantined pairs of a data set on one page."""

    SPEC_CLASS = DataReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        problems: types.BaseChannel,
        labels_json: str,
        previous_statistics: types.BaseChannel | None = None,
    ):
        """Configures the component.

        Args:
            statistics: `ExampleStatistics` of this run.
            schema: `Schema`, for the anomalies.
            problems: `DataProblems` of SegmentationExampleGen.
            labels_json: `schema.labels.Labels` as JSON, for the names and colours of the classes.
            previous_statistics: `ExampleStatistics` to show beside; it may resolve to none.
        """
        super().__init__(
            spec=DataReportSpec(
                **{
                    executor.STATISTICS: statistics,
                    executor.SCHEMA: schema,
                    executor.PROBLEMS: problems,
                    executor.PREVIOUS_STATISTICS: previous_statistics,
                    executor.LABELS: labels_json,
                    executor.REPORT: types.Channel(type=DataReportPage),
                }
            )
        )
