"""Statistics and anomalies of the data: reading them, and what they mean in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import io_utils

# TFX's names. What TFX's components call them by is not imported: any module of `tfx.components` brings all of them.
STATISTICS_FILE = "FeatureStats.pb"


ANOMALIES_FILE = "SchemaDiff.pb"


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


Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def sentences(anomalies: Mapping[str, anomalies_pb2.Anomalies]) -> list[str]:
    """Anomalies in words.

    Args:
        anomalies: by split.

    Returns:
        One for each, such as `train: image/height: Unexpectedly small value: 0.`
    """
    found = []
    for split, of_split in anomalies.items():
        infos = {**of_split.anomaly_info}
        if of_split.HasField("dataset_anomaly_info"):
            infos["the whole split"] = of_split.dataset_anomaly_info
        for feature, info in sorted(infos.items()):
            # One feature may depart in several ways, and the description of the whole then runs them together.
            for reason in info.reason or [info]:
                found.append(f"{split}: {feature}: {_in_our_words(reason.description or reason.short_description)}")
    return found


def _in_our_words(description: str) -> str:
    # TFDV calls the eval split serving, and the statistics of the run before previous.
    words = description.strip().replace(" (up to six significant digits)", "")
    words = words.replace("between training and serving", "between train and eval")
    return words.replace("between current and previous", "between this run and the one before")
