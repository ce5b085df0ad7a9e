"""What watches over training, step by step, in pure Keras."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

LOGGER = logging.getLogger(__name__)
SHOWN_IDS = 16


class DivergedError(RuntimeError):
    """The loss, or what was learnt, is no longer a number."""


class LazyCallbackList(keras.callbacks.CallbackList):
    """Callbacks that are given the logs of a step as they lie on the device.

    Keras' own list reads them first, and so makes every step wait for the device.
    """

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class StepCallback(keras.callbacks.Callback):
    """Is called after each optimisation step, whatever Keras calls a batch or an epoch.

    Args:
        first_step: steps that were taken before.
    """

    def __init__(self, first_step: int = 0):
        super().__init__()
        self.step = first_step
        """Steps that have been taken."""
        self._epoch_start = self._marked_step = first_step
        self._marked_sum = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        # Keras' mean of the loss begins anew.
        self._epoch_start = self._marked_step = self.step
        self._marked_sum = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.after_step(logs["loss"])

    def after_step(self, mean_loss) -> None:
        """To be overridden.

        Args:
            mean_loss: Keras' mean of the loss over the steps of its epoch, float32[]. To read it is to wait for the
                device.
        """
        raise NotImplementedError

    def loss_since_mark(self, mean_loss) -> float:
        """The mean loss over the steps since this was last asked for."""
        total = float(mean_loss) * (self.step - self._epoch_start)
        loss = (total - self._marked_sum) / (self.step - self._marked_step)
        self._marked_sum, self._marked_step = total, self.step
        return loss


class StopOnDivergence(StepCallback):
    """Raises `DivergedError` when the loss is infinite or not a number.

    To read each loss at once would be to wait for a GPU. So they are read every so many steps: training goes on for
    fewer steps than that, and the error names the first one that went wrong. Whoever judges or keeps weights calls
    `check` first.

    Args:
        ids_of_step: the ids of the pictures that a step, counted from 0, learnt from.
        learning_rate: of a step.
        first_step: steps that were taken before.
        every: after how many steps their losses are read.
    """

    def __init__(
        self,
        ids_of_step: Callable[[int], Sequence[str]],
        learning_rate: Callable[[int], float],
        first_step: int = 0,
        every: int = 1,
    ):
        super().__init__(first_step)
        self._learning_rate = learning_rate
        self._ids_of_step = ids_of_step
        self._every = every
        self._unread: list[tuple[int, Any]] = []

    def after_step(self, mean_loss) -> None:
        self._unread.append((self.step, mean_loss))
        if self.step % self._every == 0:
            self._check_losses()

    def on_epoch_end(self, epoch, logs=None):
        # Before Keras' mean begins anew.
        self._check_losses()

    def check(self) -> None:
        """Looks at the losses that are still unread, and at the weights.

        Raises:
            DivergedError: one is infinite or not a number.
        """
        self._check_losses()
        # The loss of the last step was that of the weights before it.
        for weight in self.model.weights:
            if not np.isfinite(ops.convert_to_numpy(weight)).all():
                raise self._error(f"weights ({weight.path}) became infinite or no numbers", self.step)

    def _check_losses(self) -> None:
        losses, self._unread = self._unread, []
        # A mean that is no number stays so, whatever is added: the last one speaks for all.
        if not losses or math.isfinite(float(losses[-1][1])):
            return
        step, loss = next((step, float(loss)) for step, loss in losses if not math.isfinite(float(loss)))
        raise self._error(f"the loss became {loss}", step)

    def _error(self, what: str, step: int) -> DivergedError:
        ids = list(self._ids_of_step(step - 1))
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        rate = self._learning_rate(step - 1)
        return DivergedError(
            f"{what} at step {step}; lower hps.lr (the rate was {rate:.3g} at that step), set hps.clip_norm, or look "
            f"at the pictures of that step: {', '.join(ids[:SHOWN_IDS])}{more}"
        )


class Interruption:
    """Ctrl-C and SIGTERM, which wait until a step is done and saved."""

    def __init__(self) -> None:
        self.by: str | None = None
        """The signal's name, when there was one."""

    @contextmanager
    def held_back(self) -> Iterator[Interruption]:
        """The first signal is noted; a second one ends the process as it would have without."""
        if threading.current_thread() is not threading.main_thread():
            LOGGER.warning("training is not in the main thread, so it will not save itself when it is stopped")
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: object) -> None:
            self.by = signal.Signals(number).name
            LOGGER.warning("%s: training stops when this step is done and saved", self.by)
            for each, handler in before.items():
                signal.signal(each, handler)

        try:
            for number, handler in before.items():
                # What is ignored, as Ctrl-C is in a shell's background, stays so.
                if handler is not signal.SIG_IGN:
                    signal.signal(number, note)
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class KeepCheckpoints(StepCallback):
    """Saves a checkpoint where one is due, and when training is interrupted.

    Args:
        save: saves one, after so many steps.
        is_due: whether one is to be saved after so many steps.
        interruption: is looked at after each step.
        first_step: steps that were taken before.
    """

    def __init__(
        self,
        save: Callable[[int], None],
        is_due: Callable[[int], bool],
        interruption: Interruption,
        first_step: int = 0,
    ):
        super().__init__(first_step)
        self._save = save
        self._is_due = is_due
        self._interruption = interruption

    def after_step(self, mean_loss) -> None:
        if self._interruption.by or self._is_due(self.step):
            self._save(self.step)
        if self._interruption.by:
            raise KeyboardInterrupt(f"{self._interruption.by} at step {self.step}; the next run goes on from there")
