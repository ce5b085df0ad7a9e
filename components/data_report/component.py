"""DataReport draws the data set on a page."""

# TFX reads annotations as objects, so they are not postponed here.

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.artifacts.anomalies import find_anomalies
from components.artifacts.names import PAGE_FILE
from components.artifacts.problems import read_problems
from components.artifacts.statistics import read_schema, read_statistics
from components.artifacts.types import DataProblems, DataReportPage
from components.data_report.page import data_page
from schema.labels import Labels
from trainer.common import files


@component
def DataReport(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    problems: InputArtifact[DataProblems],
    labels_json: Parameter[str],
    report: OutputArtifact[DataReportPage],
    previous_statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
) -> None:
    """Draws the statistics, anomalies and quarantined pairs of a data set on one page, `<report>/index.html`.

    Args:
        statistics: the statistics of this run.
        schema: the schema that anomalies are found with.
        problems: what SegmentationExampleGen found wrong with the data.
        labels_json: `schema.labels.Labels` as JSON, for the names and colors of the classes.
        report: the page.
        previous_statistics: statistics of an earlier run to show beside, if there are any.
    """
    current, previous = read_statistics(statistics), previous_statistics and read_statistics(previous_statistics)
    page = data_page(
        statistics=current,
        previous=previous,
        anomalies=find_anomalies(current, previous, read_schema(schema)),
        labels=Labels.model_validate_json(labels_json),
        problems=read_problems(problems.uri),
    )
    files.write_bytes(files.join(report.uri, PAGE_FILE), page.encode())
