"""What the network costs, part by part, read from its layer graph: output shapes, parameters, multiply-accumulates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from trainer.model.layers import AlignedUpsampling, Content, GridPooling

PARTS = {
    "image": "image",
    "backbone": "backbone",
    r"aspp_(\d+)_": "branch {}",
    "aspp_": "projection",
    "decoder_low_level": "reduction",
    r"decoder_conv(\d+)": "conv {}",
    "decoder_": "concat",
    "logits_conv": "logits",
    "logits": "prediction",
}
"""How the names of a part's layers begin, and the part's name. A layer of another name belongs to what it reads."""
TAPS = ("low-level", "high-level")
"""The backbone's outputs, each a part of its own."""
ORDER = ["image", "backbone", *TAPS, "branch", "projection", "reduction", "concat", "conv", "logits", "prediction"]


@dataclass(frozen=True)
class Part:
    """One box of the figure of DeepLabV3+ (arXiv:1802.02611, figure 2)."""

    name: str
    operations: tuple[str, ...]
    """What it does, in the order in which it is done; of a tap, the backbone's layer and its stride."""
    inputs: tuple[str, ...]
    """Names of the parts that it reads."""
    shape: tuple[int, int, int]
    """Height, width and channels of its output."""
    parameters: int = 0
    """Trainable or not: the statistics of batch normalisations are among them."""
    multiply_accumulates: int = 0
    """For one image; see `multiply_accumulates`."""


def multiply_accumulates(model: keras.Model) -> int:
    """Counts the multiplications, each with its addition, that a forward pass of one image takes.

    Conv2D, DepthwiseConv2D, SeparableConv2D and Dense are counted, nested models too, and a layer as often as it is
    called. Biases, batch normalisation, activations, pooling and resampling are not counted, as is the field's habit.

    Args:
        model: functional, channels last, every size known.

    Raises:
        ValueError: a layer's output has no fixed size.
    """
    return sum(_multiply_accumulates(node) for node in _nodes(model))


def summarize(network: keras.Model, base_model: str) -> list[Part]:
    """Finds the parts of a network that `deeplabv3plus` built.

    Args:
        network: its layers belong to the parts that `PARTS` says.
        base_model: the backbone's name.

    Returns:
        The parts, from the image to the prediction. Their parameters and multiply-accumulates sum up to the network's.
    """
    part_of: dict[str, str] = {}
    members: dict[str, list[Any]] = {}
    for node in _nodes(network):
        name = _part_name(node.operation.name) or part_of[node.input_tensors[0]._keras_history.operation.name]
        part_of[node.operation.name] = name
        members.setdefault(name, []).append(node)

    def source(tensor: keras.KerasTensor) -> str:
        history = tensor._keras_history
        return TAPS[history.tensor_index] if _nested(history.operation) else part_of[history.operation.name]

    # What is no layer, such as a slice, has no parameters.
    network_layers = set(network.layers)
    parts = []
    for name, nodes in members.items():
        tensors = (tensor for node in nodes for tensor in node.input_tensors)
        # Which features lie on the picture is no arrow of the figure.
        read = {source(each) for each in tensors if not isinstance(each._keras_history.operation, Content)} - {name}
        parts.append(
            Part(
                name,
                operations=(base_model,) if name == "backbone" else _operations(nodes),
                inputs=tuple(sorted(read, key=_position)),
                # Of the image as it is given, before it is padded.
                shape=nodes[0 if name == "image" else -1].outputs[-1].shape[1:],
                parameters=sum(layer.count_params() for layer in {node.operation for node in nodes} & network_layers),
                multiply_accumulates=sum(map(_multiply_accumulates, nodes)),
            )
        )
    backbone = next(node for node in members["backbone"] if _nested(node.operation))
    are_read = {name for part in parts for name in part.inputs}
    parts += [
        _tap(name, backbone, output)
        for name, output in zip(TAPS, backbone.operation.outputs, strict=True)
        if name in are_read
    ]
    return sorted(parts, key=lambda part: _position(part.name))


def _nodes(model: keras.Model) -> Iterator[Any]:
    """The calls of layers that make up the model, each after those that it reads."""
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
        yield from nodes


def _nested(operation: Any) -> bool:
    return isinstance(operation, keras.Model)


def _multiply_accumulates(node: Any) -> int:
    """Every weight of a kernel is multiplied once at every pixel of the output."""
    layer = node.operation
    if _nested(layer):
        return multiply_accumulates(layer)
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
        kernels = [layer.kernel]
    else:
        return 0
    size = node.outputs[0].shape[1:-1]
    if None in size:
        raise ValueError(f"layer {layer.name!r} has an output of unknown size: build the model for a fixed size")
    return math.prod(size) * sum(math.prod(kernel.shape) for kernel in kernels)


def _part_name(layer: str) -> str | None:
    for pattern, name in PARTS.items():
        if match := re.match(pattern, layer):
            return name.format(*match.groups())
    return None


def _position(part: str) -> tuple[int, int]:
    kind, _, number = part.partition(" ")
    return ORDER.index(kind), int(number or 0)


def _tap(name: str, backbone: Any, output: keras.KerasTensor) -> Part:
    layer = output._keras_history.operation.name
    # At sizes of stride * k + 1, which the image is padded to.
    stride = (backbone.input_tensors[0].shape[1] - 1) // (output.shape[1] - 1)
    return Part(name, (layer, f"stride {stride}"), ("backbone",), output.shape[1:])


def _operations(nodes: list[Any]) -> tuple[str, ...]:
    operations: list[str] = []
    for node in nodes:
        operation = _operation(node)
        if operation == "conv 1x1" and operations and operations[-1].startswith("depthwise"):
            operations[-1] = operations[-1].replace("depthwise", "separable")
        elif operation:
            operations.append(operation)
    return tuple(operations)


def _operation(node: Any) -> str:
    """What a layer does, in words; nothing of what the figure leaves out."""
    layer = node.operation
    height, width = node.outputs[0].shape[1:3]
    if isinstance(layer, layers.ZeroPadding2D) and node.input_tensors[0].shape != node.outputs[0].shape:
        return f"padded to {height} x {width}"
    if isinstance(layer, layers.Concatenate):
        return "concatenation"
    if isinstance(layer, AlignedUpsampling):
        return f"{layer.factor}x upsampling"
    if isinstance(layer, GridPooling):
        return "image pooling" if height == width == 1 else f"pooling to {height}x{width}"
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        kinds = {layers.Conv2D: "conv", layers.DepthwiseConv2D: "depthwise", layers.SeparableConv2D: "separable"}
        kind = next(name for layer_class, name in kinds.items() if isinstance(layer, layer_class))
        vertical, horizontal = layer.dilation_rate
        rate = f", rate {vertical}" if vertical == horizontal else f", rate {vertical}x{horizontal}"
        kernel = "x".join(map(str, layer.kernel_size))
        return f"{kind} {kernel}{rate if (vertical, horizontal) != (1, 1) else ''}"
    return ""
