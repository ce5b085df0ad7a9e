"""What training starts from: which of the places, with which hyperparameters, and what becomes of other classes."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from schema.labels import LABELS_FILE, Labels
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import HEAD, WeightsError, layers_with_weights
from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings
from trainer.training.initial_weights import initial_network, resolved

ANIMALS = ["background", "cat", "dog"]
OTHERS = ["background", "horse", "cat", {"name": "hound", "aliases": ["dog"]}]


def settings_of(classes: list, reduction_size: int = 8, hps: dict | None = None, **train) -> TrainerSettings:
    return TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=NNArch(
            image_size=65,
            mv2_depth_multiplier=0.35,
            reduction_size=reduction_size,
            concat_channels=8,
            num_classes=len(classes),
        ),
        hps=Hps(**(hps or {})),
        augmentation=Augmentation(),
        labels=Labels.model_validate({"classes": classes}),
        train=Train(**train),
        eval_output_stride=16,
    )


def network_of(settings: TrainerSettings) -> keras.Model:
    """One with a head that is nowhere 0."""
    network = deeplabv3plus(settings.base_model, settings.nn_arch)
    head = network.get_layer(HEAD)
    head.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in head.weights])
    return network


def saved_model(network: keras.Model, labels: Labels | None, folder: Path) -> str:
    """What a warm start reads of a SavedModel, without the graphs."""
    module = tf.Module()
    module.weights = {name: layer.weights for name, layer in layers_with_weights(network).items()}
    tf.saved_model.save(module, str(folder))
    if labels:
        (folder / LABELS_FILE).parent.mkdir(exist_ok=True)
        (folder / LABELS_FILE).write_text(labels.model_dump_json())
    return str(folder)


def body_of(network: keras.Model) -> list[np.ndarray]:
    layers = layers_with_weights(network)
    return [array for name, layer in layers.items() if name != HEAD for array in layer.get_weights()]


def head_of(network: keras.Model) -> np.ndarray:
    """Kernel and bias in one: [channels + 1, classes]."""
    kernel, bias = network.get_layer(HEAD).get_weights()
    return np.concatenate([kernel[0, 0], bias[np.newaxis]])


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


WARM = {"init_from": ["latest_blessed", "/weights.h5"], "warm_start": {"steps": 30, "lr": 0.001}}


def test_the_earlier_model_is_taken_with_the_schedule_of_a_warm_start():
    settings = resolved(settings_of(ANIMALS, hps={"steps": 100, "lr": 0.01, "batch_size": 4}, **WARM), "/model")
    assert settings.train.weights == "/model"
    assert (settings.hps.steps, settings.hps.lr, settings.hps.batch_size) == (30, 0.001, 4)


@pytest.mark.parametrize("earlier_model", [None, ""])
def test_without_an_earlier_model_the_last_place_is_taken_with_the_ordinary_schedule(earlier_model):
    settings = resolved(settings_of(ANIMALS, hps={"steps": 100}, **WARM), earlier_model)
    assert settings.train.weights == "/weights.h5"
    assert settings.hps == Hps(steps=100)


@pytest.mark.parametrize(
    ("ordinary", "warm", "length"),
    [
        ({"steps": 100}, {"epochs": 2}, (None, 2)),
        ({"epochs": 9}, {"steps": 30}, (30, None)),
        ({"epochs": 9}, {"epochs": 2}, (None, 2)),
        ({"epochs": 9}, {"lr": 0.1}, (None, 9)),
        ({}, {"epochs": 2}, (None, 2)),
    ],
)
def test_steps_and_epochs_take_each_other_s_place(ordinary, warm, length):
    settings = resolved(settings_of(ANIMALS, hps=ordinary, init_from="latest_pushed", warm_start=warm), "/model")
    assert (settings.hps.steps, settings.hps.epochs) == length


@pytest.mark.parametrize("labels_are_there", [True, False])
def test_the_same_classes_are_taken_over_as_they_are(labels_are_there, tmp_path, caplog):
    settings = settings_of(ANIMALS)
    earlier = network_of(settings)
    source = saved_model(earlier, settings.labels if labels_are_there else None, tmp_path / "model")
    network = initial_network(resolved(settings, source))
    assert_same(network.get_weights(), earlier.get_weights())
    assert not caplog.records


def test_rows_of_classes_that_both_have_are_kept_and_the_rest_of_the_head_is_made_anew(tmp_path, caplog):
    settings = settings_of(ANIMALS)
    earlier = network_of(settings)
    source = saved_model(earlier, settings.labels, tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        network = initial_network(resolved(settings_of(OTHERS), source))
    assert_same(body_of(network), body_of(earlier))
    before, now = head_of(earlier), head_of(network)
    np.testing.assert_array_equal(now[:, [0, 2]], before[:, [0, 1]])
    assert now[-1, 1] == 0, "a new class begins with a bias of 0"
    (record,) = caplog.records
    assert record.name.startswith("trainer.")
    assert "logits_conv, is made anew: 2 of 4 classes are taken over" in record.getMessage()
    assert record.getMessage().endswith("at random begin: horse, hound")


def test_an_alias_of_the_earlier_model_is_a_name_of_the_class(tmp_path):
    settings = settings_of(OTHERS)
    earlier = network_of(settings)
    network = initial_network(resolved(settings_of(ANIMALS), saved_model(earlier, settings.labels, tmp_path / "model")))
    np.testing.assert_array_equal(head_of(network), head_of(earlier)[:, [0, 2, 3]])


def test_the_same_classes_in_another_order_are_put_into_that(tmp_path):
    settings = settings_of(ANIMALS)
    earlier = network_of(settings)
    source = saved_model(earlier, settings.labels, tmp_path / "model")
    network = initial_network(resolved(settings_of(["dog", "cat", "background"]), source))
    np.testing.assert_array_equal(head_of(network), head_of(earlier)[:, [2, 1, 0]])


def test_a_file_of_another_number_of_classes_gives_all_but_the_head(tmp_path, caplog):
    earlier = network_of(settings_of(ANIMALS))
    file = tmp_path / "network.weights.h5"
    earlier.save_weights(file)
    with caplog.at_level(logging.WARNING):
        network = initial_network(settings_of(OTHERS, init_from=str(file)))
    assert_same(body_of(network), body_of(earlier))
    assert not np.isin(head_of(network)[:-1], head_of(earlier)).any()
    assert f"{file} is for other classes" in caplog.text
    assert "0 of 4 classes are taken over" in caplog.text


def test_another_network_stays_an_error_whatever_its_classes(tmp_path):
    settings = settings_of(ANIMALS)
    source = saved_model(network_of(settings), settings.labels, tmp_path / "model")
    with pytest.raises(WeightsError, match=r"train\.init_from: .*model does not fit deeplabv3plus: layer"):
        initial_network(resolved(settings_of(OTHERS, reduction_size=16), source))


def test_weights_that_are_gone_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"train\.init_from: .*gone\.h5 cannot be read: No such file"):
        initial_network(settings_of(ANIMALS, init_from=str(tmp_path / "gone.h5")))
