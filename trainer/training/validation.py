"""Mean IoU on the eval split while the network is trained, and what follows from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainer.common import metrics
from trainer.common.counts import confusion_matrix
from trainer.common.drawing import side_by_side
from trainer.common.training_history import TrainingHistory, ValidationResult
from trainer.data.augmentation import normalised
from trainer.model.backbones import Normalisation
from trainer.model.folding import folded
from trainer.settings import TrainerSettings
from trainer.training.callbacks import StepCallback
from trainer.training.checkpoints import TrainingFolder
from trainer.training.optimizer import innermost
from trainer.training.progress import ProgressLogger
from trainer.training.tensorboard import TensorBoardWriter

LOGGER = logging.getLogger(__name__)

SHOWN_PICTURES = 8
"""Pictures of the eval split, the first ones, that are drawn at every evaluation."""


@dataclass(frozen=True)
class Shown:
    """A picture that is drawn at every evaluation, without the padding."""

    id: str
    image: np.ndarray
    """uint8[H, W, 3]."""
    label: np.ndarray
    """uint8[H, W]."""


class Validation:
    """Runs a network over the eval split.

    It is judged as it will be served: on the whole canvas, at the output stride of serving, in float32. Every worker
    judges the whole split by itself, on its first device: so all come to the same numbers, and to the same decisions,
    without a word between them.

    Args:
        network: images float32[N, S, S, 3] to logits, as it is served; it gets the weights of training.
        batches: as `trainer.data.input.evaluation_batches` gives them.
        normalisation: the backbone's.
    """

    def __init__(self, network: keras.Model, batches: tf.data.Dataset, normalisation: Normalisation):
        self._weights = network.weights
        self._network = folded(network)
        self._batches = batches
        self._normalisation = normalisation
        self._num_classes = network.output_shape[-1]
        self._predict = tf.function(self._predicted, reduce_retracing=True)
        self._count = tf.function(self._counted, reduce_retracing=True)

    def take(self, weights: Sequence) -> None:
        """Gives the network the weights that are to be judged."""
        for variable, weight in zip(self._weights, weights, strict=True):
            variable.assign(ops.convert_to_numpy(weight))

    def confusion_matrix(self) -> np.ndarray:
        """int64[C, C]: pixels of the canvases by label (row) and prediction (column), ignored ones left out."""
        total = np.zeros([self._num_classes] * 2, np.int64)
        for (canvases, content_sizes), labels, _ in self._batches:
            total += self._count(canvases, content_sizes, labels).numpy()
        return total

    def pictures(self) -> tuple[list[Shown], list[np.ndarray]]:
        """The first pictures of the split, and the class indices int32[H, W] that the network gives them."""
        shown, predictions = [], []
        for (canvases, content_sizes), labels, ids in self._batches:
            predicted = self._predict(canvases, content_sizes).numpy()
            for index, (height, width) in enumerate(content_sizes.numpy()):
                image, label = canvases[index, :height, :width].numpy(), labels[index, :height, :width].numpy()
                shown.append(Shown(ids[index].numpy().decode(), image, label))
                predictions.append(predicted[index, :height, :width])
                if len(shown) == SHOWN_PICTURES:
                    return shown, predictions
        return shown, predictions

    def _predicted(self, canvases, content_sizes):
        """uint8[N, S, S, 3] -> class indices int32[N, S, S]."""
        logits = self._network(normalised(canvases, content_sizes, self._normalisation), training=False)
        return ops.cast(ops.argmax(logits, axis=-1), "int32")

    def _counted(self, canvases, content_sizes, labels):
        """A batch's share of the confusion matrix, int64[C, C]."""
        predictions = self._predicted(canvases, content_sizes)
        # On GPUs there is no counting that sums in a fixed order.
        with tf.device("CPU"):
            return confusion_matrix(tf.cast(labels, tf.int32), predictions, self._num_classes)


def is_evaluation_due(step: int, every: int, steps: int) -> bool:
    """Whether there is one after so many steps: after every so many, and after the last."""
    return step % every == 0 or step == steps


class Evaluations(StepCallback):
    """Evaluates every so many steps and after the last one, and keeps the best weights.

    When the mean IoU does not rise for a while, it reduces the learning rate or ends the training, if the configuration
    says so.

    Args:
        validation: runs the network over the eval split.
        network: that is trained, and whose weights are judged and kept.
        check: raises an error if the weights are none to be judged or kept.
        average_statistics: makes those of all replicas the same.
        folder: keeps them.
        history: of the steps that were taken before.
        every: steps between two evaluations.
        steps: in all.
        settings: say when the rate is reduced, or the training ends early, and what the classes are.
        progress: is told the mean IoU, and stands still meanwhile.
        tensorboard: is told all of it.
    """

    def __init__(
        self,
        validation: Validation,
        network: keras.Model,
        check: Callable[[], None],
        average_statistics: Callable[[], None],
        folder: TrainingFolder,
        history: TrainingHistory,
        *,
        every: int,
        steps: int,
        settings: TrainerSettings,
        progress: ProgressLogger,
        tensorboard: TensorBoardWriter | None,
    ):
        super().__init__(history.step)
        self.history = history
        """Brought up to date by each evaluation."""
        self._validation = validation
        self._check = check
        self._average_statistics = average_statistics
        # Their order is another one while a part of them is frozen.
        self._weights = tuple(network.weights)
        self._folder = folder
        self._every = every
        self._steps = steps
        self._hps = settings.hps
        self._train = settings.train
        self._labels = settings.labels
        self._progress = progress
        self._tensorboard = tensorboard

    def after_step(self, mean_loss) -> None:
        if not is_evaluation_due(self.step, self._every, self._steps):
            return
        self._check()
        with self._progress.paused(), innermost(self.model.optimizer).averaged_weights():
            self._evaluate(self.loss_since_mark(mean_loss))

    def _evaluate(self, loss: float) -> None:
        began = time.monotonic()
        self._average_statistics()
        self._validation.take(self._weights)
        matrix = self._validation.confusion_matrix()
        seconds = time.monotonic() - began
        mean_iou = metrics.mean_iou(matrix)
        if np.isnan(mean_iou):
            raise ValueError("no pixel of the eval split counts: all of its labels are ignored; look at data.labels")
        evaluation = ValidationResult(
            step=self.step,
            mean_iou=mean_iou,
            iou=tuple(map(metrics.number, metrics.iou_per_class(matrix))),
            loss=loss,
            learning_rate=innermost(self.model.optimizer).rate_at(self.step - 1),
            seconds=seconds,
        )
        LOGGER.info("step %d: mean IoU %.4f on the eval split, %.1f s", self.step, mean_iou, seconds)
        self.history = self.history.with_evaluation(evaluation)
        best = self.history.best or evaluation
        self._progress.evaluated(mean_iou, best.mean_iou)
        if best is evaluation:
            self._folder.save_best(self._weights, self.step)
        elif self.history.ends_early(self._train.early_stopping):
            LOGGER.info("training ends early: no mean IoU above %.4f since step %d", best.mean_iou, best.step)
            self.model.stop_training = True
        elif self._hps.reduce_lr_factor and self.history.evaluations_without_progress >= self._hps.reduce_lr_patience:
            self._reduce_rate()
        if self._tensorboard is not None:
            self._tensorboard.evaluation(self.step, confusion_matrix=matrix, seconds=seconds)
            shown, predictions = self._validation.pictures()
            drawn = [
                side_by_side(each.image, each.label, prediction, self._labels)
                for each, prediction in zip(shown, predictions, strict=True)
            ]
            self._tensorboard.pictures(self.step, drawn, [each.id for each in shown])

    def _reduce_rate(self) -> None:
        factor = innermost(self.model.optimizer).rate_factor
        factor.assign(factor * self._hps.reduce_lr_factor)
        self.history = self.history.with_reduced_rate()
        LOGGER.info("the learning rate is multiplied by %g: the mean IoU does not rise", self._hps.reduce_lr_factor)
