"""Optimiser and learning rate, in pure Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from trainer.settings import Hps


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate by step.

    poly is that of arXiv:1606.00915, section 4.3; cosine that of arXiv:1608.03983 without restarts.

    Args:
        hps: the hyperparameters.
        steps: optimisation steps in all.
    """

    def __init__(self, hps: Hps, steps: int):
        self._hps = hps
        self._schedule = _schedule(hps, steps)

    def __call__(self, step):
        """The rate of a step, counted from 0 in micro-batches, as Keras' optimisers count."""
        step = ops.cast(ops.floor_divide(step, self._hps.micro_batches), "float32")
        rate = ops.convert_to_tensor(self._schedule(step), "float32")
        if self._hps.warmup_steps:
            rate = rate * ops.minimum((step + 1) / self._hps.warmup_steps, 1.0)
        return rate


def _schedule(hps: Hps, steps: int) -> Callable:
    schedules = keras.optimizers.schedules
    if hps.lr_schedule == "poly":
        return schedules.PolynomialDecay(hps.lr, decay_steps=steps, end_learning_rate=0.0, power=hps.poly_power)
    if hps.lr_schedule == "cosine":
        return schedules.CosineDecay(hps.lr, decay_steps=steps)
    if hps.lr_schedule == "step":
        # Keras' boundaries are the last steps before a change.
        drops = [math.ceil(share * steps) - 1 for share in sorted(hps.lr_drops)]
        rates = [hps.lr * hps.lr_drop_factor**index for index in range(len(drops) + 1)]
        return schedules.PiecewiseConstantDecay([float(drop) for drop in drops], rates)
    if hps.lr_schedule == "inverse_time":
        return schedules.InverseTimeDecay(hps.lr, decay_steps=1, decay_rate=hps.decay)
    return lambda step: hps.lr


def optimizer(
    hps: Hps, steps: int, network: keras.Model, *, replicas: int = 1, sum_over_replicas: Callable = list
) -> keras.optimizers.Optimizer:
    """The optimiser of a configuration, built for a network's trainable variables.

    Args:
        hps: the hyperparameters.
        steps: optimisation steps in all.
        network: DeepLabV3+, all of it trainable that ever will be.
        replicas: that share each batch, every one with its part of the gradients.
        sum_over_replicas: adds up their gradients, a list of tensors.
    """
    backbone = {id(variable) for variable in network.get_layer("backbone").trainable_variables}
    decayed = {id(kernel) for kernel in _decayed_kernels(network)} if hps.decoupled_decay else set()
    variables = network.trainable_variables
    arguments: dict[str, Any] = {
        "learning_rate": LearningRate(hps, steps),
        "global_clipnorm": hps.clip_norm,
        "gradient_accumulation_steps": hps.micro_batches if hps.micro_batches > 1 else None,
        "use_ema": hps.ema_momentum is not None,
        "ema_momentum": hps.ema_momentum or 0.0,
        "multipliers": [1.0 if id(variable) in backbone else hps.head_lr_multiplier for variable in variables],
        "decays": [hps.weight_decay if id(variable) in decayed else 0.0 for variable in variables],
        "frozen_steps": [hps.freeze_backbone_steps if id(variable) in backbone else 0 for variable in variables],
        "replicas": replicas,
        "sum_over_replicas": sum_over_replicas,
    }
    made: keras.optimizers.Optimizer
    if hps.optimizer == "sgd":
        made = SGD(momentum=hps.momentum, **arguments)
    else:
        made = Adam(beta_1=hps.beta_1, beta_2=hps.beta_2, **arguments)
    made.build(variables)
    return made


def _decayed_kernels(network: keras.Model) -> list:
    """The kernels that weight decay is for: of convolutions, depthwise ones left out, as in TF DeepLab."""
    kernels = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            kernels += _decayed_kernels(layer)
        elif isinstance(layer, keras.layers.SeparableConv2D):
            kernels.append(layer.pointwise_kernel)
        elif isinstance(layer, keras.layers.Conv2D):
            kernels.append(layer.kernel)
    return kernels


class _Recipe(keras.optimizers.Optimizer):
    """What segmentation's recipes ask of an optimiser beyond what Keras' have.

    Args:
        multipliers: of the learning rate, for each variable.
        decays: decoupled weight decay of each variable.
        frozen_steps: steps that each variable stays as it is before it begins to learn.
        replicas, sum_over_replicas: see `optimizer`.
    """

    def __init__(
        self,
        *,
        multipliers: Sequence[float],
        decays: Sequence[float],
        frozen_steps: Sequence[int],
        replicas: int,
        sum_over_replicas: Callable,
        **arguments,
    ):
        super().__init__(**arguments)
        self._multipliers = tuple(multipliers)
        self._decays = tuple(decays)
        self._frozen_steps = tuple(frozen_steps)
        self._replicas = replicas
        self._sum_over_replicas = sum_over_replicas

    def build(self, variables):
        """Adds `rate_factor`, which a callback may lower; it is saved with the rest."""
        if not self.built:
            self.rate_factor = self.add_variable(shape=(), initializer="ones", dtype="float32", name="rate_factor")
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, "float32") * self.rate_factor * self._multipliers[index]
        if self._decays[index]:
            decay = ops.cast(rate * self._decays[index], variable.dtype)
            self.assign_sub(variable, ops.multiply(variable, decay))
        super().update_step(gradient, variable, rate * self._late_start(self._frozen_steps[index]))

    def _update_model_variables_moving_average(self, trainable_variables):
        # Keras averages after every micro-batch, also those that have moved nothing, and with the same momentum from
        # the first step on, so that the random weights of the beginning would have a share for long. Here it rises as
        # in TensorFlow's ExponentialMovingAverage with `num_updates`: min(momentum, (1 + step) / (10 + step)).
        step = ops.cast(self.iterations, "float32")
        share = ops.where(step == 0, 1.0, ops.maximum(1 - self.ema_momentum, 9 / (10 + step)))
        is_step = ops.equal((self._iterations + 1) % (self.gradient_accumulation_steps or 1), 0)
        share = ops.where(is_step, share, ops.zeros_like(share))
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average.assign(average + ops.cast(share, average.dtype) * (variable - average))

    def finalize_variable_values(self, var_list):
        """Nothing: a fit may be followed by another, which goes on from the weights as they are."""

    def rate_at(self, step: int) -> float:
        """The learning rate of an optimisation step, counted from 0, without the variables' multipliers."""
        rate = self._learning_rate(step * (self.gradient_accumulation_steps or 1))
        return float(rate) * float(ops.convert_to_numpy(self.rate_factor))

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Puts the moving averages of the weights into the network for a while, if they are kept."""
        if not self.use_ema:
            yield
            return
        current = [ops.convert_to_numpy(variable) for variable in self._trainable_variables]
        self.put_averages()
        try:
            yield
        finally:
            for variable, value in zip(self._trainable_variables, current, strict=True):
                variable.assign(value)

    def put_averages(self) -> None:
        """Puts the moving averages of the weights into the network, if they are kept."""
        if self.use_ema:
            for variable, average in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
                variable.assign(average)

    def _late_start(self, frozen_steps: int):
        """A factor for variables that learn only after some steps."""
        return 1.0

    def _clip_gradients(self, grads):
        if not self.global_clipnorm or self._replicas == 1:
            return super()._clip_gradients(grads)
        # The norm to be clipped is the whole batch's. Keras will add the replicas' gradients up once more.
        clipped = super()._clip_gradients(self._sum_over_replicas(grads))
        return [gradient / self._replicas for gradient in clipped]


class SGD(_Recipe, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""


class Adam(_Recipe, keras.optimizers.Adam):
    """Adam (arXiv:1412.6980), with decoupled weight decay AdamW (arXiv:1711.05101)."""

    def _late_start(self, frozen_steps: int):
        # Keras corrects the bias of the moments by the number of all steps. Those of a variable that was frozen
        # begin later, and corrected as if they were old its first steps would be several times too long.
        if not frozen_steps:
            return 1.0
        step = ops.cast(self.iterations + 1, "float32")
        return self._bias_correction(ops.maximum(step - frozen_steps, 1.0)) / self._bias_correction(step)

    def _bias_correction(self, step):
        """arXiv:1412.6980, section 2, last paragraph."""
        return ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))


def innermost(made: keras.optimizers.Optimizer) -> _Recipe:
    """The optimiser inside the one that scales the loss for float16, or the optimiser itself."""
    return getattr(made, "inner_optimizer", made)
