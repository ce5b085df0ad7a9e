"""ExampleValidator's executor: statistics and schema to anomalies."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import writer_utils

from components.artifacts.anomalies import ANOMALIES_FILE, AnomaliesError, find_anomalies, sentences
from components.artifacts.statistics import read_schema, read_statistics

STATISTICS = "statistics"
SCHEMA = "schema"
PREVIOUS_STATISTICS = "previous_statistics"
STOP_ON_ANOMALIES = "stop_on_anomalies"
ANOMALIES = "anomalies"

BLESSED = "blessed"
"""Custom property of the anomalies: by split, 1 if there are none and else 0."""


class Executor(base_executor.BaseExecutor):
    """Writes `<anomalies>/Split-<name>/SchemaDiff.pb` for each split, as TFX's own ExampleValidator does."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Validates the statistics.

        Raises:
            AnomaliesError: there are anomalies, and the run is to stop on them; nothing is published.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        statistics = artifact_utils.get_single_instance(input_dict[STATISTICS])
        anomalies = find_anomalies(
            read_statistics(input_dict[STATISTICS]) or {},
            read_statistics(input_dict.get(PREVIOUS_STATISTICS)),
            read_schema(input_dict[SCHEMA]),
        )
        if exec_properties[STOP_ON_ANOMALIES] and sentences(anomalies):
            raise AnomaliesError(anomalies)
        output = artifact_utils.get_single_instance(output_dict[ANOMALIES])
        output.split_names = artifact_utils.encode_split_names(list(anomalies))
        output.span = statistics.span
        blessed = {}
        for split, of_split in anomalies.items():
            folder = artifact_utils.get_split_uri([output], split)
            writer_utils.write_anomalies(os.path.join(folder, ANOMALIES_FILE), of_split)
            blessed[split] = 0 if sentences({split: of_split}) else 1
        output.set_json_value_custom_property(BLESSED, blessed)
