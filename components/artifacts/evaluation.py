"""The document that an evaluation leaves: all numbers, and the verdict with its reasons. TFMA is not needed to read it.

It lies in the `ModelEvaluation` artifact beside TFMA's own files, and what follows, the table, the records, the report
and the model card, goes by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pydantic import ConfigDict, ValidationError, computed_field

from schema.section import Section
from trainer.common import files
from trainer.common.metrics import MEAN_IOU, iou_name

EVALUATION_FILE = "evaluation.json"
PICTURES_FILE = "pictures.jsonl"
"""A line of JSON, `PictureScores`, for each picture."""
CANDIDATE = "candidate"
BASELINE = "baseline"
"""TFMA's names of the two models."""


class _Document(Section):
    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")


class Scores(_Document):
    """A model's metrics on a data set or a slice of it."""

    pictures: int
    metrics: Mapping[str, float | None]
    """By the names of `trainer.common.metrics.metric_names`; None where nothing was counted."""
    intervals: Mapping[str, tuple[float, float]] = {}
    """95 % confidence intervals by the same names, if they were asked for."""

    @property
    def mean_iou(self) -> float | None:
        """None if no pixel was counted."""
        return self.metrics[MEAN_IOU]

    def iou(self, class_name: str) -> float | None:
        """Of one class; None if neither labels nor predictions have it."""
        return self.metrics[iou_name(class_name)]


class Slice(_Document):
    """A part of the pictures, and the metrics on it."""

    feature: str
    """One of those in `components.evaluator.slices`."""
    value: str
    scores: Scores


class ModelEvaluation(_Document):
    """What was found out about one model."""

    uri: str
    """Of the `Model` artifact, or where it was pushed to, if it was brought from there."""
    overall: Scores
    slices: tuple[Slice, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Pixels by label (row) and prediction (column)."""


class Check(_Document):
    """A threshold, and how the model stands to it."""

    metric: str
    slice: tuple[str, str] | None = None
    """Feature and value; None for all pictures."""
    key: str
    """Of the configuration, where the threshold stands."""
    wanted: float
    """The least value, or the least difference to the baseline's."""
    is_change: bool
    value: float | None
    """Of the new model; None where nothing was counted."""
    baseline: float | None = None
    """Of the other model, if it is a change."""
    passed: bool
    sentence: str
    """All of this in words."""


class Evaluation(_Document):
    """What was found out about a model, and whether it is good enough."""

    class_names: tuple[str, ...]
    candidate: ModelEvaluation
    baseline: ModelEvaluation | None
    """The last good model, judged on the same pictures."""
    not_compared: str | None
    """Why there is no baseline, in words."""
    blessed: bool
    checks: tuple[Check, ...]

    @property
    def mean_iou(self) -> float | None:
        """Of the new model; None if no pixel was counted."""
        return self.candidate.overall.mean_iou

    @property
    def baseline_mean_iou(self) -> float | None:
        """Of the model that it is compared with; None without one."""
        return None if self.baseline is None else self.baseline.overall.mean_iou

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the model is not good enough, a sentence each; none if it is."""
        if not self.checks:
            return (NO_THRESHOLDS,)
        return tuple(check.sentence for check in self.checks if not check.passed)


NO_THRESHOLDS = (
    "no threshold is set, so nothing says that the model is good enough; set eval.min_mean_iou or another of eval"
)


class PictureScores(_Document):
    """How well a model did on one picture."""

    id: str
    mean_iou: float | None
    """Over the classes that the picture or its prediction has."""
    pixel_accuracy: float | None
    iou: Mapping[str, float]
    """Of the classes that the picture or its prediction has."""
    baseline_mean_iou: float | None = None


class EvaluationError(RuntimeError):
    """An evaluation cannot be read; the message says where it lies and why."""


def read_evaluation(folder: str) -> Evaluation:
    """Reads the evaluation in the folder of a `ModelEvaluation` artifact, path or URI.

    Raises:
        EvaluationError: there is none, or it is damaged.
    """
    place = files.join(folder, EVALUATION_FILE)
    try:
        return Evaluation.model_validate_json(files.read_bytes(place))
    except FileNotFoundError as error:
        raise EvaluationError(f"{place}: there is no such file; the run was made by an earlier version") from error
    except ValidationError as error:
        raise EvaluationError(f"{place}: no evaluation ({error})") from error


def read_pictures(folder: str) -> Iterator[PictureScores]:
    """Reads the scores of all pictures, in the order of their ids, from the folder of a `ModelEvaluation` artifact."""
    for line in files.read_bytes(files.join(folder, PICTURES_FILE)).splitlines():
        yield PictureScores.model_validate(json.loads(line))
