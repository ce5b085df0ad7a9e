"""Atrous conversion: a backbone with its weights at a smaller output stride (arXiv:1706.05587, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from trainer.model.layers import DilatedMaxPooling2D

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)


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
    No weight changes its shape. Convolutions are padded by half their kernel on every side, whatever the size of the
    image, so that pixel i of the features lies on pixel `output_stride * i` of the image.

    Args:
        backbone: a functional model whose input is an image, with its weights.
        output_stride: pixels of the image per pixel of the last features.
        images: the input of the copy, which fixes the size of the image; without it the size stays the backbone's.
        configure: called with each layer and its configuration, which it may change, before the copy is made.

    Returns:
        A functional model with the layers, names and weights of `backbone`.

    Raises:
        ValueError: a layer would have to be dilated that no rule exists for.
    """
    placements = _place(backbone, output_stride)

    def convert(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        layer_class: type[keras.Layer] = type(layer)
        placement = placements[layer.name]
        if isinstance(layer, CONVOLUTIONS):
            config["strides"] = (placement.strides, placement.strides)
            config["dilation_rate"] = (placement.dilation, placement.dilation)
            if config["padding"] == "valid" and not isinstance(_source(layer), keras.layers.ZeroPadding2D):
                config["padding"] = "same"
        elif isinstance(layer, POOLINGS):
            config["strides"] = (placement.strides, placement.strides)
            if placement.dilation > 1:
                layer_class, config = _dilated_pooling(layer, placement)
        elif isinstance(layer, keras.layers.ZeroPadding2D):
            reader = _reader(layer)
            reach = [placements[reader.name].dilation * (size // 2) for size in reader.kernel_size]
            config["padding"] = tuple((side, side) for side in reach)
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
        own = layer.strides[0] if isinstance(layer, CONVOLUTIONS + POOLINGS) else 1
        if stride * own <= output_stride:
            placements[layer.name] = Placement(stride * own, rate, dilation=rate, strides=own)
        else:
            placements[layer.name] = Placement(stride, rate * own, dilation=rate, strides=1)
    return placements


def _dilated_pooling(layer: keras.Layer, placement: Placement) -> tuple[type[keras.Layer], dict]:
    if not isinstance(layer, keras.layers.MaxPooling2D) or layer.padding != "same":
        raise ValueError(f"no atrous form of {type(layer).__name__} {layer.name!r} with padding {layer.padding!r}")
    return DilatedMaxPooling2D, {
        "name": layer.name,
        "pool_size": layer.pool_size[0],
        "dilation_rate": placement.dilation,
    }


def _sources(layer: keras.Layer) -> list[keras.Layer]:
    """The layers whose outputs `layer` reads."""
    (node,) = layer._inbound_nodes
    return [parent.operation for parent in node.parent_nodes]


def _source(layer: keras.Layer) -> keras.Layer:
    (source,) = _sources(layer)
    return source


def _reader(layer: keras.Layer) -> keras.Layer:
    """The one layer that reads the output of `layer`."""
    (node,) = layer._outbound_nodes
    return node.operation
