"""The training step, in pure Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import keras

from schema.labels import IGNORE_LABEL
from trainer.data.augmentation import augment
from trainer.model.backbones import Normalisation
from trainer.model.weights import leaves
from trainer.settings import Augmentation


class AugmentedTraining(keras.Model):
    """Trains a network on augmented pictures; the augmentation is part of the training step.

    Its training data are ((canvas, content_size, draws), label), as `trainer.data.input.training_batches` gives them.

    Args:
        network: images to logits.
        augmentation: what to draw from.
        normalisation: the backbone's.
        background: the label of what is no object.
        compiled: makes a faster function of the augmentation.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: Augmentation,
        normalisation: Normalisation,
        background: int = IGNORE_LABEL,
        compiled: Callable[[Callable], Callable] = lambda function: function,
    ):
        super().__init__(name="training")
        self.network = network
        change = partial(
            augment,
            size=network.input_shape[1],
            settings=augmentation,
            normalisation=normalisation,
            background=background,
        )
        self._augment = compiled(change)

    def call(self, images, training=None):
        """float32[N, S, S, 3] -> logits float32[N, S, S, C]."""
        return self.network(images, training=training)

    def train_step(self, *state_and_data):
        """Augments the batch and takes Keras' own step, with the arguments that the backend passes."""
        *state, ((canvases, content_sizes, draws), labels) = state_and_data
        return super().train_step(*state, self._augment(canvases, labels, content_sizes, draws))


def training_state(training: keras.Model) -> list[keras.Variable]:
    """Every variable that a training step reads: of network and optimiser, and the states of random generators."""
    metrics = {id(variable) for variable in training.metrics_variables}
    return [
        *(variable for variable in training.variables if id(variable) not in metrics),
        *training.optimizer.variables,
    ]


@contextmanager
def frozen(backbone: keras.Model, is_frozen: bool = True) -> Iterator[None]:
    """Keeps a part of the network as it is for a while, the statistics of its batch normalisations too."""
    before = [(layer, layer.trainable) for layer in leaves(backbone)]
    if is_frozen:
        backbone.trainable = False
    try:
        yield
    finally:
        backbone.trainable = True
        # What was not trainable before, as with `hps.bn_freeze`, is not now.
        for layer, trainable in before:
            layer.trainable = trainable
