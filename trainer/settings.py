"""The part of the configuration that Transform and Trainer read, typed.

`nn_arch`, `hps` and `base_model` carry the names of the small Keras project that this one continues.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

# Strict, so that "3", true and 2.5 are not taken for whole numbers.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Positive = Annotated[Integer, Field(gt=0)]


class Section(BaseModel):
    """A section of the configuration file. Unknown keys are errors: a typing mistake must not train a wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


BACKBONE_NUMBERS = {0: "MobileNetV2", 1: "Xception"}


def _backbone_name(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return BACKBONE_NUMBERS.get(value, value)
    return value


BackboneName = Annotated[
    Literal[
        "MobileNetV2",
        "Xception",
        "ResNet50",
        "ResNet101",
        "DenseNet121",
        "DenseNet169",
        "DenseNet201",
        "EfficientNetB0",
        "EfficientNetB1",
        "EfficientNetB2",
        "EfficientNetB3",
        "EfficientNetB4",
        "EfficientNetB5",
        "EfficientNetB6",
        "EfficientNetB7",
        "NASNetMobile",
        "NASNetLarge",
    ],
    BeforeValidator(_backbone_name),
]
"""A backbone by name; 0 and 1 stand for MobileNetV2 and Xception."""


class Branch(Section):
    """One operation of the encoder's middle; its output is concatenated with the others'."""

    op: Literal["conv", "pyramid_pooling"]
    """`conv`: atrous convolution, separable unless 1x1. `pyramid_pooling`: means over a grid of bins, resized back."""
    kernel: Annotated[Integer, Field(ge=1)]
    """Side of the convolution's kernel, odd; or bins along each side of the picture: 1 is the mean of all of it."""
    rate: tuple[Positive, Positive] = (1, 1)
    """Atrous rate, vertical and horizontal, of a convolution."""
    input: Annotated[Integer, Field(ge=-1)] = -1
    """What is read: -1 the backbone's features, otherwise the output of the branch with that index."""
    target_size_factor: tuple[Literal[1], Literal[1]] = (1, 1)
    """Size of the output relative to the features': always the same, since all branches are concatenated."""

    @model_validator(mode="after")
    def _window(self) -> Branch:
        if self.op == "conv" and self.kernel % 2 == 0:
            raise ValueError(f"the kernel of a convolution must be odd, found {self.kernel}")
        return self


def _conv(kernel: int, rate: tuple[int, int], source: int = -1) -> Branch:
    return Branch(op="conv", kernel=kernel, rate=rate, input=source)


ENCODER_MIDDLES = {
    # Atrous spatial pyramid pooling with the image's own mean (arXiv:1706.05587, figure 5), for output stride 16.
    "aspp": (
        _conv(1, (1, 1)),
        _conv(3, (6, 6)),
        _conv(3, (12, 12)),
        _conv(3, (18, 18)),
        Branch(op="pyramid_pooling", kernel=1),
    ),
    # The two designs that tonandr/deeplabv3plus_keras publishes, the second for Cityscapes as well.
    "seed_xception": (
        _conv(3, (1, 1)),
        _conv(3, (6, 6), 0),
        _conv(3, (12, 12), 0),
        _conv(3, (18, 18), 0),
        Branch(op="pyramid_pooling", kernel=1, input=0),
    ),
    "seed_mobilenetv2": (
        _conv(3, (1, 1)),
        _conv(3, (18, 15), 0),
        _conv(3, (6, 3), 1),
        _conv(3, (1, 1), 0),
        _conv(3, (6, 21), 0),
    ),
    # The dense prediction cell found by search (arXiv:1809.04184), as TF DeepLab publishes it.
    "dpc": (
        _conv(3, (1, 6)),
        _conv(3, (18, 15), 0),
        _conv(3, (6, 3), 1),
        _conv(3, (1, 1), 0),
        _conv(3, (6, 21), 0),
    ),
}


class NNArch(Section):
    """The network."""

    image_size: Annotated[Integer, Field(ge=33, le=4097)] = 513
    """Side of the square canvas, pixels. 16 k + 1 lets the features of every stride fall on pixels."""
    num_classes: Annotated[Integer, Field(ge=2, le=255)] = 21
    """Classes of the data, background included; Pascal VOC has 21."""
    output_stride: Literal[8, 16, 32] = 16
    """Pixels of the image per pixel of the backbone's last features."""
    mv2_depth_multiplier: Annotated[Number, Field(gt=0, le=4)] = 1.0
    """MobileNetV2's width (`alpha`). ImageNet weights exist for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4."""
    encoder_middle_conf: Literal["aspp", "dpc", "seed_xception", "seed_mobilenetv2"] | tuple[Branch, ...] = "aspp"
    """What stands between backbone and decoder: a design by name, or a list of branches, read from first to last."""
    conv_rate_multiplier: Positive = 1
    """Multiplies every rate of the design."""
    scale_rates: bool | None = None
    """Multiply the rates by 16 / output_stride as well. Unset: yes for a design by name, no for a list of branches."""
    depth_multiplier: Positive = 1
    """Depthwise kernels per channel in the separable convolutions outside the backbone."""
    reduction_size: Positive = 256
    """Channels of each branch."""
    concat_channels: Positive = 256
    """Channels after the branches are concatenated and projected, and of the decoder's convolutions."""
    low_level_channels: Positive = 48
    """Channels that the stride-4 features are reduced to in the decoder."""
    boundary_refinement: bool = True
    """The decoder of DeepLabV3+. Without it the logits are taken from the ASPP and upsampled, as in DeepLabV3."""
    dropout_rate: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    """Share of the ASPP's features that are dropped in training."""

    @model_validator(mode="after")
    def _branches_form_a_graph(self) -> NNArch:
        side = -(-self.image_size // self.output_stride)
        if not self.branches:
            raise ValueError("encoder_middle_conf must have at least one branch")
        for index, branch in enumerate(self.branches):
            if branch.input >= index:
                raise ValueError(
                    f"encoder_middle_conf, branch {index}: input {branch.input} is no earlier branch; "
                    f"allowed: -1 (the backbone's features) to {index - 1}"
                )
            if branch.kernel > side:
                raise ValueError(
                    f"encoder_middle_conf, branch {index}: kernel {branch.kernel} is larger than the features, "
                    f"which have {side} x {side} pixels at image_size {self.image_size} and output_stride "
                    f"{self.output_stride}"
                )
        return self

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The design as branches, rates as written."""
        if isinstance(self.encoder_middle_conf, str):
            return ENCODER_MIDDLES[self.encoder_middle_conf]
        return self.encoder_middle_conf

    def effective_rate(self, branch: Branch) -> tuple[int, int]:
        """A branch's rate after `conv_rate_multiplier` and `scale_rates`; at least 1."""
        scaled = isinstance(self.encoder_middle_conf, str) if self.scale_rates is None else self.scale_rates
        factor = self.conv_rate_multiplier * (16 / self.output_stride if scaled else 1)
        vertical, horizontal = (1 if rate == 1 else max(1, round(rate * factor)) for rate in branch.rate)
        return vertical, horizontal


class Hps(Section):
    """Hyperparameters of the optimisation."""

    steps: Positive = 30_000
    """Optimisation steps, of one batch each."""
    batch_size: Positive = 16
    """Pictures per step."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """`sgd` (with momentum) or `adam`."""
    lr: Annotated[Number, Field(gt=0)] = 0.007
    """Learning rate at step 0; it falls to 0 at the last step."""
    poly_power: Annotated[Number, Field(gt=0)] = 0.9
    """Exponent of the poly decay: lr * (1 - step / steps) ** power."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """For sgd."""
    beta_1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """For adam."""
    beta_2: Annotated[Number, Field(ge=0, lt=1)] = 0.999
    """For adam."""
    weight_decay: Annotated[Number, Field(ge=0)] = 4e-5
    """As TF-slim means it: the loss gains weight_decay / 2 times the sum of the squared convolution kernels."""
    bn_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """Momentum of the moving statistics of every batch normalisation, the backbone's too."""


class Augmentation(Section):
    """Random changes to the pictures of training, drawn anew for each picture each time it is seen."""

    scale: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]] = (0.5, 2.0)
    """Smallest and largest factor of the size."""
    scale_step: Annotated[Number, Field(ge=0)] = 0.25
    """Distance between the factors that can be drawn; 0 draws from the whole range."""
    flip: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right flip."""

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        smallest, largest = self.scale
        if smallest > largest:
            raise ValueError(f"scale must be [smallest, largest], found {list(self.scale)}")
        steps = (largest - smallest) / self.scale_step if self.scale_step else 0
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(
                f"scale {list(self.scale)} is no whole number of scale_step {self.scale_step} wide, so its largest "
                "factor would never be drawn; scale_step 0 draws from the whole range"
            )
        return self


class LossTerm(Section):
    """One loss of a weighted sum."""

    name: Literal["cross_entropy", "balanced_cross_entropy", "ohem_cross_entropy", "focal", "dice", "lovasz_softmax"]
    """Which."""
    weight: Annotated[Number, Field(gt=0)] = 1.0
    """In the sum."""
    hardest: Annotated[Number, Field(gt=0, le=1)] = 0.25
    """For `ohem_cross_entropy`: share of the pixels that is kept."""
    gamma: Annotated[Number, Field(ge=0)] = 2.0
    """For `focal`."""


class Train(Section):
    """How training starts and how it reads its data."""

    init_from: str = "imagenet"
    """`imagenet` (Keras downloads the backbone's weights), `none`, or a `.weights.h5` file of the backbone."""
    loss: Annotated[tuple[LossTerm, ...], Field(min_length=1)] = (LossTerm(name="cross_entropy"),)
    """A weighted sum of losses, such as `[{name: cross_entropy}, {name: dice, weight: 0.5}]`. Names: cross_entropy,
    balanced_cross_entropy (classes weighted by their pixels in the training split), ohem_cross_entropy (`hardest`:
    share of the pixels kept), focal (`gamma`), dice, lovasz_softmax."""
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
