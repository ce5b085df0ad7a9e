"""The page of a data set, from its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import anomalies_pb2

from components import pages
from components.artifacts.anomalies import COMPARABLE_PICTURES, sentences
from components.artifacts.problems import Problem
from components.artifacts.statistics import HISTOGRAMS, Bucket, SplitNumbers, Statistics, split_numbers
from schema.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from schema.labels import Labels

THINNEST_BAR = 0.01
"""As a share of the drawing's width: else a single value would be a line of no width."""
LISTED_PROBLEMS = 100
DISTANCES = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "largest difference of a share (L-infinity)",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}


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
