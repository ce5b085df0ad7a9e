"""Training's progress as log records: a line in any log, a bar where somebody draws one."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import keras

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Attached to each record as its attribute `progress`."""

    step: int
    steps: int
    loss: float
    images_per_second: float


class ProgressLogger(keras.callbacks.Callback):
    """Logs loss and speed about every second, and at the last step.

    Args:
        steps: optimisation steps in all.
        batch_size: pictures per step.
    """

    def __init__(self, steps: int, batch_size: int):
        super().__init__()
        self._steps = steps
        self._batch_size = batch_size

    def on_train_begin(self, logs=None):
        self._step = 0
        self._reported_step = 0
        self._reported_loss_sum = 0.0
        self._reported_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        # Keras gives the mean since the epoch began; wanted is the mean since the last report.
        loss_sum = float(logs["loss"]) * self._step
        elapsed = time.monotonic() - self._reported_at
        if elapsed < 1 and self._step < self._steps:
            return
        speed = (self._step - self._reported_step) * self._batch_size / max(elapsed, 1e-9)
        loss = (loss_sum - self._reported_loss_sum) / (self._step - self._reported_step)
        progress = Progress(self._step, self._steps, loss, speed)
        LOGGER.info(
            "step %d of %d, loss %.4f, %.1f images/s",
            progress.step,
            progress.steps,
            progress.loss,
            progress.images_per_second,
            extra={"progress": progress},
        )
        self._reported_step = self._step
        self._reported_loss_sum = loss_sum
        self._reported_at = time.monotonic()
