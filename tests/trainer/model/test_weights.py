"""Weights from files."""

import h5py
import keras
import numpy as np
import pytest

from trainer.model.backbones import BACKBONES, original_backbone
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import IMAGENET_MEAN, IMAGENET_STD, WeightsError, layers_with_weights, read_weights, transfer
from trainer.settings import NNArch

SMALL = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24)


def assert_same_weights(source: keras.Model, target: keras.Model) -> None:
    source_layers, target_layers = layers_with_weights(source), layers_with_weights(target)
    assert source_layers.keys() == target_layers.keys()
    for name, layer in source_layers.items():
        for theirs, ours in zip(layer.get_weights(), target_layers[name].get_weights(), strict=True):
            np.testing.assert_array_equal(theirs, ours, err_msg=name)


def save_as_keras_2(network: keras.Model, file) -> None:
    """Keras 2's layout, with names as bytes in numbered attributes."""
    with h5py.File(file, "w") as h5:
        names = np.array([layer.name for layer in network.layers], "S")
        for index, part in enumerate(np.array_split(names, 2)):  # as for lists that are too long for one attribute
            h5.attrs[f"layer_names{index}"] = part
        for layer in network.layers:
            group = h5.create_group(layer.name)
            group.attrs["weight_names"] = np.array([f"{layer.name}/{weight.name}:0" for weight in layer.weights], "S")
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = weight.numpy()


# Xception has layers that Keras numbers by what was built before.
@pytest.mark.parametrize("name", ["MobileNetV2", "Xception"])
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_a_backbone_s_file_fills_the_backbone(name, suffix, tmp_path):
    source = original_backbone(name, alpha=0.35)
    file = tmp_path / f"backbone{suffix}"
    if suffix == ".h5":
        save_as_keras_2(source, file)
    elif suffix == ".keras":
        source.save(file)
    else:
        source.save_weights(file)
    network = deeplabv3plus(name, SMALL)
    head = network.get_layer("logits_conv").get_weights()
    transfer(read_weights(file), network, str(file))
    assert_same_weights(source, network.get_layer("backbone"))
    np.testing.assert_array_equal(network.get_layer("logits_conv").get_weights()[0], head[0])


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_whole_network_s_file_fills_the_network(suffix, tmp_path):
    """Also at another output stride, as after training at 16 for evaluation at 8."""
    source = deeplabv3plus("MobileNetV2", SMALL)
    file = tmp_path / f"network{suffix}"
    if suffix == ".keras":
        source.save(file)
    else:
        source.save_weights(file)
    network = deeplabv3plus("MobileNetV2", SMALL.at_output_stride(8))
    transfer(read_weights(file), network, str(file))
    assert_same_weights(source, network)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_what_an_optimiser_keeps_is_no_layer(suffix, tmp_path):
    source = original_backbone("MobileNetV2", alpha=0.35)
    source.compile(optimizer="adam", loss="mse")
    source.optimizer.build(source.trainable_variables)
    file = tmp_path / f"compiled{suffix}"
    source.save_weights(file) if suffix == ".weights.h5" else source.save(file)
    network = deeplabv3plus("MobileNetV2", SMALL)
    transfer(read_weights(file), network, str(file))
    assert_same_weights(source, network.get_layer("backbone"))


def weights_of(network: keras.Model) -> dict:
    return {name: layer.get_weights() for name, layer in layers_with_weights(network).items()}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (
            lambda: weights_of(original_backbone("MobileNetV2", alpha=0.5)),
            " the backbone of deeplabv3plus: layer 'block_1_project': kernel is 1 x 1 x 48 x 16, wanted 1 x 1 x 48 x 8",
        ),
        (
            lambda: weights_of(original_backbone("Xception")),
            " the backbone of deeplabv3plus: it has no layer 'Conv1'; .*; and [0-9]+ more",
        ),
        (
            lambda: weights_of(deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"num_classes": 5}))),
            " deeplabv3plus: layer 'logits_conv': kernel is 1 x 1 x 24 x 5, wanted 1 x 1 x 24 x 21",
        ),
        (
            lambda: weights_of(deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"boundary_refinement": False}))),
            " deeplabv3plus: it has no layer 'decoder_low_level_conv'",
        ),
    ],
    ids=["width", "backbone", "classes", "decoder"],
)
def test_weights_of_another_network_are_refused(weights, expected):
    network = deeplabv3plus("MobileNetV2", SMALL)
    before = network.get_weights()
    with pytest.raises(WeightsError, match=f"some.h5 does not fit.*{expected}"):
        transfer(weights(), network, "some.h5")
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_classifier_is_left_out():
    source = keras.applications.MobileNetV2(alpha=0.35, weights=None, input_shape=(96, 96, 3))
    network = deeplabv3plus("MobileNetV2", SMALL)
    transfer(weights_of(source), network, "classifier.h5")


@pytest.mark.parametrize(
    ("text", "name"), [(b"no weights", "text.weights.h5"), (b"PK\x05\x06" + 18 * b"\0", "empty.keras")]
)
def test_files_that_hold_no_weights(tmp_path, text, name):
    file = tmp_path / name
    file.write_bytes(text)
    with pytest.raises(WeightsError, match=f"{name} holds no weights that Keras has written"):
        read_weights(file)


def test_an_hdf5_file_of_something_else(tmp_path):
    file = tmp_path / "other.h5"
    with h5py.File(file, "w") as h5:
        h5["table"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"mine\.h5 holds no weights that Keras has written"):
        read_weights(file, "mine.h5")


def efficientnet_with_normalisation(mean, variance) -> keras.Model:
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(65, 65, 3))
    (norm,) = (layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    norm.load_own_variables({"0": np.array(mean), "1": np.array(variance), "2": np.array(0)})
    return network


@pytest.mark.parametrize("published_variance", [IMAGENET_STD, IMAGENET_STD**2], ids=["published", "corrected"])
@pytest.mark.slow
def test_efficientnet_sees_what_it_was_trained_on(tmp_path, published_variance):
    """The published files hold standard deviations as variances, for which Keras makes up in the graph."""
    file = tmp_path / "efficientnet.weights.h5"
    efficientnet_with_normalisation(IMAGENET_MEAN, published_variance).save_weights(file)
    network = deeplabv3plus("EfficientNetB0", NNArch(image_size=65, output_stride=32))
    weights = read_weights(file)
    transfer(weights, network, str(file))

    as_trained = efficientnet_with_normalisation(IMAGENET_MEAN, IMAGENET_STD**2)
    for name, layer in layers_with_weights(as_trained).items():
        if name != "normalization_0":
            layer.set_weights(weights[name])
    pixels = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 3)).astype(np.float32)
    normalisation = BACKBONES["EfficientNetB0"].normalisation
    _, features = network.get_layer("backbone")((pixels - normalisation.mean) / normalisation.scale)
    np.testing.assert_allclose(features, as_trained(pixels), rtol=1e-3, atol=1e-5)


def test_an_efficientnet_with_another_normalisation_is_refused():
    network = deeplabv3plus("EfficientNetB0", NNArch(image_size=65))
    with pytest.raises(WeightsError, match=r"normalises pixels by mean \[0. 0. 0.\] and variance \[1. 1. 1.\]"):
        transfer(weights_of(efficientnet_with_normalisation(np.zeros(3), np.ones(3))), network, "some.h5")
