"""The page of a data set, from its statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components import pages
from components.artifacts.problems import Problem
from components.artifacts.statistics import Statistics, sentences
from components.example_validator.anomalies import COMPARABLE_PICTURES
from schema import features
from schema.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from schema.labels import Labels

HISTOGRAMS = {
    features.IMAGE_WIDTH: "Width, pixels",
    features.IMAGE_HEIGHT: "Height, pixels",
    features.IMAGE_ASPECT_RATIO: "Aspect ratio, width / height",
    features.LABEL_CLASS_COUNT: "Classes per picture",
    features.LABEL_VOID_SHARE: "Void, share of a picture's pixels",
}
"""The features that are drawn, with their titles."""
THINNEST_BAR = 0.01
"""As a share of the drawing's width: else a single value would be a line of no width."""
LISTED_PROBLEMS = 100
DISTANCES = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "largest difference of a share (L-infinity)",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}


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


@dataclass(frozen=True)
class Rectangle:
    """A bar as it is drawn, in shares of the drawing's width and height; y points down, as in SVG."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A feature's histogram in one split."""

    now: tuple[Rectangle, ...]
    before: tuple[Rectangle, ...]
    left: float
    """The value at the left end; the same in all splits, so that they can be compared."""
    right: float


@dataclass(frozen=True)
class Distance:
    """How far apart two distributions of a feature are."""

    split: str
    feature: str
    compared_with: str
    measure: str
    value: float
    threshold: float


def data_page(
    statistics: Mapping[str, Statistics],
    previous: Mapping[str, Statistics] | None,
    anomalies: Mapping[str, anomalies_pb2.Anomalies],
    labels: Labels,
    problems: list[Problem],
) -> str:
    """Draws the page.

    Args:
        statistics: by split.
        previous: those of the run before, by split; None if there are none.
        anomalies: by split; see `find_anomalies`.
        labels: the classes.
        problems: of the pairs that were left out.

    Returns:
        HTML.
    """
    splits = [split for split in (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT) if split in statistics]
    now = {split: split_numbers(statistics[split], labels) for split in splits}
    before = {split: split_numbers(previous[split], labels) for split in splits if previous and split in previous}
    return pages.render(
        "data.html",
        now=now,
        before=before,
        labelled=[split for split in splits if now[split].classes],
        classes=labels.classes,
        histograms={title: _drawings(feature, now, before) for feature, title in HISTOGRAMS.items()},
        anomalies=sentences(anomalies),
        distances=_distances(anomalies),
        comparable=COMPARABLE_PICTURES,
        problems=problems,
        listed=LISTED_PROBLEMS,
        # A problem without a pair of its own stands for one, as in the counts of quarantine.
        quarantined=len({problem.entry for problem in problems}),
    )


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


def _drawings(feature: str, now: Mapping[str, SplitNumbers], before: Mapping[str, SplitNumbers]) -> dict[str, Drawing]:
    """The histograms of a feature by split, all on the same scales; none if no split has it."""
    everything = [
        bucket for numbers in (*now.values(), *before.values()) for bucket in numbers.histograms.get(feature, ())
    ]
    if not everything:
        return {}
    first = min(everything, key=lambda bucket: bucket.low)
    last = max(everything, key=lambda bucket: bucket.high)
    low, high = first.low, last.high
    if high == low:
        low, high = low - 0.5, high + 0.5
    thinnest = THINNEST_BAR * (high - low)
    peak = max(_density(bucket, thinnest) for bucket in everything)

    def bars(numbers: SplitNumbers | None) -> tuple[Rectangle, ...]:
        rectangles = []
        for bucket in numbers.histograms.get(feature, ()) if numbers else ():
            height = _density(bucket, thinnest) / peak
            width = max(bucket.high - bucket.low, thinnest)
            left = min((bucket.low + bucket.high - width) / 2, high - width)
            text = f"{bucket.name}: {bucket.share:.1%} of the pictures"
            rectangles.append(Rectangle((left - low) / (high - low), 1 - height, width / (high - low), height, text))
        return tuple(rectangles)

    ends = (low if first.value is None else first.value, high if last.value is None else last.value)
    return {split: Drawing(bars(numbers), bars(before.get(split)), *ends) for split, numbers in now.items()}


def _density(bucket: Bucket, thinnest: float) -> float:
    # The splits' buckets differ in width; areas, not heights, are what can be compared.
    return bucket.share / max(bucket.high - bucket.low, thinnest)


def _distances(anomalies: Mapping[str, anomalies_pb2.Anomalies]) -> list[Distance]:
    return [
        Distance(
            split,
            ".".join(info.path.step),
            compared_with,
            DISTANCES.get(measurement.type, "distance"),
            measurement.value,
            measurement.threshold,
        )
        for split, of_split in anomalies.items()
        for info in of_split.drift_skew_info
        for compared_with, measurements in (
            (EVAL_SPLIT, info.skew_measurements),
            (f"{split} of the run before", info.drift_measurements),
        )
        for measurement in measurements
    ]
