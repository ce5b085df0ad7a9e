"""Learning rate, input and the whole of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import features
from trainer.input import training_batches, training_totals
from trainer.labels import VOC2012
from trainer.progress import ProgressLogger
from trainer.run import train
from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings
from trainer.training import DivergedError, StopOnDivergence, optimizer


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_poly_schedule(name):
    made = optimizer(Hps(optimizer=name, lr=0.007, poly_power=0.9), steps=100)
    for step in (0, 25, 99):
        made.iterations.assign(step)
        assert float(made.learning_rate) == pytest.approx(0.007 * (1 - step / 100) ** 0.9, rel=1e-4)


def test_the_other_schedules():
    made = optimizer(Hps(lr=0.1, lr_schedule="inverse_time", decay=0.5), steps=100)
    for step in (0, 1, 4):
        made.iterations.assign(step)
        assert float(made.learning_rate) == pytest.approx(0.1 / (1 + 0.5 * step))
    assert float(optimizer(Hps(lr=0.1, lr_schedule="constant"), steps=100).learning_rate) == pytest.approx(0.1)


def test_epochs_are_counted_in_pictures():
    assert Hps(epochs=2, batch_size=8).total_steps(pictures=10) == 3
    assert Hps(epochs=0.5, batch_size=8).total_steps(pictures=16) == 1
    assert Hps(steps=7).total_steps(pictures=10) == 7
    assert Hps().total_steps(pictures=10) == 30_000


def test_a_loss_that_is_no_number_stops_training():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    with pytest.raises(DivergedError, match=r"the loss became nan at step 1; lower hps\.lr"):
        model.fit(np.full((4, 1), np.nan), np.ones((4, 1)), batch_size=4, verbose=0, callbacks=[StopOnDivergence()])


def test_progress_tells_of_the_last_step(caplog):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    with caplog.at_level("INFO", logger="trainer"):
        model.fit(np.ones((12, 1)), np.ones((12, 1)), batch_size=4, verbose=0, callbacks=[ProgressLogger(3, 4)])
    last = caplog.records[-1].progress
    assert (last.step, last.steps) == (3, 3)
    assert last.loss >= 0
    assert last.images_per_second > 0


def test_the_same_seed_gives_the_same_batches(transformed):
    def first_batches(seed):
        dataset = training_batches(
            [transformed.pattern], transformed.graph, batch_size=4, shuffle_buffer=8, seed=seed
        ).take(4)
        return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in dataset]

    for ((image, size, draws), label), ((image2, size2, draws2), label2) in zip(
        first_batches(1), first_batches(1), strict=True
    ):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(size, size2)
        np.testing.assert_array_equal(draws, draws2)
        np.testing.assert_array_equal(label, label2)
    assert (first_batches(1)[0][1] != first_batches(2)[0][1]).any()


def test_epochs_differ_in_order_and_draws(transformed):
    dataset = training_batches([transformed.pattern], transformed.graph, batch_size=12, shuffle_buffer=12, seed=0)
    ((first, _, draws), _), ((second, _, draws2), _) = list(dataset.take(2))
    assert (first.numpy() != second.numpy()).any()
    np.testing.assert_allclose(np.sort(first.numpy().sum((1, 2, 3))), np.sort(second.numpy().sum((1, 2, 3))))
    assert (draws.numpy() != draws2.numpy()).all()


def test_the_pixels_of_each_class_are_those_of_the_whole_split(transformed):
    expected = np.zeros(21, np.int64)
    for record in transformed.records:
        example = tf.train.Example.FromString(record).features.feature
        expected += np.array(example[features.LABEL_PIXELS].int64_list.value)
    totals = training_totals([transformed.pattern], transformed.graph)
    np.testing.assert_array_equal(totals.class_pixels, expected)
    assert totals.pictures == len(transformed.records)


def test_the_same_settings_give_the_same_weights(transformed):
    settings = TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=8),
        hps=Hps(steps=3, batch_size=4),
        augmentation=Augmentation(),
        labels=VOC2012,
        train=Train(init_from="none"),
        eval_output_stride=16,
    )
    networks = [train(settings, [transformed.pattern], transformed.graph) for _ in range(2)]
    for first, second in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(first, second)
