"""The part of the configuration that Transform and Trainer read, typed.

`nn_arch`, `hps` and `base_model` carry the names of the small Keras project that this one continues.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    model_validator,
)

from schema.labels import Labels
from schema.section import Integer, Number, Positive, Section

_Backbones = Literal[
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
]
BACKBONE_NUMBERS = {0: "MobileNetV2", 1: "Xception"}


def _backbone_name(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return BACKBONE_NUMBERS.get(value, value)
    if isinstance(value, str):
        return {name.lower(): name for name in get_args(_Backbones)}.get(value.lower(), value)
    return value


BackboneName = Annotated[_Backbones, BeforeValidator(_backbone_name)]
"""A backbone by name, in whatever case; 0 and 1 stand for MobileNetV2 and Xception."""


class Branch(Section):
    """One operation of the encoder's middle; its output is concatenated with the others'."""

    op: Literal["conv", "pyramid_pooling"]
    """`conv`: atrous convolution. `pyramid_pooling`: means over windows, through a 1x1 convolution, resized back."""
    kernel: Annotated[Integer, Field(ge=1)] | None = None
    """Side of the convolution's kernel, odd; or side of the windows that means are taken over, in features, where 1
    stands for a single window, the whole picture."""
    rate: tuple[Positive, Positive] = (1, 1)
    """Atrous rate, vertical and horizontal, of a convolution."""
    input: Annotated[Integer, Field(ge=-1)] = -1
    """What is read: -1 the backbone's features, otherwise the output of the branch with that index."""
    target_size_factor: tuple[Positive, Positive] | None = None
    """How much larger the output is made than the means: `[kernel, kernel]`, so that it fits the other branches."""
    grid_size: tuple[Positive, Positive] | None = None
    """Instead of `kernel`: the number of windows, vertical and horizontal."""

    @model_validator(mode="after")
    def _window(self) -> Branch:
        if self.op == "conv":
            if self.kernel is None:
                raise ValueError("a convolution must have a kernel")
            if self.kernel % 2 == 0:
                raise ValueError(f"the kernel of a convolution must be odd, found {self.kernel}")
            if self.grid_size is not None:
                raise ValueError("grid_size is for pyramid_pooling, a convolution has none")
        elif (self.kernel is None) == (self.grid_size is None):
            raise ValueError("pyramid_pooling must have either a kernel or a grid_size")
        elif self.rate != (1, 1):
            raise ValueError(f"rate is for conv, pyramid_pooling has none; found {list(self.rate)}")
        factor = self.kernel if self.op == "pyramid_pooling" and self.kernel else 1
        if self.target_size_factor not in (None, (factor, factor)):
            raise ValueError(
                f"target_size_factor must be {[factor, factor]}, or branches of different sizes would be "
                f"concatenated; found {list(self.target_size_factor)}"
            )
        return self


_DESIGNS = TypeAdapter(tuple[Branch, ...])
ENCODER_MIDDLES = {
    file.stem: _DESIGNS.validate_json(file.read_bytes())
    for file in sorted(Path(__file__).with_name("encoder_middles").glob("*.json"))
}
"""The designs that have a name; `trainer/encoder_middles/README.md` says where they come from."""


def _known_design(value: str) -> str:
    if value not in ENCODER_MIDDLES:
        raise ValueError(f"it must be {', '.join(ENCODER_MIDDLES)}, the path of a .json file, or a list of branches")
    return value


OutputStride = Literal[8, 16, 32]


class NNArch(Section):
    """The network."""

    image_size: Annotated[Integer, Field(ge=33, le=4097)] = 513
    """Side of the square canvas, pixels. 16 k + 1 lets the features of every stride fall on pixels."""
    num_classes: Annotated[Integer, Field(ge=2, le=255)] = 21
    """Classes of the data, background included. Unset: as many as `data.labels` names."""
    output_stride: OutputStride = 16
    """Pixels of the image per pixel of the backbone's last features."""
    mv2_depth_multiplier: Annotated[Number, Field(gt=0, le=4)] = 1.0
    """MobileNetV2's width (`alpha`). ImageNet weights exist for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4."""
    encoder_middle_conf: Annotated[
        Annotated[str, AfterValidator(_known_design), Tag("design by name")]
        | Annotated[tuple[Branch, ...], Tag("design by branches")],
        Discriminator(lambda value: "design by name" if isinstance(value, str) else "design by branches"),
    ] = "aspp"
    """What stands between backbone and decoder: `aspp`, `dpc`, `seed_xception`, `seed_mobilenetv2`,
    `seed_cityscapes`, the path of a `.json` file, or a list of branches, which are built from first to last."""
    conv_rate_multiplier: Positive = 1
    """Multiplies every rate of the design."""
    scale_rates: bool | None = None
    """Multiply the rates by 16 / output_stride as well. Unset: yes for a design by name or from a file, no for a list
    of branches."""
    depth_multiplier: Positive = 1
    """Depthwise kernels per channel in the separable convolutions outside the backbone, if they are `separable`."""
    reduction_size: Positive = 256
    """Channels of each branch."""
    concat_channels: Positive = 256
    """Channels after the branches are concatenated and projected, and of the decoder's convolutions."""
    low_level_channels: Positive = 48
    """Channels that the stride-4 features are reduced to in the decoder."""
    boundary_refinement: bool = True
    """The decoder of DeepLabV3+. Without it the logits are taken from the ASPP and upsampled, as in DeepLabV3."""
    separable: bool = True
    """Factorise the convolutions outside the backbone into a depthwise and a 1x1 one, as DeepLabV3+ does."""
    dropout_rate: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    """Share of the ASPP's features that are dropped in training."""

    @model_validator(mode="before")
    @classmethod
    def _design_from_a_file(cls, values: Any) -> Any:
        design = values.get("encoder_middle_conf") if isinstance(values, dict) else None
        if not (isinstance(design, str) and design.endswith(".json")):
            return values
        try:
            branches = json.loads(Path(design).expanduser().read_bytes())
        except OSError as error:
            raise ValueError(f"encoder_middle_conf: {design} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"encoder_middle_conf: {design} is not JSON: {error}") from error
        if not isinstance(branches, list):
            raise ValueError(f"encoder_middle_conf: {design} holds {branches!r}, wanted is a list of branches")
        scaled = values.get("scale_rates")
        return {**values, "encoder_middle_conf": branches, "scale_rates": True if scaled is None else scaled}

    @model_validator(mode="after")
    def _branches_form_a_graph(self) -> NNArch:
        self._check_branches()
        return self

    def _check_branches(self) -> None:
        side = self._feature_side
        if not self.branches:
            raise ValueError("encoder_middle_conf must have at least one branch")
        for index, branch in enumerate(self.branches):
            if branch.input >= index:
                raise ValueError(
                    f"encoder_middle_conf, branch {index}: input {branch.input} is no earlier branch; "
                    f"allowed: -1 (the backbone's features) to {index - 1}"
                )
            for name, length in (("kernel", branch.kernel or 1), ("grid_size", max(branch.grid_size or (1, 1)))):
                if length > side:
                    raise ValueError(
                        f"encoder_middle_conf, branch {index}: {name} {length} is larger than the features, "
                        f"which have {side} x {side} pixels at image_size {self.image_size} and output_stride "
                        f"{self.output_stride}"
                    )

    @property
    def _feature_side(self) -> int:
        return (self.padded_size - 1) // self.output_stride + 1

    @property
    def padded_size(self) -> int:
        """The image's side inside the network: output_stride * k + 1, where feature i lies on pixel output_stride * i.

        At such sizes every strided layer reads an odd number of pixels.
        """
        return -(-(self.image_size - 1) // self.output_stride) * self.output_stride + 1

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The design as branches, rates as written."""
        if isinstance(self.encoder_middle_conf, str):
            return ENCODER_MIDDLES[self.encoder_middle_conf]
        return self.encoder_middle_conf

    def effective_rate(self, branch: Branch) -> tuple[int, int]:
        """A branch's rate after `conv_rate_multiplier` and `scale_rates`; at least 1."""
        if branch.kernel == 1:
            return 1, 1
        scaled = isinstance(self.encoder_middle_conf, str) if self.scale_rates is None else self.scale_rates
        return _times(branch.rate, self.conv_rate_multiplier * (16 / self.output_stride if scaled else 1))

    def bins(self, branch: Branch) -> tuple[int, int]:
        """The number of windows, vertical and horizontal, of a branch that pools."""
        if branch.grid_size is not None:
            return branch.grid_size
        assert branch.kernel is not None
        count = 1 if branch.kernel == 1 else max(1, round(self._feature_side / branch.kernel))
        return count, count

    def at_image_size(self, image_size: int) -> NNArch:
        """The architecture of the same network, weights and all, for images of another size.

        Raises:
            ValueError: a kernel or a grid does not fit the features there.
        """
        if image_size == self.image_size:
            return self
        arch = self.model_copy(update={"image_size": image_size})
        arch._check_branches()
        return arch

    def at_output_stride(self, output_stride: OutputStride) -> NNArch:
        """The architecture of the same network, weights and all, with features at another stride.

        Rates and windows keep their extent in the image, as far as whole numbers allow.

        Raises:
            ValueError: a kernel or a grid does not fit the features there.
        """
        if output_stride == self.output_stride:
            return self
        ratio = self.output_stride / output_stride
        branches = tuple(
            branch.model_copy(update={"rate": _times(self.effective_rate(branch), ratio)})
            if branch.op == "conv"
            else Branch(op=branch.op, grid_size=self.bins(branch), input=branch.input)
            for branch in self.branches
        )
        arch = self.model_copy(
            update={
                "output_stride": output_stride,
                "encoder_middle_conf": branches,
                "conv_rate_multiplier": 1,
                "scale_rates": False,
            }
        )
        arch._check_branches()
        return arch


def _times(rate: tuple[int, int], factor: float) -> tuple[int, int]:
    vertical, horizontal = (max(1, round(length * factor)) for length in rate)
    return vertical, horizontal


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


class Augmentation(Section):
    """Random changes to the pictures of training, drawn anew for each picture each time it is seen."""

    scale: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]] = (0.5, 2.0)
    """Smallest and largest factor of the size."""
    scale_step: Annotated[Number, Field(ge=0)] = 0.25
    """Distance between the factors that can be drawn; 0 draws from the whole range."""
    flip: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right flip."""
    rotation: Annotated[Number, Field(ge=0, le=180)] = 0.0
    """Largest angle, degrees, by which a picture is turned about its centre, either way. 0: none is turned."""
    brightness: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Largest share of the range of 8 bits that is added to or taken from all colours. 0: off."""
    contrast: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """The distance from mid grey is multiplied by 1 - contrast to 1 + contrast. 0: off."""
    saturation: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """The distance from grey of the same brightness is multiplied by 1 - saturation to 1 + saturation. 0: off."""
    hue: Annotated[Number, Field(ge=0, le=180)] = 0.0
    """Largest angle, degrees, by which colours are turned about grey, either way. 0: off."""
    copy_paste: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Probability that the objects of another picture of the batch are pasted onto a picture, all that is not the class
    `background`. The other picture is of the same device's share, and of the same of `hps.micro_batches`. 0: off."""

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


LOSS_OPTIONS = {"ohem_cross_entropy": "hardest", "focal": "gamma", "lovasz_softmax": "stride"}
"""The one option of each loss that has one."""


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
    stride: Annotated[Positive, Field(le=16)] = 1
    """For `lovasz_softmax`, which sorts the pixels, class by class: with 2, it looks at every second pixel of every
    second row."""

    @model_validator(mode="after")
    def _has_what_is_given(self) -> LossTerm:
        for loss, option in LOSS_OPTIONS.items():
            if self.name != loss and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} is for {loss}, and {self.name} has none; found {getattr(self, option)}")
        return self


IMAGENET = "imagenet"
NAMED_WEIGHTS = (IMAGENET, "none")
"""Values of `train.init_from` that are no place of a file."""
LATEST_BLESSED = "latest_blessed"
LATEST_PUSHED = "latest_pushed"
EARLIER_MODELS = (LATEST_BLESSED, LATEST_PUSHED)
"""Values of `train.init_from` that stand for a model of an earlier run, which may be missing."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _with_an_end(places: tuple[str, ...]) -> tuple[str, ...]:
    """The places, the last of which is one that cannot be missing, and no other."""
    if len(places) == 1 and places[0] in EARLIER_MODELS:
        return (*places, IMAGENET)
    is_earlier_model = [place in EARLIER_MODELS for place in places]
    if is_earlier_model != [True] * (len(places) - 1) + [False] or not places[-1]:
        raise ValueError(
            f"it must be {', '.join(NAMED_WEIGHTS)}, a path or a URI, before which {' and '.join(EARLIER_MODELS)} may "
            f"stand in a list, such as [{LATEST_BLESSED}, {IMAGENET}]"
        )
    return places


class WarmStart(Section):
    """What differs in `hps` when training starts from an earlier run's model; what is unset is as there."""

    steps: Positive | None = None
    """Instead of `hps.steps` or `hps.epochs`."""
    epochs: Annotated[Number, Field(gt=0)] | None = None
    """The same; one of the two."""
    lr: Annotated[Number, Field(gt=0)] | None = None
    """Instead of `hps.lr`."""
    warmup_steps: Annotated[Integer, Field(ge=0)] | None = None
    """Instead of `hps.warmup_steps`."""

    @property
    def has_length(self) -> bool:
        """Whether it says how long training is."""
        return self.steps is not None or self.epochs is not None

    @model_validator(mode="after")
    def _one_length(self) -> WarmStart:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"steps is {self.steps} and epochs is {self.epochs:g}; give one of them")
        return self

    def applied_to(self, hps: Hps) -> Hps:
        """The hyperparameters of a warm start.

        Args:
            hps: those of other trainings.

        Raises:
            ValueError: they contradict one another.
        """
        changed = self.model_dump(exclude_none=True)
        if self.has_length:
            changed = {"steps": None, "epochs": None} | changed
        return Hps.model_validate(hps.model_dump(exclude_unset=True) | changed)


class Train(Section):
    """How training starts and how it reads its data."""

    init_from: Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_with_an_end)] = (IMAGENET,)
    """`imagenet` (Keras downloads the backbone's weights), `none`, or where weights lie, path or URI: a `.h5` or
    `.keras` file of the backbone or of the whole network, or a SavedModel that an earlier run has pushed. Or
    `latest_blessed` or `latest_pushed` (on Kubeflow both are the last pushed one), the model of the last run that had
    one. Since there is none at first, these stand in a list before one of the others, such as
    `[latest_blessed, /weights.h5]`, and the first that exists is taken; alone they are followed by `imagenet`."""
    warm_start: WarmStart = WarmStart()
    output_stride: OutputStride | None = None
    """While training. Unset: as in `nn_arch`. The rates of a design written for `nn_arch.output_stride` follow."""
    loss: Annotated[tuple[LossTerm, ...], Field(min_length=1)] = (LossTerm(name="cross_entropy"),)
    """A weighted sum of losses, such as `[{name: cross_entropy}, {name: dice, weight: 0.5}]`. Names: cross_entropy,
    balanced_cross_entropy (classes weighted by their pixels in the training split), ohem_cross_entropy (`hardest`:
    share of the pixels kept), focal (`gamma`), dice, lovasz_softmax (`stride`)."""
    crop_size: Annotated[Integer, Field(ge=33, le=4097)] | None = None
    """Side of the square that training cuts out of each picture after scaling it, pixels. Unset: `nn_arch.image_size`,
    the whole canvas, which evaluation and serving see in any case."""
    shuffle_buffer: Positive = 2048
    """Encoded pictures that are held in memory to draw the next one from."""
    evaluate_every: Positive | None = None
    """Steps between evaluations on the eval split, at the size of the canvas. The model that had the best mean IoU is
    the one that is exported. Unset: ten times in all."""
    eval_pictures: Positive | None = None
    """Pictures of the eval split that such an evaluation looks at, the first ones. Unset: all."""
    early_stopping: Positive | None = None
    """Evaluations in a row without a better mean IoU that end the training."""
    checkpoints: Annotated[str, Field(min_length=1)] | None = None
    """Where training keeps what it needs to go on after it was stopped or killed: a folder that outlives it, such as a
    mounted volume's, or a URI. Unset: `checkpoints` in the output folder or, on Kubeflow, in the pipeline's folder
    under `kubeflow.root`."""
    checkpoint_every: Positive = 500
    """Steps between checkpoints; there is one after each evaluation as well."""
    num_gpus: Annotated[Integer, Field(ge=0)] | None = None
    """GPUs of this machine that share each batch, at most; a warning tells if there are fewer. Unset: all there are.
    Without any, the CPU trains."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """What layers compute in; weights and loss are float32 in any case. `auto`: on GPUs with tensor cores the mixed one
    that they are made for, otherwise float32."""
    jit: Annotated[bool, Strict()] = False
    """Compile the training step with XLA. On CPUs it takes many times as long."""

    @property
    def earlier_models(self) -> tuple[str, ...]:
        """Those of `EARLIER_MODELS` that are looked for, in this order."""
        return self.init_from[:-1]

    @property
    def weights(self) -> str:
        """What training starts from if none of them is there: one of `NAMED_WEIGHTS`, a path or a URI."""
        return self.init_from[-1]


RUN_OPTIONS = ("checkpoints", "checkpoint_every", "num_gpus")
"""Settings of `train` that change how training is run, and not what is trained. They are no part of the cache's key."""
RUN_OPTIONS_VARIABLE = "DEEPLAB_RUN_OPTIONS"
"""The environment variable that holds them as JSON, `train`, and beside them the folder of `checkpoints`."""


def with_run_options(custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's `custom_config` with the options of the run, which come in the environment."""
    options = json.loads(os.environ.get(RUN_OPTIONS_VARIABLE, "{}"))
    settings = dict(custom_config["settings"])
    settings["train"] = {**settings["train"], **options.get("train", {})}
    return {"checkpoints": options.get("checkpoints"), **custom_config, "settings": settings}


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
    labels: Labels
    """What the masks mean; it travels with the model."""
    eval_output_stride: OutputStride
    """Of the network in the SavedModel."""

    def check_share(self, replicas: int = 1) -> None:
        """Makes sure that each replica has, at a time, as many pictures as the augmentation takes.

        Raises:
            ValueError: it has fewer.
        """
        parts = replicas * self.hps.micro_batches
        if self.augmentation.copy_paste and self.hps.batch_size < 2 * parts:
            raise ValueError(
                "augmentation.copy_paste pastes from one picture onto another, but hps.batch_size "
                f"{self.hps.batch_size} in {parts} parts (hps.micro_batches, or one for each device) "
                "has parts of a single picture; raise the batch size, or leave copy_paste out"
            )

    @property
    def training_arch(self) -> NNArch:
        """The network as it is trained."""
        arch = self.nn_arch.at_image_size(self.train.crop_size or self.nn_arch.image_size)
        return arch.at_output_stride(self._training_stride)

    @property
    def exported_arch(self) -> NNArch:
        """The network as it is judged and served."""
        return self.nn_arch.at_output_stride(self._training_stride).at_output_stride(self.eval_output_stride)

    @property
    def _training_stride(self) -> OutputStride:
        return self.train.output_stride or self.nn_arch.output_stride
