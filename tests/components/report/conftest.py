"""A run as it might have been, on generated pictures: no TensorFlow is needed to draw its page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.artifacts.evaluation import (
    PICTURES_FILE,
    Check,
    Evaluation,
    ModelEvaluation,
    PictureScores,
    Scores,
    Slice,
)
from components.artifacts.infra_validation import InfraValidationResult
from components.artifacts.measurements import Measurement
from components.report.example_images import chosen_pictures, draw
from components.report.page import ReportData, Shown
from pipeline.datasets.synthetic_voc import draw_pair
from schema.labels import IGNORE_LABEL, VOC2012, Labels
from trainer.common.metrics import iou_per_class, mean_iou, metric_names, metric_values, pixel_accuracy
from trainer.common.training_history import TrainingHistory
from trainer.common.training_history import ValidationResult as TrainingEvaluation

PICTURES = 40
CLASSES = len(VOC2012.classes)


def prediction_of(label: np.ndarray, rng: np.random.Generator, errors: float) -> np.ndarray:
    """A label moved a little, with some of its classes taken for others."""
    moved = np.roll(label, rng.integers(-4, 5, 2), (0, 1))
    moved[moved == IGNORE_LABEL] = 0
    for index in np.unique(moved):
        if index and rng.random() < errors:
            moved[moved == index] = rng.integers(0, CLASSES)
    return moved


def confusion(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    counted = label != IGNORE_LABEL
    pairs = CLASSES * label[counted].astype(int) + prediction[counted]
    return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def png(mask: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


def scores_of(matrix: np.ndarray, pictures: int, half_width: float = 0.0) -> Scores:
    boundary = np.zeros((CLASSES, 7), np.int64)
    boundary[:, [0, 1, 3, 5]] = 100
    boundary[:, [2, 4, 6]] = np.random.default_rng(pictures).integers(20, 90, (CLASSES, 3))
    found = zip(metric_names(VOC2012.names), metric_values(matrix, boundary), strict=True)
    metrics = {name: None if np.isnan(value) else value for name, value in found}
    intervals = {
        name: (max(0, value - half_width), min(1, value + half_width)) for name, value in metrics.items() if value
    }
    return Scores(pictures=pictures, metrics=metrics, intervals=intervals if half_width else {})


def write_scores(folder: Path, scores: Iterator[PictureScores] | list[PictureScores]) -> None:
    lines = (each.model_dump_json() for each in sorted(scores, key=lambda each: each.id))
    (folder / PICTURES_FILE).write_text("".join(f"{line}\n" for line in lines))


def history_of(evaluations: int = 10) -> TrainingHistory:
    ious = np.linspace(0.05, 0.62, evaluations) + np.sin(np.arange(evaluations)) * 0.03
    return TrainingHistory(
        30 * evaluations,
        tuple(
            TrainingEvaluation(30 * (index + 1), float(iou), (None,) * CLASSES, 3 / (index + 1), 0.006 * 0.8**index, 4)
            for index, iou in enumerate(ious)
        ),
    )


def made_up_run(folder: Path) -> ReportData:
    """All of it.

    Args:
        folder: where the scores of the pictures are written.
    """
    rng = np.random.default_rng(0)
    pairs, scores, total, before = (
        {},
        [],
        np.zeros((CLASSES, CLASSES), np.int64),
        np.zeros((CLASSES, CLASSES), np.int64),
    )
    for number in range(PICTURES):
        picture, encoded = draw_pair(np.random.default_rng([0, number]), number)
        label = np.asarray(Image.open(io.BytesIO(encoded)))
        new, old = (prediction_of(label, rng, errors) for errors in (0.25, 0.4))
        name, of_new = f"2012_{number:06d}", confusion(label, new)
        pairs[name] = picture, encoded, png(new)
        total += of_new
        before += confusion(label, old)
        iou = zip(VOC2012.names, iou_per_class(of_new).tolist(), strict=True)
        scores.append(
            PictureScores(
                id=name,
                mean_iou=mean_iou(of_new),
                pixel_accuracy=pixel_accuracy(of_new),
                iou={each: value for each, value in iou if value == value},
                baseline_mean_iou=mean_iou(confusion(label, old)),
            )
        )
    write_scores(folder, scores)
    slices = [("object_size", value) for value in ("small", "medium", "large")]
    slices += [("class_count", value) for value in ("1", "2", "3 or more")]
    slices += [("picture_size", "small"), ("span", "9"), ("span", "10"), ("class", "person"), ("class", "cat")]

    def judged(uri: str, matrix: np.ndarray, half_width: float) -> ModelEvaluation:
        parts = (
            Slice(feature=feature, value=value, scores=scores_of(matrix, 5 + index))
            for index, (feature, value) in enumerate(sorted(slices))
        )
        matrix_rows = tuple(map(tuple, matrix.tolist()))
        overall = scores_of(matrix, PICTURES, half_width)
        return ModelEvaluation(uri=uri, overall=overall, slices=tuple(parts), confusion_matrix=matrix_rows)

    candidate, baseline = judged("/runs/model/8", total, 0.03), judged("/runs/model/3", before, 0.0)
    floor = Check(
        metric="mean_iou",
        key="eval.min_mean_iou",
        wanted=0.4,
        is_change=False,
        value=candidate.overall.mean_iou,
        passed=True,
        sentence=f"mean IoU {candidate.overall.mean_iou:.4f} reaches the floor eval.min_mean_iou 0.4",
    )
    of_class = floor.model_copy(
        update={"passed": False, "sentence": "IoU of cat 0.3120 is below the floor eval.min_iou.cat 0.5"}
    )
    evaluation = Evaluation(
        class_names=VOC2012.names,
        candidate=candidate,
        baseline=baseline,
        not_compared=None,
        blessed=False,
        checks=(floor, of_class),
    )
    pictures = {
        kind: [Shown(each, draw(*pairs[each.id], VOC2012)) for each in of_kind]
        for kind, of_kind in chosen_pictures(str(folder)).items()
    }
    classes = tuple(SimpleNamespace(pictures=20 + index % 5, pixel_share=1 / CLASSES) for index in range(CLASSES))
    return ReportData(
        name="example",
        written="2026-01-02 03:04 UTC",
        evaluation=evaluation,
        validation=InfraValidationResult(
            blessed=True, reason=None, pictures=8, seconds={"load": 2.0}, peak_memory_mib=712.4
        ),
        labels=VOC2012,
        history=history_of(),
        training={"steps": 300, "pictures": 160, "precision": "float32", "devices": ["cpu:0"], "settings": {"seed": 0}},
        configuration={"name": "example", "hps": {"steps": 300, "lr": 0.006}},
        data={
            "train": SimpleNamespace(pictures=160, void_share=0.05, classes=classes),
            "eval": SimpleNamespace(pictures=PICTURES, void_share=0.05, classes=classes),
            "test": SimpleNamespace(pictures=3, void_share=0.0, classes=()),
        },
        anomalies=("eval: image/height: Unexpectedly small value: 7.",),
        pictures=pictures,
        lineage={"Spans of the data": "9, 10", "Training started from": "imagenet"},
        versions={"deeplab": "0.1.0", "Python": "3.11.2"},
        measurements=[
            Measurement(step="StatisticsGen", run="before", seconds=12.25, peak_memory=900 * 2**20),
            Measurement(step="Trainer", run="20260102-030405.678901", seconds=184.5, peak_memory=None),
        ],
        run_id="20260102-030405.678901",
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """A run whose model is not good enough."""
    return made_up_run(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="session")
def labels() -> Labels:
    return VOC2012


@pytest.fixture
def scores_file(tmp_path: Path) -> Callable:
    """Writes the scores of pictures with these mean IoUs, and gives the folder."""

    def write(*mean_ious: float | None) -> str:
        numbered = enumerate(mean_ious)
        write_scores(
            tmp_path,
            [PictureScores(id=f"{index:03d}", mean_iou=iou, pixel_accuracy=None, iou={}) for index, iou in numbered],
        )
        return str(tmp_path)

    return write
