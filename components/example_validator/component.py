"""ExampleValidator finds anomalies in the statistics."""

# TFX reads annotations as objects, so they are not postponed here.

import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import writer_utils

from components.artifacts.anomalies import ANOMALIES_FILE, AnomaliesError, find_anomalies, sentences
from components.artifacts.statistics import read_schema, read_statistics

BLESSED = "blessed"
"""Custom property of the anomalies: by split, 1 if there are none and 0 otherwise."""


@component
def ExampleValidator(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    stop_on_anomalies: Parameter[bool],
    anomalies: OutputArtifact[standard_artifacts.ExampleAnomalies],
    previous_statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
) -> None:
    """Finds what departs from the schema in each split, skew between train and eval, and drift since the run before.

    TFX's own ExampleValidator compares with the schema alone, knows no environments, and never stops a run. The files,
    `<anomalies>/Split-<name>/SchemaDiff.pb`, are the same.

    Args:
        statistics: the statistics of this run.
        schema: the schema, with the thresholds.
        stop_on_anomalies: whether an anomaly ends the run, instead of being recorded.
        anomalies: what was found.
        previous_statistics: statistics of an earlier run to find drift against, if there are any.

    Raises:
        AnomaliesError: there are anomalies, and the run is to stop on them; nothing is published.
    """
    previous = previous_statistics and read_statistics(previous_statistics)
    found = find_anomalies(read_statistics(statistics), previous, read_schema(schema))
    if stop_on_anomalies and sentences(found):
        raise AnomaliesError(found)
    anomalies.split_names = artifact_utils.encode_split_names(list(found))
    anomalies.span = statistics.span
    blessed = {}
    for split, of_split in found.items():
        folder = artifact_utils.get_split_uri([anomalies], split)
        writer_utils.write_anomalies(os.path.join(folder, ANOMALIES_FILE), of_split)
        blessed[split] = 0 if sentences({split: of_split}) else 1
    anomalies.set_json_value_custom_property(BLESSED, blessed)
