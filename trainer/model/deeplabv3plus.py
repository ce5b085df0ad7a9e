"""DeepLabV3+: encoder, atrous spatial pyramid pooling, decoder (arXiv:1802.02611, figure 2)."""

from __future__ import annotations

import keras
from keras import layers

from trainer.model.backbones import BACKBONES, build_backbone, kernel_regularizer
from trainer.model.layers import AlignedUpsampling, Content, GridPooling, GridUpsampling
from trainer.model.weights import HEAD
from trainer.settings import Hps, NNArch

LOW_LEVEL_STRIDE = 4


def deeplabv3plus(base_model: str, nn_arch: NNArch, hps: Hps | None = None, *, weights: str = "none") -> keras.Model:
    """Builds DeepLabV3+.

    Args:
        base_model: the backbone's name.
        nn_arch: the network's settings.
        hps: the hyperparameters of regularisation and normalisation.
        weights: of the backbone, `imagenet` or `none`; `trainer.model.weights` puts others in.

    Returns:
        A model from images float32[N, S, S, 3], normalised as the backbone wants, to logits float32[N, S, S, C].

    Raises:
        ConnectionError: the ImageNet weights cannot be downloaded.
    """
    hps = hps or Hps()
    block = _Block(nn_arch, hps)
    images = keras.Input((nn_arch.image_size, nn_arch.image_size, 3), name="image")
    padding = (0, nn_arch.padded_size - nn_arch.image_size)
    padded = layers.ZeroPadding2D((padding, padding), name="image_padding")(images)
    low_level, high_level = build_backbone(base_model, nn_arch, hps, weights=weights)(padded)
    stride: int = nn_arch.output_stride
    half_level = [0.5 / scale for scale in BACKBONES[base_model].normalisation.scale]
    content = Content(half_level, stride, dtype="float32", name="content")(padded)
    features = encoder_middle(high_level, content, nn_arch, block)
    if nn_arch.boundary_refinement:
        features = decoder(features, low_level, nn_arch, block)
        stride = LOW_LEVEL_STRIDE
    logits = layers.Conv2D(nn_arch.num_classes, 1, kernel_regularizer=kernel_regularizer(hps), name=HEAD)(features)
    # Loss and argmax want float32, whatever precision the network computes in.
    logits = AlignedUpsampling(stride, (nn_arch.image_size, nn_arch.image_size), dtype="float32", name="logits")(logits)
    return keras.Model(images, logits, name="deeplabv3plus")


def encoder_middle(features, content, nn_arch: NNArch, block: _Block):
    """The branches of `nn_arch.encoder_middle_conf`, concatenated and projected; by default the paper's ASPP.

    Args:
        features: float[N, h, w, D], the backbone's high-level features.
        content: which of them lie on the picture, as `Content` says it.

    Returns:
        float[N, h, w, concat_channels].
    """
    outputs: list = []
    for index, branch in enumerate(nn_arch.branches):
        source = features if branch.input == -1 else outputs[branch.input]
        name = f"aspp_{index}"
        if branch.op == "pyramid_pooling":
            outputs.append(
                pyramid_pooling(source, content, nn_arch.bins(branch), nn_arch.reduction_size, block, name=name)
            )
        else:
            assert branch.kernel is not None
            rate = nn_arch.effective_rate(branch)
            outputs.append(block.conv(source, nn_arch.reduction_size, kernel=branch.kernel, rate=rate, name=name))
    concatenated = layers.Concatenate(name="aspp_concat")(outputs) if len(outputs) > 1 else outputs[0]
    projected = block.conv(concatenated, nn_arch.concat_channels, name="aspp_projection")
    return layers.Dropout(nn_arch.dropout_rate, name="aspp_dropout")(projected)


def pyramid_pooling(features, content, bins: tuple[int, int], width: int, block: _Block, *, name: str):
    """Means over a grid of bins, through a 1x1 convolution, back at every pixel (arXiv:1612.01105).

    With one bin this is image pooling (arXiv:1506.04579): the mean of all features beside each of them.
    """
    size = features.shape[1:3]
    pooled = GridPooling(bins, dtype="float32", name=f"{name}_pooling")(features, *content)
    pooled = block.conv(pooled, width, name=name)
    return GridUpsampling(size, name=f"{name}_upsampling")(pooled)


def decoder(features, low_level, nn_arch: NNArch, block: _Block):
    """Refines object boundaries: upsampled ASPP features beside reduced stride-4 features, two 3x3 convolutions.

    Args:
        features: float[N, h, w, concat_channels], from the ASPP.
        low_level: float[N, H, W, D], the backbone's features at stride 4.

    Returns:
        float[N, H, W, concat_channels].
    """
    factor = nn_arch.output_stride // LOW_LEVEL_STRIDE
    upsampled = AlignedUpsampling(factor, low_level.shape[1:3], name="decoder_upsampling")(features)
    reduced = block.conv(low_level, nn_arch.low_level_channels, name="decoder_low_level")
    features = layers.Concatenate(name="decoder_concat")([upsampled, reduced])
    for index in (1, 2):
        features = block.conv(features, nn_arch.concat_channels, kernel=3, name=f"decoder_conv{index}")
    return features


class _Block:
    """Convolutions followed by batch normalisation and ReLU, as every box outside the backbone has them."""

    def __init__(self, nn_arch: NNArch, hps: Hps):
        self._separable = nn_arch.separable
        self._depth_multiplier = nn_arch.depth_multiplier
        self._hps = hps

    def conv(self, features, width: int, *, kernel: int = 1, rate: tuple[int, int] = (1, 1), name: str):
        """Atrous convolution; a separable one has normalisation and ReLU after either half (arXiv:1802.02611, 3.1)."""
        if kernel > 1 and self._separable:
            depthwise = layers.DepthwiseConv2D(
                kernel,
                padding="same",
                dilation_rate=rate,
                depth_multiplier=self._depth_multiplier,
                use_bias=False,
                name=f"{name}_depthwise",
            )
            features = self._normalised(depthwise(features), f"{name}_depthwise")
            kernel, rate = 1, (1, 1)
        conv = layers.Conv2D(
            width,
            kernel,
            padding="same",
            dilation_rate=rate,
            use_bias=False,
            kernel_regularizer=kernel_regularizer(self._hps),
            name=f"{name}_conv",
        )
        return self._normalised(conv(features), name)

    def _normalised(self, features, name: str):
        norm = layers.BatchNormalization(
            momentum=self._hps.bn_momentum,
            epsilon=1e-5,
            scale=self._hps.bn_scale,
            synchronized=self._hps.bn_synchronized,
            name=f"{name}_bn",
        )
        return layers.ReLU(name=f"{name}_relu")(norm(features))
