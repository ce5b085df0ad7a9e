"""Optimisers and learning rates: what each step does to the weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.settings import Hps
from trainer.training.optimizer import innermost, optimizer

GRADIENT = 0.5


def network() -> keras.Model:
    """A backbone of one convolution with normalisation, and a head of one; all weights are 1."""
    pixels = keras.Input((1, 1, 1))
    features = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="conv")(pixels)
    backbone = keras.Model(pixels, keras.layers.BatchNormalization(name="bn")(features), name="backbone")
    images = keras.Input((1, 1, 1))
    logits = keras.layers.Conv2D(1, 1, kernel_initializer="ones", bias_initializer="ones", name="head")
    return keras.Model(images, logits(backbone(images)))


def weights_after(steps: int, gradient: float = GRADIENT, **hps) -> dict[str, float]:
    """The weights after steps with the same gradient for each, by layer and name."""
    model = network()
    made = optimizer(Hps(**{"lr": 0.1, "lr_schedule": "constant", "momentum": 0.0, **hps}), 100, model)
    for _ in range(steps):
        made.apply([keras.ops.full(v.shape, gradient) for v in model.trainable_variables], model.trainable_variables)
    return {variable.path: float(np.squeeze(variable.numpy())) for variable in model.trainable_variables}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_poly_falls_to_nothing(name):
    made = optimizer(Hps(optimizer=name, lr=0.007, poly_power=0.9), 100, network())
    for step in (0, 25, 99):
        assert innermost(made).rate_at(step) == pytest.approx(0.007 * (1 - step / 100) ** 0.9, rel=1e-4)


@pytest.mark.parametrize(
    ("hps", "expected"),
    [
        ({"lr_schedule": "constant"}, {0: 0.1, 99: 0.1}),
        ({"lr_schedule": "inverse_time", "decay": 0.5}, {0: 0.1, 1: 0.1 / 1.5, 4: 0.1 / 3}),
        ({"lr_schedule": "cosine"}, {0: 0.1, 50: 0.05, 75: 0.05 * (1 + np.cos(0.75 * np.pi))}),
        (
            {"lr_schedule": "step", "lr_drops": [0.5, 0.75], "lr_drop_factor": 0.2},
            {0: 0.1, 49: 0.1, 50: 0.02, 74: 0.02, 75: 0.004, 99: 0.004},
        ),
        ({"lr_schedule": "constant", "warmup_steps": 10}, {0: 0.01, 4: 0.05, 9: 0.1, 10: 0.1}),
        ({"lr_schedule": "cosine", "micro_batches": 4, "batch_size": 4}, {0: 0.1, 50: 0.05}),
    ],
    ids=str,
)
def test_the_other_schedules(hps, expected):
    made = optimizer(Hps(lr=0.1, **hps), 100, network())
    assert {step: innermost(made).rate_at(step) for step in expected} == pytest.approx(expected)


def test_a_reduced_rate_is_the_schedules_times_the_factor():
    made = optimizer(Hps(lr=0.1, lr_schedule="constant"), 100, network())
    innermost(made).rate_factor.assign(0.5)
    assert innermost(made).rate_at(3) == pytest.approx(0.05)


def test_the_head_learns_faster_by_its_multiplier():
    moved = {path: 1 - weight for path, weight in weights_after(1, head_lr_multiplier=10).items() if "beta" not in path}
    assert moved == pytest.approx(
        {"conv/kernel": 0.05, "bn/gamma": 0.05, "head/kernel": 0.5, "head/bias": 0.5}, rel=1e-5
    )


def test_decoupled_decay_takes_its_share_of_kernels_alone():
    without = weights_after(1, optimizer="adamw", weight_decay=0.0, head_lr_multiplier=10)
    with_decay = weights_after(1, optimizer="adamw", weight_decay=0.01, head_lr_multiplier=10)
    lost = {path: without[path] - with_decay[path] for path in without}
    assert lost == pytest.approx(
        {"conv/kernel": 0.001, "bn/gamma": 0, "bn/beta": 0, "head/kernel": 0.01, "head/bias": 0}, abs=1e-6
    )


def test_the_norm_that_is_clipped_is_that_of_all_gradients():
    # Five gradients of 2 have the norm 2 * sqrt(5).
    moved = 1 - weights_after(1, gradient=2.0, clip_norm=1.0)["conv/kernel"]
    assert moved == pytest.approx(0.1 / np.sqrt(5), rel=1e-5)
    assert weights_after(1, gradient=0.1, clip_norm=1.0) == pytest.approx(weights_after(1, gradient=0.1))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_micro_batches_move_the_weights_once_by_their_mean(name):
    whole = weights_after(3, optimizer=name)
    assert weights_after(12, optimizer=name, micro_batches=4, batch_size=4) == pytest.approx(whole, rel=1e-5)
    assert weights_after(3, optimizer=name, micro_batches=4, batch_size=4)["conv/kernel"] == 1


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_averaged_weights_are_in_the_network_for_a_while(micro_batches):
    model = network()
    hps = Hps(lr=1.0, lr_schedule="constant", momentum=0.0, ema_momentum=0.5, micro_batches=micro_batches, batch_size=2)
    made = optimizer(hps, 100, model)
    for _ in range(3 * micro_batches):
        made.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    kernel = model.trainable_variables[0]
    # After the steps the weights were 0, -1 and -2.
    assert float(np.squeeze(kernel.numpy())) == -2
    with innermost(made).averaged_weights():
        # The momentum rises: 0, 2 / 11, 3 / 12, until it is 0.5.
        after_two = 2 / 11 * 0 + 9 / 11 * -1
        assert float(np.squeeze(kernel.numpy())) == pytest.approx(3 / 12 * after_two + 9 / 12 * -2)
    assert float(np.squeeze(kernel.numpy())) == -2


def test_what_was_frozen_begins_like_a_new_variable():
    """Adam's moments begin with the first gradient, however many steps the others have taken."""
    model = network()
    made = optimizer(Hps(lr=0.1, lr_schedule="constant", optimizer="adam", freeze_backbone_steps=40), 100, model)
    backbone, head = model.trainable_variables[:3], model.trainable_variables[3:]
    for _ in range(40):
        made.apply([keras.ops.full(v.shape, GRADIENT) for v in head], head)
    assert all(float(np.squeeze(v.numpy())) in (0, 1) for v in backbone)
    for _ in range(3):
        made.apply([keras.ops.full(v.shape, GRADIENT) for v in model.trainable_variables], model.trainable_variables)
    fresh = weights_after(3, optimizer="adam")
    assert float(np.squeeze(backbone[0].numpy())) == pytest.approx(fresh["conv/kernel"], rel=1e-4)
