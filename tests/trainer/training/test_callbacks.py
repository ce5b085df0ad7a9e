"""What watches over training."""

from __future__ import annotations

import os
import signal

import keras
import numpy as np
import pytest
from keras import ops

from trainer.training.callbacks import (
    DivergedError,
    Interruption,
    KeepCheckpoints,
    LazyCallbackList,
    StepCallback,
    StopOnDivergence,
)


def fit(values, *callbacks: keras.callbacks.Callback, epochs: int = 1, loss=lambda _, output: output) -> None:
    """Takes one step for each value, which is the step's loss."""
    values = np.array(values, np.float32)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss)
    watching = LazyCallbackList(callbacks, add_history=True, model=model)
    model.fit(values[:, None], values, batch_size=1, shuffle=False, verbose=0, callbacks=watching, epochs=epochs)


class Losses(StepCallback):
    """Notes the mean loss of every two steps."""

    def __init__(self):
        super().__init__(first_step=10)
        self.means: dict[int, float] = {}

    def after_step(self, mean_loss) -> None:
        if self.step % 2 == 0:
            self.means[self.step] = self.loss_since_mark(mean_loss)


def test_the_mean_loss_of_a_stretch_does_not_depend_on_keras_epochs():
    losses = Losses()
    fit([1, 3, 5, 7, 9, 11], losses, epochs=2)
    assert losses.means == pytest.approx({12: 2, 14: 6, 16: 10, 18: 2, 20: 6, 22: 10})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("every", "last_step"), [(1, 10), (4, 12), (100, 14)])
def test_a_loss_that_is_no_number_stops_training_and_names_the_pictures(value, every, last_step):
    values = [1.0, 1.0, value, 1.0, 1.0, 1.0, 1.0]
    stop = StopOnDivergence(lambda step: [f"picture of {step}"], lambda step: step / 100, first_step=7, every=every)
    with pytest.raises(DivergedError) as error:
        fit(values, stop, epochs=2)
    assert stop.step == last_step
    assert f"the loss became {value} at step 10; lower hps.lr (the rate was 0.09 at that step)" in str(error.value)
    assert str(error.value).endswith("look at the pictures of that step: picture of 9")


def square_root(_, output):
    """Its gradient at 0 is no number."""
    return ops.sqrt(output)


@pytest.mark.parametrize(
    ("values", "loss", "expected"),
    [
        ([1, np.nan, 1], lambda _, output: output, "the loss became nan at step 2"),
        ([1, 0, 1], square_root, r"weights \(.*kernel\) became infinite or no numbers at step 2"),
    ],
    ids=["loss", "weights"],
)
@pytest.mark.parametrize("every", [1, 100])
def test_nothing_is_saved_of_what_is_no_number(values, loss, expected, every):
    stop = StopOnDivergence(lambda step: [], lambda step: 0.1, every=every)
    saved: list[int] = []

    def save(step: int) -> None:
        stop.check()
        saved.append(step)

    with pytest.raises(DivergedError, match=expected):
        fit(values, stop, KeepCheckpoints(save, lambda step: True, Interruption()), loss=loss)
    assert saved == [1]


def test_a_long_list_of_pictures_is_cut():
    stop = StopOnDivergence(lambda step: [str(index) for index in range(20)], lambda step: 0.1)
    with pytest.raises(DivergedError, match=r"14, 15 and 4 more$"):
        fit([np.nan], stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_training_when_the_step_is_saved(number):
    saved: list[int] = []
    interruption = Interruption()

    class Sends(StepCallback):
        def after_step(self, mean_loss) -> None:
            if self.step == 3:
                os.kill(os.getpid(), number)

    keep = KeepCheckpoints(saved.append, lambda step: step == 2, interruption)
    before = signal.getsignal(number)
    with interruption.held_back(), pytest.raises(KeyboardInterrupt, match=f"{number.name} at step 3; the next run"):
        fit([1, 1, 1, 1], Sends(), keep)
    assert saved == [2, 3]
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_at_once():
    with Interruption().held_back(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one did not")
