"""What departs from the schema in the statistics of a data set, and how to say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.types import artifact_utils

from components.artifacts.statistics import Statistics
from schema import features
from schema.features import EVAL_SPLIT, LABELLED, TEST_SPLIT, TRAIN_SPLIT, UNLABELLED

COMPARABLE_PICTURES = 50
"""Distributions of fewer pictures are not compared: two random handfuls of one data set differ by more than the
thresholds; see schema/README.md."""


class AnomaliesError(ValueError):
    """The data depart from the schema. Its message has a line for each anomaly.

    Args:
        anomalies: by split; see `find_anomalies`.
    """

    def __init__(self, anomalies: Mapping[str, anomalies_pb2.Anomalies]):
        super().__init__(
            "\n".join(
                [
                    *sentences(anomalies),
                    "Mend the data; or change what is allowed, and the thresholds of skew and drift, in "
                    "schema/schema.pbtxt; or set validation.stop_on_anomalies: false, and the run goes on.",
                ]
            )
        )


def find_anomalies(
    statistics: Mapping[str, Statistics], previous: Mapping[str, Statistics] | None, schema: schema_pb2.Schema
) -> dict[str, anomalies_pb2.Anomalies]:
    """Validates the statistics of each split.

    Every split is held against the schema, and against the same split of the run before, for drift. The training split
    is held against the evaluation split too, for skew, and must have each class.

    Args:
        statistics: by split.
        previous: by split; None if there are none.
        schema: with the environments LABELLED and UNLABELLED, and the comparators of skew and drift.

    Returns:
        By split; one without anomalies is there too, with the distances that were measured.
    """
    found = {}
    for split, of_split in statistics.items():
        before = (previous or {}).get(split)
        evaluated = statistics.get(EVAL_SPLIT) if split == TRAIN_SPLIT else None
        found[split] = tfdv.validate_statistics(
            of_split,
            schema,
            environment=UNLABELLED if split == TEST_SPLIT else LABELLED,
            previous_statistics=before if _comparable(before, of_split) else None,
            serving_statistics=evaluated if _comparable(evaluated, of_split) else None,
        )
        if split == TRAIN_SPLIT and (absent := _absent_classes(of_split, schema)):
            # Nothing that TFDV looks for: a class may be missing from any picture, but not from all.
            info = found[split].anomaly_info[f"{features.LABEL_CLASSES} (absent)"]
            info.severity = anomalies_pb2.AnomalyInfo.ERROR
            info.description = (
                f"No picture has {', '.join(absent)}. If masks have other values for it, state them in data.labels."
            )
    return found


def _absent_classes(statistics: Statistics, schema: schema_pb2.Schema) -> list[str]:
    """The classes of the schema that no picture has."""
    (domain,) = (domain for domain in schema.string_domain if domain.name == features.LABEL_CLASSES)
    present = {feature.path.step[0] for feature in statistics.datasets[0].features if _has_values(feature)}
    return [name for name in domain.value if features.label_pixels_of(name) not in present]


def _has_values(feature: statistics_pb2.FeatureNameStatistics) -> bool:
    kind = feature.WhichOneof("stats")
    return kind is not None and getattr(feature, kind).common_stats.num_non_missing > 0


def _comparable(*statistics: Statistics | None) -> bool:
    return all(each is not None and each.datasets[0].num_examples >= COMPARABLE_PICTURES for each in statistics)


ANOMALIES_FILE = "SchemaDiff.pb"


def read_anomalies(artifact: types.Artifact) -> dict[str, anomalies_pb2.Anomalies]:
    """The anomalies of an artifact that `Executor` has filled, by split."""
    return {
        split: anomalies_pb2.Anomalies.FromString(
            Path(artifact_utils.get_split_uri([artifact], split), ANOMALIES_FILE).read_bytes()
        )
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


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
