"""Atrous conversion: a backbone with its weights at a smaller output stride (arXiv:1706.05587, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from trainer.model.layers import DilatedPooling2D

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLINGS = {keras.layers.MaxPooling2D: "max", keras.layers.AveragePooling2D: "average"}


@dataclass(frozen=True)
class Placement:
    """Where a layer stands in the atrous network."""

    stride: int
    """Pixels of the image per pixel of the layer's output."""
    rate: int
    """Atrous rate of the kernels that read this output: the striding that was taken out before them."""
    dilation: int
    """Atrous rate of the layer's own kernel."""
    strides: int
    """What remains of the layer's own striding."""


def to_output_stride(
    backbone: keras.Model,
    output_stride: int,
    *,
    images: keras.KerasTensor | None = None,
    configure: Callable[[keras.Layer, dict], None] | None = None,
) -> keras.Model:
    """Returns a copy of `backbone` that stops striding at `output_stride` and dilates its kernels from there on.

    Striding that would exceed `output_stride` is set to 1, and every kernel after it is dilated by the factor taken
    out, so that it still sees the pixels it was trained to see: the dense features, subsampled, are the strided ones.
    No weight changes its shape. Windows are padded by half their size on every side, so that on images of
    `output_stride * k + 1` pixels feature i lies on pixel `output_stride * i`. (On others, strided SAME windows of
    TensorFlow lie up to a pixel off, stride by stride.)

    Args:
        backbone: a functional model whose input is an image, with its weights.
        output_stride: pixels of the image per pixel of the last features.
        images: the input of the copy, which fixes the size of the image; without it the size stays the backbone's.
        configure: called with each layer and its configuration, which it may change, before the copy is made.

    Returns:
        A functional model with the layers, names and weights of `backbone`.

    Raises:
        ValueError: the layers cannot be dilated so that their features still meet.
    """
    placements = _place(backbone, output_stride)

    def convert(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        layer_class: type[keras.Layer] = type(layer)
        placement = placements[layer.name]
        if isinstance(layer, CONVOLUTIONS):
            config["strides"] = (placement.strides, placement.strides)
            if max(layer.kernel_size) > 1:
                config["dilation_rate"] = (placement.dilation, placement.dilation)
            config["padding"] = _padding(layer)
        elif type(layer) in POOLINGS:
            config["strides"] = (placement.strides, placement.strides)
            config["padding"] = _padding(layer)
            if placement.dilation > 1 and max(layer.pool_size) > 1:
                layer_class, config = DilatedPooling2D, _dilated_pooling(layer, placement)
        elif isinstance(layer, keras.layers.ZeroPadding2D):
            config["padding"] = _zero_padding(layer, placements)
        elif isinstance(layer, keras.layers.Cropping2D):
            config["cropping"] = _scaled(layer.cropping, placement.rate)
        if configure is not None:
            configure(layer, config)
        return layer_class.from_config(config)

    converted = keras.models.clone_model(backbone, input_tensors=images, clone_function=convert)
    converted.set_weights(backbone.get_weights())
    return converted


def _place(backbone: keras.Model, output_stride: int) -> dict[str, Placement]:
    """Walks the graph from the image on and finds the placement of each layer, by name."""
    placements: dict[str, Placement] = {}
    for layer in backbone.operations:
        if isinstance(layer, keras.layers.InputLayer):
            placements[layer.name] = Placement(stride=1, rate=1, dilation=1, strides=1)
            continue
        sources = {(placements[source.name].stride, placements[source.name].rate) for source in _sources(layer)}
        if len(sources) != 1:
            raise ValueError(f"layer {layer.name!r} joins features of different strides: {sorted(sources)}")
        ((stride, rate),) = sources
        own = layer.strides[0] if isinstance(layer, CONVOLUTIONS) or type(layer) in POOLINGS else 1
        if stride * own <= output_stride:
            placements[layer.name] = Placement(stride * own, rate, dilation=rate, strides=own)
        else:
            placements[layer.name] = Placement(stride, rate * own, dilation=rate, strides=1)
    return placements


def _padding(layer: keras.Layer) -> str:
    """The layer's own padding, or "same" where a VALID window would lose the border of the image.

    A VALID window after a ZeroPadding2D stays as it is: the padding is widened instead.
    """
    padded_before = isinstance(_sources(layer)[0], keras.layers.ZeroPadding2D)
    return layer.padding if padded_before else "same"


def _zero_padding(layer: keras.Layer, placements: dict[str, Placement]) -> tuple:
    """Half the dilated window of what reads the padded features, on every side."""
    readers = _readers(layer)
    if all(isinstance(reader, keras.layers.Cropping2D) for reader in readers):
        # NASNet shifts its features by a pixel: pads at one side, crops at the other.
        return _scaled(layer.padding, placements[layer.name].rate)
    reaches = {
        placements[reader.name].dilation * (size // 2)
        for reader in readers
        for size in (reader.kernel_size if isinstance(reader, CONVOLUTIONS) else reader.pool_size)
    }
    if len(reaches) != 1:
        raise ValueError(f"padding {layer.name!r} is read by windows of different sizes: {sorted(reaches)}")
    (reach,) = reaches
    return ((reach, reach), (reach, reach))


def _dilated_pooling(layer: keras.Layer, placement: Placement) -> dict:
    return {
        "name": layer.name,
        "operation": POOLINGS[type(layer)],
        "pool_size": layer.pool_size[0],
        "dilation_rate": placement.dilation,
        "padding": _padding(layer),
    }


def _scaled(sides: tuple, factor: int) -> tuple:
    return tuple((before * factor, after * factor) for before, after in sides)


def _sources(layer: keras.Layer) -> list[keras.Layer]:
    """The layers whose outputs `layer` reads."""
    (node,) = layer._inbound_nodes
    return [parent.operation for parent in node.parent_nodes]


def _readers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers that read the output of `layer`."""
    return [node.operation for node in layer._outbound_nodes]
