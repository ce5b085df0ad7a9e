"""Training's progress as log records: a line in any log, a bar where somebody draws one."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from trainer.training.callbacks import StepCallback

LOGGER = logging.getLogger(__name__)
REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Progress:
    """Attached to each record as its attribute `progress`."""

    step: int
    steps: int
    loss: float
    """Mean over the steps since the last report."""
    learning_rate: float
    """Of the next step."""
    images_per_second: float
    """Since the last report, without the time of evaluations."""
    seconds_left: float
    """At the mean speed so far, evaluations included."""
    mean_iou: float | None = None
    """Of the last evaluation; None before the first."""
    best_mean_iou: float | None = None
    """Of the best evaluation so far."""

    @property
    def time_left(self) -> str:
        """As hours, minutes and seconds, such as 1:05:09 or 5:09."""
        minutes, seconds = divmod(round(self.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def __str__(self) -> str:
        text = (
            f"step {self.step} of {self.steps}, loss {self.loss:.4f}, learning rate {self.learning_rate:.2g}, "
            f"{self.images_per_second:.1f} images/s, {self.time_left} left"
        )
        if self.mean_iou is not None:
            text += f", mean IoU {self.mean_iou:.3f}, best {self.best_mean_iou:.3f}"
        return text


class ProgressLogger(StepCallback):
    """Logs where training is, about every second and at the last step.

    The first step of a fit, in which the training step is traced, counts in no speed.

    Args:
        steps: optimisation steps in all.
        batch_size: pictures per step, of all replicas together.
        learning_rate: of a step, counted from 0.
        first_step: steps that were taken before, by a training that this one carries on.
        on_report: is called with each report as well.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        learning_rate: Callable[[int], float],
        first_step: int = 0,
        on_report: Callable[[Progress], None] | None = None,
    ):
        super().__init__(first_step)
        self._steps = steps
        self._batch_size = batch_size
        self._learning_rate = learning_rate
        self._on_report = on_report
        self._last: Progress | None = None
        self._mean_iou: float | None = None
        self._best_mean_iou: float | None = None
        self._is_first = True
        self._reported_at = time.monotonic()

    def on_train_begin(self, logs=None):
        self._is_first = True

    def after_step(self, mean_loss) -> None:
        is_last = self.step >= self._steps
        if self._is_first:
            self._clocked_step = self._reported_step = self.step if not is_last else self.step - 1
            self._clocked_at = self._reported_at
        if self._is_first and not is_last:
            # Which waits for the device.
            float(mean_loss)
            self._clocked_at = self._reported_at = time.monotonic()
        elif is_last or time.monotonic() - self._reported_at >= REPORT_EVERY_S:
            self._report(self.loss_since_mark(mean_loss))
        self._is_first = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside it, time counts in no speed, but in the time left."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._reported_at += time.monotonic() - began

    def evaluated(self, mean_iou: float, best_mean_iou: float) -> None:
        """Tells of an evaluation: at once, if there was a report before, and with all reports to come."""
        self._mean_iou, self._best_mean_iou = mean_iou, best_mean_iou
        if self._last is not None:
            self._log(replace(self._last, mean_iou=mean_iou, best_mean_iou=best_mean_iou))

    def _report(self, loss: float) -> None:
        now = time.monotonic()
        seconds_per_step = (now - self._clocked_at) / (self.step - self._clocked_step)
        images = (self.step - self._reported_step) * self._batch_size
        progress = Progress(
            step=self.step,
            steps=self._steps,
            loss=loss,
            learning_rate=self._learning_rate(self.step),
            images_per_second=images / max(now - self._reported_at, 1e-9),
            seconds_left=seconds_per_step * (self._steps - self.step),
            mean_iou=self._mean_iou,
            best_mean_iou=self._best_mean_iou,
        )
        self._log(progress)
        if self._on_report is not None:
            self._on_report(progress)
        self._reported_step = self.step
        self._reported_at = now

    def _log(self, progress: Progress) -> None:
        self._last = progress
        LOGGER.info("%s", progress, extra={"progress": progress})
