"""What training's progress says, of trainings whose losses and times are known."""

import keras
import numpy as np
import pytest

from trainer.training import progress
from trainer.training.progress import Progress, ProgressLogger

BATCH_SIZE = 4


def rate(step: int) -> float:
    """The learning rate of the tests."""
    return 0.01 * (10 - step)


class Losses(keras.Model):
    """A model whose loss is the mean of its input; it learns nothing."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, values):
        return self.scale * values


class Clock:
    """Stands in for `time.monotonic`; it moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Takes(keras.callbacks.Callback):
    """Makes each step take a time of its own. It must come before the logger."""

    def __init__(self, clock, seconds):
        super().__init__()
        self._clock = clock
        self._seconds = iter(seconds)

    def on_train_batch_end(self, batch, logs=None):
        self._clock.now += next(self._seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def train(logger, losses, *callbacks, period=None):
    """Trains for one step per loss, in Keras-epochs of `period` steps."""
    model = Losses()
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=lambda _, values: values,
        run_eagerly=True,
    )
    values = np.repeat(np.array(losses, np.float32), BATCH_SIZE)[:, None]
    period = period or len(losses)

    def batches():
        for start in range(0, len(values), BATCH_SIZE):
            batch = values[start : start + BATCH_SIZE]
            yield batch, batch

    model.fit(
        batches(),
        steps_per_epoch=period,
        epochs=len(losses) // period,
        verbose=0,
        callbacks=[*callbacks, logger],
    )


def test_the_loss_is_the_mean_since_the_last_report(clock):
    reports = []
    logger = ProgressLogger(6, BATCH_SIZE, rate, on_report=reports.append)
    # Due a second after the first step, so after steps 3 and 5, and at the last.
    train(logger, [1, 2, 3, 4, 5, 9], Takes(clock, [30, 0.5, 0.5, 0.5, 0.5, 0.5]))
    assert [report.step for report in reports] == [3, 5, 6]
    assert [report.loss for report in reports] == pytest.approx([(1 + 2 + 3) / 3, (4 + 5) / 2, 9])


def test_a_training_that_is_carried_on_begins_at_its_step(clock):
    reports = []
    logger = ProgressLogger(104, BATCH_SIZE, rate, first_step=100, on_report=reports.append)
    train(logger, [1, 2, 3, 4], Takes(clock, [30, 2, 2, 2]))
    assert [report.step for report in reports] == [102, 103, 104]
    assert [report.loss for report in reports] == pytest.approx([1.5, 3, 4])
    assert [report.seconds_left for report in reports] == pytest.approx([4, 2, 0])


def test_the_first_step_counts_in_no_speed(clock):
    reports = []
    logger = ProgressLogger(10, BATCH_SIZE, rate, on_report=reports.append)
    train(logger, [1.0] * 4, Takes(clock, [30, 2, 2, 4]))
    assert [report.images_per_second for report in reports] == pytest.approx([2, 2, 1])
    assert [report.seconds_left for report in reports] == pytest.approx([2 * 8, 2 * 7, 8 / 3 * 6])


def test_an_evaluation_counts_in_the_time_left_and_in_no_speed(clock):
    reports = []
    logger = ProgressLogger(10, BATCH_SIZE, rate, on_report=reports.append)

    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with logger.paused():
                clock.now += 6

    train(logger, [1.0] * 4, Takes(clock, [30, 2, 2, 2]), Evaluates(), period=2)
    assert [report.images_per_second for report in reports] == pytest.approx([2, 2, 2])
    assert [report.seconds_left for report in reports] == pytest.approx([2 * 8, 10 / 2 * 7, 12 / 3 * 6])


def test_a_training_of_one_step_has_a_report(clock):
    reports = []
    train(ProgressLogger(1, BATCH_SIZE, rate, on_report=reports.append), [7], Takes(clock, [2]))
    (report,) = reports
    assert (report.step, report.steps, report.loss, report.images_per_second) == (1, 1, 7, 2)


def test_the_log_has_a_line_and_the_progress_itself(caplog):
    with caplog.at_level("INFO", logger="trainer"):
        train(ProgressLogger(3, BATCH_SIZE, rate), [1, 2, 3])
    (record,) = caplog.records
    assert (record.progress.step, record.progress.steps) == (3, 3)
    assert record.getMessage().startswith("step 3 of 3, loss 2.0000, learning rate 0.07, ")


def test_an_evaluation_is_told_at_once_and_from_then_on(clock, caplog):
    logger = ProgressLogger(4, BATCH_SIZE, rate)

    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                logger.evaluated(0.41, best_mean_iou=0.43)

    with caplog.at_level("INFO", logger="trainer"):
        train(logger, [1, 1, 1, 1], Takes(clock, [30, 2, 2, 2]), Evaluates(), period=2)
    told = [
        (record.progress.step, record.progress.mean_iou, record.progress.best_mean_iou) for record in caplog.records
    ]
    assert told == [(2, None, None), (2, 0.41, 0.43), (3, 0.41, 0.43), (4, 0.41, 0.43)]
    assert caplog.records[-1].getMessage().endswith("left, mean IoU 0.410, best 0.430")


def test_what_is_not_due_is_not_fetched_from_the_device(clock):
    fetched = []

    class Loss(float):
        def __float__(self):
            fetched.append(1)
            return 1.0

    logger = ProgressLogger(100, BATCH_SIZE, rate)
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    for batch in range(50):
        logger.on_train_batch_end(batch, {"loss": Loss()})
    assert len(fetched) == 1  # of the first step, when the clock starts


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (309, "5:09"), (3909, "1:05:09")])
def test_the_time_left_in_words(seconds, shown):
    assert Progress(1, 2, 0.5, 0.007, 4.0, seconds).time_left == shown
