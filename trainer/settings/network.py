"""`base_model` and `nn_arch`: the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

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
"""The designs that have a name; `trainer/settings/encoder_middles/README.md` says where they come from."""


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
