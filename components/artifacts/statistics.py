"""Statistics and anomalies of the data: reading them, and what they mean in words."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import io_utils

from schema import features
from schema.labels import Labels

# TFX's names. What TFX's components call them by is not imported: any module of `tfx.components` brings all of them.
STATISTICS_FILE = "FeatureStats.pb"


def read_statistics(artifact: types.Artifact) -> dict[str, Statistics]:
    """The statistics of an artifact, by split."""
    return {
        split: tfdv.load_stats_binary(os.path.join(artifact_utils.get_split_uri([artifact], split), STATISTICS_FILE))
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def read_schema(artifact: types.Artifact) -> schema_pb2.Schema:
    """The schema of an artifact."""
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(artifact.uri))


Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


HISTOGRAMS = {
    features.IMAGE_WIDTH: "Width, pixels",
    features.IMAGE_HEIGHT: "Height, pixels",
    features.IMAGE_ASPECT_RATIO: "Aspect ratio, width / height",
    features.LABEL_CLASS_COUNT: "Classes per picture",
    features.LABEL_VOID_SHARE: "Void, share of a picture's pixels",
}
"""The features that are drawn, with their titles."""


@dataclass(frozen=True)
class ClassNumbers:
    """How much of a class there is in a split."""

    pictures: int
    """Those with the class."""
    picture_share: float
    """Of the split's pictures."""
    pixel_share: float
    """Of the split's pixels, void left out."""


@dataclass(frozen=True)
class Bucket:
    """One bar of a histogram."""

    low: float
    high: float
    share: float
    """Of the pictures."""
    value: int | None = None
    """Of a histogram of whole numbers with a bar each: the number, in the middle."""

    @property
    def name(self) -> str:
        """What it counts."""
        return f"{self.low:.4g} to {self.high:.4g}" if self.value is None else str(self.value)


@dataclass(frozen=True)
class SplitNumbers:
    """What the page says of a split."""

    pictures: int
    classes: tuple[ClassNumbers, ...]
    """In the order of the labels; none if the split has no masks."""
    void_share: float
    """Of the split's pixels."""
    histograms: Mapping[str, tuple[Bucket, ...]]
    """By feature."""


def split_numbers(statistics: Statistics, labels: Labels) -> SplitNumbers:
    """Reads from a split's statistics what the page says of it."""
    dataset = statistics.datasets[0]
    by_name = {feature.path.step[0]: feature for feature in dataset.features}
    pictures = int(dataset.num_examples)
    histograms = {name: _buckets(by_name[name], pictures) for name in HISTOGRAMS if name in by_name}
    if features.LABEL_CLASSES not in by_name:
        return SplitNumbers(pictures, (), 0.0, histograms)
    counts = [_count_and_sum(by_name.get(features.label_pixels_of(name))) for name in labels.names]
    pixels = sum(class_pixels for _, class_pixels in counts)
    _, void_pixels = _count_and_sum(by_name.get(features.LABEL_VOID_PIXELS))
    classes = tuple(
        ClassNumbers(with_class, with_class / max(pictures, 1), class_pixels / max(pixels, 1))
        for with_class, class_pixels in counts
    )
    return SplitNumbers(pictures, classes, void_pixels / max(pixels + void_pixels, 1), histograms)


def _count_and_sum(feature: statistics_pb2.FeatureNameStatistics | None) -> tuple[int, float]:
    """In how many pictures a number stands, and the sum of it."""
    if feature is None:
        return 0, 0.0
    values = feature.num_stats.common_stats
    return int(values.num_non_missing), feature.num_stats.mean * values.tot_num_values


def _buckets(feature: statistics_pb2.FeatureNameStatistics, pictures: int) -> tuple[Bucket, ...]:
    """The histogram of a feature with one value per picture."""
    if feature.HasField("string_stats"):
        # A whole number that the schema calls categorical.
        counts = {int(bucket.label): bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}
        return tuple(
            Bucket(value - 0.5, value + 0.5, count / pictures, value) for value, count in sorted(counts.items())
        )
    return tuple(
        Bucket(bucket.low_value, bucket.high_value, bucket.sample_count / pictures)
        for histogram in feature.num_stats.histograms
        if histogram.type == statistics_pb2.Histogram.STANDARD
        for bucket in histogram.buckets
        if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value) and bucket.sample_count > 0
    )
