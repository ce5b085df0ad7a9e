"""Input and the whole of training."""

import numpy as np
import tensorflow as tf

from schema import features
from schema.labels import VOC2012
from trainer import run
from trainer.data.input import training_batches, training_totals
from trainer.run import train
from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings
from trainer.training import progress
from trainer.training.train_step import AugmentedTraining


def test_epochs_are_counted_in_pictures():
    assert Hps(epochs=2, batch_size=8).total_steps(pictures=10) == 3
    assert Hps(epochs=0.5, batch_size=8).total_steps(pictures=16) == 1
    assert Hps(steps=7).total_steps(pictures=10) == 7
    assert Hps().total_steps(pictures=10) == 30_000


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


def settings(steps: int) -> TrainerSettings:
    """Without an evaluation, or a checkpoint, before the last step."""
    return TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=8),
        hps=Hps(steps=steps, batch_size=4),
        augmentation=Augmentation(),
        labels=VOC2012,
        train=Train(init_from="none", evaluate_every=steps),
        eval_output_stride=16,
    )


def test_no_loss_is_read_where_nothing_is_due(transformed, monkeypatch):
    """To read it would be to wait for the device."""
    taken, read = [], set()
    make_train_function = AugmentedTraining.make_train_function

    class Loss:
        """Notes that a step's loss is read."""

        def __init__(self, value):
            taken.append(self)
            self._step = len(taken)
            self._value = value

        def __float__(self):
            read.add(self._step)
            return float(self._value)

    def make_noting_train_function(self, force=False):
        make_train_function(self, force)
        step = self.train_function
        self.train_function = lambda iterator: {name: Loss(value) for name, value in step(iterator).items()}

    monkeypatch.setattr(AugmentedTraining, "make_train_function", make_noting_train_function)
    monkeypatch.setattr(run.devices, "steps_between_reads", lambda: 4)
    monkeypatch.setattr(progress, "REPORT_EVERY_S", 3600)
    train(settings(7), [transformed.pattern], transformed.graph)
    assert len(taken) == 7
    # The clock starts after the first step; losses are looked at every four; the last step is reported and saved.
    assert read == {1, 4, 7}


def test_the_same_settings_give_the_same_weights(transformed):
    networks = [train(settings(3), [transformed.pattern], transformed.graph) for _ in range(2)]
    for first, second in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(first, second)
