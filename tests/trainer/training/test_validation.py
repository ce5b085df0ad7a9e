"""Evaluations in the middle of training: what they count, keep and decide."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from schema.labels import IGNORE_LABEL, VOC2012
from trainer.common import metrics
from trainer.common.training_history import TrainingHistory, ValidationResult
from trainer.model.backbones import Normalisation
from trainer.settings import Hps, Train
from trainer.training.callbacks import DivergedError
from trainer.training.checkpoints import TrainingFolder
from trainer.training.validation import Evaluations, Validation, is_evaluation_due

SIZE = 9
CLASSES = 21
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def network() -> keras.Model:
    """Says the class that the red of a pixel stands for."""
    images = keras.Input((SIZE, SIZE, 3))
    logits = keras.ops.one_hot(keras.ops.cast(images[..., 0], "int32"), CLASSES)
    return keras.Model(images, logits)


@pytest.fixture
def batches() -> tf.data.Dataset:
    """Five pictures in batches of two; outside their contents the labels are ignored."""
    random = np.random.default_rng(0)
    canvases = random.integers(0, 5, (5, SIZE, SIZE, 3)).astype(np.uint8)
    labels = random.integers(0, 5, (5, SIZE, SIZE)).astype(np.uint8)
    labels[:, 0] = IGNORE_LABEL
    sizes = random.integers(4, SIZE + 1, (5, 2))
    for index, (height, width) in enumerate(sizes):
        labels[index, height:] = labels[index, :, width:] = IGNORE_LABEL
    ids = np.array([f"picture {index}".encode() for index in range(5)])
    return tf.data.Dataset.from_tensor_slices(((canvases, sizes), labels, ids)).batch(2)


def test_the_confusion_matrix_is_that_of_a_plain_count(batches):
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for (canvases, _), labels, _ in batches.unbatch().batch(5):
        for canvas, label in zip(canvases.numpy()[..., 0].ravel(), labels.numpy().ravel(), strict=True):
            if label != IGNORE_LABEL:
                expected[label, canvas] += 1
    np.testing.assert_array_equal(Validation(network(), batches, PLAIN).confusion_matrix(), expected)
    metric = keras.metrics.MeanIoU(CLASSES, ignore_class=IGNORE_LABEL)
    for (canvases, _), labels, _ in batches:
        metric.update_state(labels, canvases[..., 0])
    assert metrics.mean_iou(expected) == pytest.approx(float(metric.result()), abs=1e-6)


def test_pictures_are_shown_without_their_padding(batches):
    shown, predictions = Validation(network(), batches, PLAIN).pictures()
    assert [each.id for each in shown] == [f"picture {index}" for index in range(5)]
    for each, prediction, ((canvas, size), label, _) in zip(shown, predictions, batches.unbatch(), strict=True):
        height, width = size.numpy()
        np.testing.assert_array_equal(each.image, canvas.numpy()[:height, :width])
        np.testing.assert_array_equal(each.label, label.numpy()[:height, :width])
        np.testing.assert_array_equal(prediction, canvas.numpy()[:height, :width, 0])


class Scripted:
    """Instead of a run over the eval split: matrices with given shares of pixels that are right."""

    def __init__(self, accuracies):
        self._accuracies = iter(accuracies)

    def take(self, weights):
        pass

    def confusion_matrix(self):
        right = round(100 * next(self._accuracies))
        matrix = np.zeros((CLASSES, CLASSES), np.int64)
        matrix[:2, :2] = [[right, 100 - right], [100 - right, right]]
        return matrix


class Quiet:
    """Progress that nobody looks at."""

    def __init__(self):
        self.told = []

    @contextlib.contextmanager
    def paused(self):
        yield

    def evaluated(self, mean_iou, best_mean_iou):
        self.told.append((mean_iou, best_mean_iou))


class Optimizer(SimpleNamespace):
    """What an evaluation asks of one."""

    def __init__(self):
        super().__init__(rate_factor=keras.Variable(1.0))

    def rate_at(self, step):
        return 0.1 * float(self.rate_factor)

    def averaged_weights(self):
        return contextlib.nullcontext()


def evaluated(accuracies, folder: TrainingFolder, *, check=lambda: None, hps=None, **train) -> Evaluations:
    """Evaluates after each of a number of steps, until the training is ended."""
    evaluations = Evaluations(
        Scripted(accuracies),
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")]),
        check,
        lambda: None,
        folder,
        TrainingHistory(),
        every=1,
        steps=len(accuracies),
        settings=SimpleNamespace(hps=Hps(**(hps or {})), train=Train(**train), labels=VOC2012),
        progress=Quiet(),
        tensorboard=None,
    )
    evaluations.set_model(SimpleNamespace(optimizer=Optimizer(), stop_training=False))
    for step in range(len(accuracies)):
        # The weights tell the step.
        evaluations._weights[0].assign([[step + 1.0]])
        evaluations.on_train_batch_end(step, {"loss": 1.0})
        if evaluations.model.stop_training:
            break
    return evaluations


def test_the_best_weights_are_kept(tmp_path):
    folder = TrainingFolder(str(tmp_path))
    done = evaluated([0.5, 0.9, 0.7, 0.9], folder)
    assert done.history.best.step == 2
    assert done.history.best.mean_iou == pytest.approx(0.9 / 1.1)
    assert done.history.best.iou[:3] == (pytest.approx(0.9 / 1.1), pytest.approx(0.9 / 1.1), None)
    folder.restore_best(done._weights, 2)
    assert float(done._weights[0][0, 0]) == 2
    assert done._progress.told[-1] == (pytest.approx(0.9 / 1.1), pytest.approx(0.9 / 1.1))


def test_what_diverged_is_neither_judged_nor_kept(tmp_path):
    def check():
        raise DivergedError

    with pytest.raises(DivergedError):
        evaluated([0.5], TrainingFolder(str(tmp_path)), check=check)
    assert list(tmp_path.iterdir()) == []


def test_training_ends_when_nothing_has_got_better_for_a_while(tmp_path):
    done = evaluated([0.5, 0.9, 0.7, 0.8, 0.6, 0.95], TrainingFolder(str(tmp_path)), early_stopping=3)
    assert [evaluation.step for evaluation in done.history.evaluations] == [1, 2, 3, 4, 5]
    assert TrainingHistory.from_json(done.history.to_json()).ends_early(3)


def test_the_rate_is_reduced_when_nothing_gets_better(tmp_path):
    hps = {"reduce_lr_factor": 0.5, "reduce_lr_patience": 2}
    done = evaluated([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5], TrainingFolder(str(tmp_path)), hps=hps)
    assert [evaluation.reduced_rate for evaluation in done.history.evaluations] == [
        *(False, False, True, False, True, False, False)
    ]
    assert float(done.model.optimizer.rate_factor) == 0.25
    assert [evaluation.learning_rate for evaluation in done.history.evaluations][::3] == pytest.approx(
        [0.1, 0.05, 0.025]
    )


def test_labels_that_are_all_ignored_are_an_error(tmp_path):
    evaluations = evaluated([0.5], TrainingFolder(str(tmp_path)))
    evaluations._validation = SimpleNamespace(
        take=lambda weights: None, confusion_matrix=lambda: np.zeros((CLASSES, CLASSES), np.int64)
    )
    with pytest.raises(ValueError, match="no pixel of the eval split counts"):
        evaluations.on_train_batch_end(1, {"loss": 1.0})


def test_there_is_an_evaluation_after_the_last_step():
    assert [step for step in range(1, 11) if is_evaluation_due(step, every=4, steps=10)] == [4, 8, 10]


def test_a_history_survives_its_file():
    evaluation = ValidationResult(4, 0.5, (0.25, None), 1.5, 0.01, 2.0)
    history = TrainingHistory().with_evaluation(evaluation).with_reduced_rate()
    assert TrainingHistory.from_json(history.to_json()) == history
    assert history.step == 4
