"""The backbones: what `keras.applications` calls them, where DeepLabV3+ taps them and how they want their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from trainer.model.atrous import to_output_stride
from trainer.settings import NNArch


@dataclass(frozen=True)
class Normalisation:
    """How 8-bit RGB becomes the numbers that a backbone was pretrained on: (pixel - mean) / scale."""

    mean: tuple[float, float, float]
    """Pixel value that becomes 0, per channel, 0 to 255. Padding has this value."""
    scale: float


MINUS_ONE_TO_ONE = Normalisation(mean=(127.5, 127.5, 127.5), scale=127.5)


@dataclass(frozen=True)
class Backbone:
    """One row of the table below."""

    build: Callable[..., keras.Model]
    low_level_tap: str
    """Layer whose output, at stride 4, the decoder refines boundaries with."""
    high_level_tap: str
    """Layer whose output the ASPP reads."""
    normalisation: Normalisation


BACKBONES = {
    "MobileNetV2": Backbone(keras.applications.MobileNetV2, "block_2_add", "out_relu", MINUS_ONE_TO_ONE),
    "Xception": Backbone(keras.applications.Xception, "block3_sepconv2_bn", "block14_sepconv2_act", MINUS_ONE_TO_ONE),
}


def build_backbone(
    name: str,
    nn_arch: NNArch,
    *,
    weights: str,
    weight_decay: float = 0.0,
    bn_momentum: float | None = None,
) -> keras.Model:
    """Builds a backbone at the output stride of `nn_arch`.

    Args:
        name: a key of `BACKBONES`.
        nn_arch: the network's settings.
        weights: `imagenet`, `none`, or the path of a `.weights.h5` file of this backbone without its classifier.
        weight_decay: see `Hps.weight_decay`.
        bn_momentum: momentum of the batch normalisations' statistics; None keeps the backbone's own.

    Returns:
        A model from images float32[N, S, S, 3], normalised, to the low-level features at stride 4 and the high-level
        features at the output stride.

    Raises:
        ValueError: the weights are of another network.
        FileNotFoundError: there is no such weights file.
    """
    backbone = BACKBONES[name]
    width = {"alpha": nn_arch.mv2_depth_multiplier} if name == "MobileNetV2" else {}
    network = backbone.build(
        include_top=False,
        weights="imagenet" if weights == "imagenet" else None,
        # Left open here, so that no backbone's lower bound on the size of a classified image applies.
        input_shape=(None, None, 3),
        **width,
    )
    if weights not in ("imagenet", "none"):
        _load_weights(network, Path(weights))

    def configure(layer: keras.Layer, config: dict) -> None:
        if isinstance(layer, keras.layers.BatchNormalization) and bn_momentum is not None:
            config["momentum"] = bn_momentum
        if isinstance(layer, keras.layers.SeparableConv2D):
            config["pointwise_regularizer"] = kernel_regularizer(weight_decay)
        elif isinstance(layer, keras.layers.Conv2D):
            config["kernel_regularizer"] = kernel_regularizer(weight_decay)

    images = keras.Input((nn_arch.image_size, nn_arch.image_size, 3))
    network = to_output_stride(network, nn_arch.output_stride, images=images, configure=configure)
    taps = [network.get_layer(tap).output for tap in (backbone.low_level_tap, backbone.high_level_tap)]
    return keras.Model(network.input, taps, name="backbone")


def kernel_regularizer(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """Weight decay as TF-slim means it. Depthwise kernels have none, as in TF DeepLab."""
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def _load_weights(network: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"train.init_from: there is no weights file {path}")
    try:
        network.load_weights(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"train.init_from: {path} does not fit {network.name}: {error}") from error
