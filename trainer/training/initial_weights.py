"""What training starts from: the network before the first step, and the hyperparameters that belong to it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras

from schema.labels import Labels, read_labels
from trainer.common import files
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import HEAD, Weights, WeightsError, read_weights, transfer, with_head
from trainer.serving import signatures
from trainer.settings import NAMED_WEIGHTS, TrainerSettings

LOGGER = logging.getLogger(__name__)
SHOWN = 5


def resolved(settings: TrainerSettings, earlier_model: str | None) -> TrainerSettings:
    """The settings with the one place that training starts from, and the hyperparameters that hold for it.

    Args:
        settings: as configured.
        earlier_model: the SavedModel that the pipeline has found, path or URI; None if there is none, or if none is
            to be looked for.
    """
    train = settings.train.model_copy(update={"init_from": (earlier_model or settings.train.weights,)})
    hps = settings.train.warm_start.applied_to(settings.hps) if earlier_model else settings.hps
    return settings.model_copy(update={"train": train, "hps": hps})


def initial_network(settings: TrainerSettings) -> keras.Model:
    """The network before training, at the output stride of training and with the weights of `train.init_from`.

    Of a whole network that was trained for other classes, the last layer is made anew; rows of classes that both have
    are kept, if the network says which it has.

    Raises:
        WeightsError: the weights cannot be read, or are of another network.
        ConnectionError: the ImageNet weights cannot be downloaded.
    """
    source = settings.train.weights
    keras_has_them = source in NAMED_WEIGHTS
    network = deeplabv3plus(
        settings.base_model,
        settings.training_arch,
        settings.hps,
        weights=source if keras_has_them else "none",
    )
    if not keras_has_them:
        try:
            weights, labels = _read(source)
            if (rows := _rows(weights, labels, settings.labels)) is not None:
                _tell(source, rows, settings.labels)
                weights = with_head(weights, network, rows)
            transfer(weights, network, source)
        except WeightsError as error:
            raise WeightsError(f"train.init_from: {error}") from error
    return network


def _read(source: str) -> tuple[Weights, Labels | None]:
    """Weights from a path or URI, and the classes that they are for, if it is said there."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            local = files.fetched(source, directory)
            if not Path(local).is_dir():
                return read_weights(Path(local), source), None
            return signatures.read_weights(local, source), read_labels(local)
        except OSError as error:
            raise WeightsError(f"{source} cannot be read: {error.strerror or error}") from error


def _rows(weights: Weights, earlier: Labels | None, labels: Labels) -> Sequence[int | None] | None:
    """For each class of now, its row in the last layer of the weights, or None for a new one.

    None instead of the list if that layer fits as it is, or if there is none.
    """
    if HEAD not in weights:
        return None
    classes = weights[HEAD][0].shape[-1]
    if earlier is None or len(earlier.classes) != classes:
        return None if classes == len(labels.classes) else [None] * len(labels.classes)
    return None if earlier.names == labels.names else [earlier.index_of(name) for name in labels.names]


def _tell(source: str, rows: Sequence[int | None], labels: Labels) -> None:
    new = [name for name, row in zip(labels.names, rows, strict=True) if row is None]
    names = ", ".join(new[:SHOWN]) + (f" and {len(new) - SHOWN} more" if len(new) > SHOWN else "")
    LOGGER.warning(
        "train.init_from: %s is for other classes than data.labels names; its last layer, %s, is made anew: %d of %d "
        "classes are taken over by their names%s",
        source,
        HEAD,
        len(rows) - len(new),
        len(rows),
        f", and at random begin: {names}" if new else "",
    )
