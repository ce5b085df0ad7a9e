"""Weights by the names of their layers: read from files, held against a network, put into it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from trainer.model.backbones import IMAGENET_STATISTICS

Weights = Mapping[str, Sequence[np.ndarray]]
"""The weights of each layer that has any, in Keras' own order, by the layer's canonical name."""

HEAD = "logits_conv"
"""The layer that only a whole network has."""
CLASSIFIER = "predictions"
OWN_NORMALISATION = "normalization_0"
LEFT_OUT = {CLASSIFIER, OWN_NORMALISATION}
"""Layers that a backbone's weights may have too many: what it classified images with, and normalised them by."""
IMAGENET_MEAN = np.array(IMAGENET_STATISTICS.mean) / 255
IMAGENET_STD = np.array(IMAGENET_STATISTICS.scale) / 255
NAMED_BY_KERAS = re.compile(r"(conv2d|batch_normalization|normalization)(?:_(\d+))?")
SHOWN = 3


class WeightsError(ValueError):
    """The weights cannot be read, or are of another network; the message says which layer and shape."""


def read_weights(path: Path, source: str | None = None) -> Weights:
    """Reads a `.weights.h5` or `.keras` file of Keras 3, or one of Keras 2's `.h5` files.

    Args:
        path: of the file.
        source: what the user calls it, for the message; without it the path.

    Raises:
        WeightsError: it is none, or cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_h5(io.BytesIO(archive.read("model.weights.h5")))
        return _read_h5(path)
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{source or path} holds no weights that Keras has written ({error}); wanted is a .weights.h5, .h5 or "
            ".keras file"
        ) from error


def _read_h5(file: Path | io.BytesIO) -> Weights:
    found: dict[str, list[np.ndarray]] = {}
    with h5py.File(file) as h5:
        keras_2 = h5.get("model_weights", h5)
        if layers := _names(keras_2, "layer_names"):
            for layer in layers:
                found[layer] = [keras_2[layer][name][()] for name in _names(keras_2[layer], "weight_names")]
        else:

            def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
                is_layer = name.rpartition("/")[2] == "vars" and not name.startswith("optimizer/")
                if is_layer and isinstance(item, h5py.Group) and len(item):
                    found[item.attrs["name"]] = [item[str(index)][()] for index in range(len(item))]

            h5.visititems(visit)
    if not any(found.values()):
        raise KeyError("no layer in it has weights")
    return canonical({name: arrays for name, arrays in found.items() if arrays})


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names in an attribute of Keras 2: text or bytes, and long lists in several numbered attributes."""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def canonical(weights: Weights) -> Weights:
    """Numbers anew the layers that Keras named by kind and a number that depends on what was built before."""
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in weights:
        if match := NAMED_BY_KERAS.fullmatch(name):
            numbered.setdefault(match[1], []).append((int(match[2] or 0), name))
    new_names = {
        name: f"{kind}_{index}" for kind, names in numbered.items() for index, (_, name) in enumerate(sorted(names))
    }
    return {new_names.get(name, name): arrays for name, arrays in weights.items()}


def layers_with_weights(network: keras.Model) -> Mapping[str, keras.Layer]:
    """The layers that have weights, those of nested models too, by canonical name."""
    return canonical({layer.name: layer for layer in leaves(network) if layer.weights})


def leaves(network: keras.Model) -> Iterator[keras.Layer]:
    """The layers, those of nested models instead of the models."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def transfer(weights: Weights, network: keras.Model, source: str) -> None:
    """Puts weights into DeepLabV3+: into all of it, or, if they are a backbone's, into its backbone.

    Args:
        weights: of the whole network or of its backbone alone.
        network: what `deeplabv3plus` has built; unchanged if the weights do not fit.
        source: where the weights are from, for the message.

    Raises:
        WeightsError: layers are missing, too many, or of another shape.
    """
    part = network if HEAD in weights else network.get_layer("backbone")
    layers = layers_with_weights(part)
    problems = [
        *(f"it has no layer {name!r}" for name in layers if name not in weights),
        *(f"its layer {name!r} is not in the network" for name in weights if name not in layers.keys() | LEFT_OUT),
        *(
            f"layer {name!r}: {variable.name} is {_shape(array.shape)}, wanted {_shape(variable.shape)}"
            for name, layer in layers.items()
            for variable, array in zip(layer.weights, weights.get(name, ()), strict=False)
            if tuple(variable.shape) != array.shape
        ),
        *(
            f"layer {name!r}: {len(weights[name])} weights, wanted {len(layer.weights)}"
            for name, layer in layers.items()
            if name in weights and len(weights[name]) != len(layer.weights)
        ),
        *_normalises_otherwise(weights),
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        target = network.name if part is network else f"the backbone of {network.name}"
        raise WeightsError(f"{source} does not fit {target}: {'; '.join(problems[:SHOWN])}{more}")
    for name, layer in layers.items():
        layer.set_weights(weights[name])


def with_head(weights: Weights, network: keras.Model, rows: Sequence[int | None]) -> Weights:
    """A whole network's weights with a head for other classes, whose other rows are as the network has them.

    Args:
        weights: of the whole network.
        network: what `deeplabv3plus` has built for the other classes; it is not changed.
        rows: for each of its classes, the row that is taken over from the weights; None takes over none.

    Returns:
        The weights; unchanged if the heads do not differ in the number of classes alone, which `transfer` refuses.
    """
    head = [array.copy() for array in network.get_layer(HEAD).get_weights()]
    if [array.shape[:-1] for array in head] != [array.shape[:-1] for array in weights[HEAD]]:
        return weights
    for row, earlier in enumerate(rows):
        if earlier is not None:
            for array, before in zip(head, weights[HEAD], strict=True):
                array[..., row] = before[..., earlier]
    return {**weights, HEAD: head}


def _normalises_otherwise(weights: Weights) -> Iterator[str]:
    """A problem if the network that the weights are of normalised its pixels in another way than ours does."""
    if OWN_NORMALISATION in weights:
        mean, variance = weights[OWN_NORMALISATION][:2]
        # The published files hold the standard deviation where the variance belongs.
        known = any(np.allclose(variance, expected, atol=1e-3) for expected in (IMAGENET_STD, IMAGENET_STD**2))
        if not (known and np.allclose(mean, IMAGENET_MEAN, atol=1e-3)):
            yield f"it normalises pixels by mean {mean} and variance {variance}, wanted are those of ImageNet"


def _shape(sides: Iterable[int]) -> str:
    return " x ".join(map(str, sides)) or "a number"
