"""Learning rate, optimiser and training step, in pure Keras."""

from __future__ import annotations

import math

import keras
from keras import ops

from trainer.augmentation import augment
from trainer.settings import Augmentation, Hps


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


class StopOnDivergence(keras.callbacks.Callback):
    """Raises `DivergedError` as soon as the loss is infinite or not a number."""

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            step = int(self.model.optimizer.iterations)
            raise DivergedError(
                f"the loss became {logs['loss']} at step {step}; lower hps.lr "
                f"(it was {float(self.model.optimizer.learning_rate):.3g} at that step)"
            )


def optimizer(hps: Hps, steps: int) -> keras.optimizers.Optimizer:
    """SGD with momentum, or Adam, under the schedule of the learning rate.

    Args:
        hps: the hyperparameters.
        steps: optimisation steps in all.
    """
    schedule = learning_rate(hps, steps)
    if hps.optimizer == "adam":
        return keras.optimizers.Adam(schedule, beta_1=hps.beta_1, beta_2=hps.beta_2)
    return keras.optimizers.SGD(schedule, momentum=hps.momentum)


def learning_rate(hps: Hps, steps: int) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """The learning rate by step; poly is that of arXiv:1606.00915, section 4.3."""
    schedules = keras.optimizers.schedules
    if hps.lr_schedule == "poly":
        return schedules.PolynomialDecay(hps.lr, decay_steps=steps, end_learning_rate=0.0, power=hps.poly_power)
    if hps.lr_schedule == "inverse_time":
        return schedules.InverseTimeDecay(hps.lr, decay_steps=1, decay_rate=hps.decay)
    return hps.lr


class AugmentedTraining(keras.Model):
    """Trains a network on augmented pictures; the augmentation is part of the training step.

    Its training data are ((image, content_size, draws), label), as `trainer.input.training_batches` gives them.
    """

    def __init__(self, network: keras.Model, augmentation: Augmentation):
        super().__init__(name="training")
        self.network = network
        self._augmentation = augmentation

    def call(self, images, training=None):
        """float32[N, S, S, 3] -> logits float32[N, S, S, C]."""
        return self.network(images, training=training)

    def train_step(self, *state_and_data):
        """Augments the batch and takes Keras' own step, with the arguments that the backend passes."""
        *state, ((images, content_sizes, draws), labels) = state_and_data
        batch = augment(images, labels, content_sizes, ops.cast(draws, "float32"), self._augmentation)
        return super().train_step(*state, batch)
