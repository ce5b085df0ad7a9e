"""`hps`: the hyperparameters of the optimization."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from schema.section import Integer, Number, Positive, Section


class Hps(Section):
    """Hyperparameters of the optimisation."""

    steps: Positive | None = None
    """Optimisation steps, of one batch each. Without `steps` and `epochs`: 30,000."""
    epochs: Annotated[Number, Field(gt=0)] | None = None
    """Instead of `steps`: how often each picture is seen."""
    batch_size: Positive = 16
    """Pictures per step."""
    micro_batches: Positive = 1
    """Parts that each batch is computed in, one after another, their gradients added up: for batches that are larger
    than the memory of one device. Batch normalisation sees one part at a time."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """`sgd` (with momentum), `adam`, or `adamw`, whose weight decay is decoupled from the gradient."""
    lr: Annotated[Number, Field(gt=0)] = 0.007
    """Learning rate that the schedule begins with."""
    lr_schedule: Literal["poly", "cosine", "step", "inverse_time", "constant"] = "poly"
    """What becomes of it. `poly`: it falls to 0 at the last step, as lr * (1 - step / steps) ** poly_power. `cosine`:
    the same along half a cosine. `step`: it is multiplied by `lr_drop_factor` at each of `lr_drops`. `inverse_time`:
    lr / (1 + decay * step). `constant`: it stays."""
    decay: Annotated[Number, Field(ge=0)] = 0.0
    """For inverse_time."""
    poly_power: Annotated[Number, Field(gt=0)] = 0.9
    """For poly."""
    lr_drops: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = (0.67, 0.89)
    """For step: the shares of the training after which the rate drops."""
    lr_drop_factor: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    """For step."""
    warmup_steps: Annotated[Integer, Field(ge=0)] = 0
    """Steps at the beginning over which the schedule's rate is multiplied by a factor that rises evenly to 1."""
    reduce_lr_factor: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """On top of the schedule: what the rate is multiplied by when the mean IoU has not risen for
    `reduce_lr_patience` evaluations."""
    reduce_lr_patience: Positive = 5
    """For reduce_lr_factor."""
    head_lr_multiplier: Annotated[Number, Field(gt=0)] = 1.0
    """How much faster everything outside the backbone learns; 10 is common where only the backbone is pretrained."""
    freeze_backbone_steps: Annotated[Integer, Field(ge=0)] = 0
    """Steps at the beginning in which the backbone, its statistics too, stays as it is."""
    clip_norm: Annotated[Number, Field(gt=0)] | None = None
    """Gradients are scaled down to this norm, of all of them together, if theirs is larger."""
    ema_momentum: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Judge and export a moving average of the weights instead of the last ones, with this momentum, such as 0.99; it
    rises to it in the beginning. The statistics of batch normalisation are averages already."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """For sgd."""
    beta_1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """For adam and adamw."""
    beta_2: Annotated[Number, Field(ge=0, lt=1)] = 0.999
    """For adam and adamw."""
    weight_decay: Annotated[Number, Field(ge=0)] = 4e-5
    """Of the convolution kernels, depthwise ones left out. For sgd and adam as TF-slim means it: the loss gains
    weight_decay / 2 times the sum of their squares. For adamw: they lose rate * weight_decay of themselves in each
    step (arXiv:1711.05101)."""
    bn_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """Momentum of the moving statistics of every batch normalisation, the backbone's too."""
    bn_scale: bool = True
    """Let the batch normalisations outside the backbone learn a factor (gamma); the backbone's are as it has them."""
    bn_freeze: bool = False
    """Keep statistics, factors and offsets of the backbone's batch normalisations as they were before training. For
    batches of fewer than about 12 pictures, whose own statistics are too noisy."""
    bn_synchronized: bool = False
    """Take the statistics of a batch over all replicas rather than over each one's share. With one replica it changes
    nothing, but costs the faster kernel."""

    @model_validator(mode="after")
    def _one_length(self) -> Hps:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"hps.steps is {self.steps} and hps.epochs is {self.epochs:g}; give one of them "
                "(null takes the other away)"
            )
        return self

    @model_validator(mode="after")
    def _parts_of_the_batch(self) -> Hps:
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"hps.batch_size {self.batch_size} cannot be divided into {self.micro_batches} equal hps.micro_batches"
            )
        return self

    @property
    def decoupled_decay(self) -> bool:
        """Whether the optimiser decays the weights, rather than the loss."""
        return self.optimizer == "adamw"

    def total_steps(self, pictures: int) -> int:
        """Optimisation steps in all.

        Args:
            pictures: in the training split.
        """
        if self.epochs is not None:
            return math.ceil(self.epochs * pictures / self.batch_size)
        return self.steps or 30_000
