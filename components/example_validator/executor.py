"""ExampleValidator's executor: statistics and schema to anomalies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, writer_utils

from components.example_validator.anomalies import AnomaliesError, Statistics, find_anomalies, sentences

STATISTICS = "statistics"
SCHEMA = "schema"
PREVIOUS_STATISTICS = "previous_statistics"
STOP_ON_ANOMALIES = "stop_on_anomalies"
ANOMALIES = "anomalies"

# TFX's names. What TFX's components call them by is not imported: any module of `tfx.components` brings all of them.
STATISTICS_FILE = "FeatureStats.pb"
ANOMALIES_FILE = "SchemaDiff.pb"
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


def read_statistics(artifacts: list[types.Artifact] | None) -> dict[str, Statistics] | None:
    """The statistics of an artifact, by split; None if there is no artifact."""
    if not artifacts:
        return None
    artifact = artifact_utils.get_single_instance(artifacts)
    return {
        split: tfdv.load_stats_binary(os.path.join(artifact_utils.get_split_uri([artifact], split), STATISTICS_FILE))
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def read_anomalies(artifact: types.Artifact) -> dict[str, anomalies_pb2.Anomalies]:
    """The anomalies of an artifact that `Executor` has filled, by split."""
    return {
        split: anomalies_pb2.Anomalies.FromString(
            Path(artifact_utils.get_split_uri([artifact], split), ANOMALIES_FILE).read_bytes()
        )
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def read_schema(artifacts: list[types.Artifact]) -> schema_pb2.Schema:
    """The schema of an artifact."""
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(artifacts)))
