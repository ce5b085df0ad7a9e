"""The backbones: what `keras.applications` calls them, where DeepLabV3+ taps them and how they want their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from trainer.model.atrous import to_output_stride
from trainer.settings import Hps, NNArch


@dataclass(frozen=True)
class Normalisation:
    """How 8-bit RGB becomes the numbers that a network reads: (pixel - mean) / scale."""

    mean: tuple[float, float, float]
    """Pixel value that becomes 0, per channel, 0 to 255. Padding has this value."""
    scale: tuple[float, float, float]


MINUS_ONE_TO_ONE = Normalisation(mean=(127.5, 127.5, 127.5), scale=(127.5, 127.5, 127.5))
IMAGENET_STATISTICS = Normalisation(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
IMAGENET_MEAN = Normalisation(mean=(123.68, 116.779, 103.939), scale=(1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Backbone:
    """One row of the table below."""

    build: Callable[..., keras.Model]
    low_level_tap: str
    """Layer whose output, at stride 4, the decoder refines boundaries with."""
    high_level_tap: str
    """Layer whose output the ASPP reads."""
    normalisation: Normalisation
    """Of the canvas: what `keras.applications` asks for, but for the order of the channels."""
    reads_bgr: bool = False
    """The channels are wanted in that order."""
    first_layer: str | None = None
    """Where the network begins after layers that normalise pixels by themselves; these are left out."""
    fixed_size: int | None = None
    """Size of image to build the original with, where its graph cannot be built for any size."""


def _efficientnet(build: Callable[..., keras.Model], low_level_tap: str) -> Backbone:
    return Backbone(build, low_level_tap, "top_activation", IMAGENET_STATISTICS, first_layer="stem_conv_pad")


_apps = keras.applications

BACKBONES = {
    "MobileNetV2": Backbone(_apps.MobileNetV2, "block_2_add", "out_relu", MINUS_ONE_TO_ONE),
    "Xception": Backbone(_apps.Xception, "block3_sepconv2_bn", "block14_sepconv2_act", MINUS_ONE_TO_ONE),
    "ResNet50": Backbone(_apps.ResNet50, "conv2_block3_out", "conv5_block3_out", IMAGENET_MEAN, reads_bgr=True),
    "ResNet101": Backbone(_apps.ResNet101, "conv2_block3_out", "conv5_block3_out", IMAGENET_MEAN, reads_bgr=True),
    "DenseNet121": Backbone(_apps.DenseNet121, "pool2_relu", "relu", IMAGENET_STATISTICS),
    "DenseNet169": Backbone(_apps.DenseNet169, "pool2_relu", "relu", IMAGENET_STATISTICS),
    "DenseNet201": Backbone(_apps.DenseNet201, "pool2_relu", "relu", IMAGENET_STATISTICS),
    "EfficientNetB0": _efficientnet(_apps.EfficientNetB0, "block2b_add"),
    "EfficientNetB1": _efficientnet(_apps.EfficientNetB1, "block2c_add"),
    "EfficientNetB2": _efficientnet(_apps.EfficientNetB2, "block2c_add"),
    "EfficientNetB3": _efficientnet(_apps.EfficientNetB3, "block2c_add"),
    "EfficientNetB4": _efficientnet(_apps.EfficientNetB4, "block2d_add"),
    "EfficientNetB5": _efficientnet(_apps.EfficientNetB5, "block2e_add"),
    "EfficientNetB6": _efficientnet(_apps.EfficientNetB6, "block2f_add"),
    "EfficientNetB7": _efficientnet(_apps.EfficientNetB7, "block2g_add"),
    "NASNetMobile": Backbone(
        _apps.NASNetMobile, "reduction_concat_stem_1", "normal_concat_12", MINUS_ONE_TO_ONE, fixed_size=225
    ),
    "NASNetLarge": Backbone(
        _apps.NASNetLarge, "reduction_concat_stem_1", "normal_concat_18", MINUS_ONE_TO_ONE, fixed_size=225
    ),
}


def original_backbone(name: str, *, alpha: float = 1.0, weights: str = "none") -> keras.Model:
    """The network of `keras.applications`, without its classifier and without layers that normalise pixels.

    Args:
        name: a key of `BACKBONES`.
        alpha: MobileNetV2's width.
        weights: `imagenet` or `none`.

    Raises:
        ConnectionError: the ImageNet weights cannot be downloaded.
    """
    backbone = BACKBONES[name]
    # Any size, so that no lower bound on the size of a classified image applies.
    size = backbone.fixed_size
    arguments = {"include_top": False, "input_shape": (size, size, 3)}
    if name == "MobileNetV2":
        arguments["alpha"] = alpha
    try:
        network = backbone.build(weights=None if weights == "none" else weights, **arguments)
    # `keras.utils.get_file` raises a bare Exception.
    except Exception as error:
        if "URL fetch failure" not in str(error):
            raise
        raise ConnectionError(
            f"train.init_from: the ImageNet weights of {name} cannot be downloaded ({error}); "
            "give the path of a weights file, or none"
        ) from error
    if backbone.first_layer is not None:
        # Keras builds EfficientNet's own normalisation differently for its ImageNet weights than for others.
        rest = keras.Model(network.get_layer(backbone.first_layer).input, network.output, name=network.name)
        network = keras.models.clone_model(rest)
        network.set_weights(rest.get_weights())
    return network


def build_backbone(name: str, nn_arch: NNArch, hps: Hps, *, weights: str = "none") -> keras.Model:
    """Builds a backbone at the output stride of `nn_arch`.

    Args:
        name: a key of `BACKBONES`.
        nn_arch: the network's settings.
        hps: the hyperparameters of regularisation and normalisation.
        weights: see `original_backbone`, which also says what is raised.

    Returns:
        A model from images float32[N, P, P, 3], of `nn_arch.padded_size` and normalised as the table says, to the
        low-level features at stride 4 and the high-level features at the output stride.
    """
    backbone = BACKBONES[name]

    def configure(layer: keras.Layer, config: dict) -> None:
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= {
                "momentum": hps.bn_momentum,
                "synchronized": hps.bn_synchronized,
                "trainable": not hps.bn_freeze,
            }
        if isinstance(layer, keras.layers.SeparableConv2D):
            config["pointwise_regularizer"] = kernel_regularizer(hps)
        elif isinstance(layer, keras.layers.Conv2D):
            config["kernel_regularizer"] = kernel_regularizer(hps)

    images = keras.Input((nn_arch.padded_size, nn_arch.padded_size, 3))
    network = to_output_stride(
        original_backbone(name, alpha=nn_arch.mv2_depth_multiplier, weights=weights),
        nn_arch.output_stride,
        images=images[..., ::-1] if backbone.reads_bgr else images,
        configure=configure,
    )
    taps = [network.get_layer(tap).output for tap in (backbone.low_level_tap, backbone.high_level_tap)]
    return keras.Model(images, taps, name="backbone")


def kernel_regularizer(hps: Hps) -> keras.regularizers.Regularizer | None:
    """Weight decay as TF-slim means it. Depthwise kernels have none, as in TF DeepLab."""
    if not hps.weight_decay or hps.decoupled_decay:
        return None
    return keras.regularizers.L2(hps.weight_decay / 2)
