"""The part of the configuration that Transform and Trainer read, typed.

`nn_arch`, `hps` and `base_model` carry the names of the small Keras project that this one continues.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A section of the configuration file. Unknown keys are errors: a typing mistake must not train a wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


BACKBONE_NUMBERS = {0: "MobileNetV2", 1: "Xception"}


def _backbone_name(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return BACKBONE_NUMBERS.get(value, value)
    return value


BackboneName = Annotated[Literal["MobileNetV2", "Xception"], BeforeValidator(_backbone_name)]
"""A backbone by name; 0 and 1 stand for MobileNetV2 and Xception."""


class NNArch(Section):
    """The network."""

    image_size: Annotated[int, Field(ge=33, le=4097)] = 513
    """Side of the square canvas, pixels. 16 k + 1 lets the features of every stride fall on pixels."""
    num_classes: Annotated[int, Field(ge=2, le=255)] = 21
    """Classes of the data, background included; Pascal VOC has 21."""
    output_stride: Literal[8, 16, 32] = 16
    """Pixels of the image per pixel of the backbone's last features."""
    mv2_depth_multiplier: Annotated[float, Field(gt=0, le=4)] = 1.0
    """MobileNetV2's width (`alpha`). ImageNet weights exist for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4."""
    reduction_size: Positive = 256
    """Channels of each ASPP branch."""
    concat_channels: Positive = 256
    """Channels after the branches are concatenated and projected, and of the decoder's convolutions."""
    low_level_channels: Positive = 48
    """Channels that the stride-4 features are reduced to in the decoder."""
    boundary_refinement: bool = True
    """The decoder of DeepLabV3+. Without it the logits are taken from the ASPP and upsampled, as in DeepLabV3."""
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the ASPP's features that are dropped in training."""


class Hps(Section):
    """Hyperparameters of the optimisation."""

    steps: Positive = 30_000
    """Optimisation steps, of one batch each."""
    batch_size: Positive = 16
    """Pictures per step."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """`sgd` (with momentum) or `adam`."""
    lr: Annotated[float, Field(gt=0)] = 0.007
    """Learning rate at step 0; it falls to 0 at the last step."""
    poly_power: Annotated[float, Field(gt=0)] = 0.9
    """Exponent of the poly decay: lr * (1 - step / steps) ** power."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For sgd."""
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For adam."""
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """For adam."""
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5
    """As TF-slim means it: the loss gains weight_decay / 2 times the sum of the squared convolution kernels."""
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of the moving statistics of every batch normalisation, the backbone's too."""


class Augmentation(Section):
    """Random changes to the pictures of training, drawn anew for each picture each time it is seen."""

    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """Smallest and largest factor of the size."""
    scale_step: Annotated[float, Field(ge=0)] = 0.25
    """Distance between the factors that can be drawn; 0 draws from the whole range."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right flip."""

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale must be [smallest, largest], found {list(self.scale)}")
        return self


class Train(Section):
    """How training starts and how it reads its data."""

    init_from: str = "imagenet"
    """`imagenet` (Keras downloads the backbone's weights), `none`, or a `.weights.h5` file of the backbone."""
    shuffle_buffer: Positive = 2048
    """Encoded pictures that are held in memory to draw the next one from."""


class TransformSettings(Section):
    """What Transform's `preprocessing_fn` reads. A change here runs Transform again, and what follows."""

    base_model: BackboneName
    image_size: int


class TrainerSettings(Section):
    """What Trainer's `run_fn` reads. A change here runs Trainer again, and what follows."""

    seed: int
    base_model: BackboneName
    nn_arch: NNArch
    hps: Hps
    augmentation: Augmentation
    train: Train
