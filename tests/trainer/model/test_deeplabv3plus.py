"""The whole network."""

import keras
import numpy as np
import pytest

from trainer.model.backbones import BACKBONES, build_backbone
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.settings import NNArch

SMALL = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_logits_at_the_size_of_the_picture(output_stride):
    network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"output_stride": output_stride}))
    assert network.input_shape == (None, 65, 65, 3)
    assert network.output_shape == (None, 65, 65, 21)
    logits = network(np.zeros((1, 65, 65, 3), np.float32))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(("name", "parameters"), [("MobileNetV2", 4.44e6), ("Xception", 24.07e6)])
def test_size_of_the_whole_network(name, parameters):
    """With the paper's ASPP and decoder: 256 channels, and 48 from stride 4."""
    network = deeplabv3plus(name, NNArch(image_size=65))
    assert network.count_params() == pytest.approx(parameters, rel=0.005)


def test_any_size_even_one_between_the_strides():
    network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"image_size": 70}))
    assert network.output_shape == (None, 70, 70, 21)


def test_rates_follow_the_output_stride():
    def rates(output_stride):
        network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"output_stride": output_stride}))
        depthwise = [layer for layer in network.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
        return [layer.dilation_rate[0] for layer in depthwise if layer.name.startswith("aspp")]

    assert rates(16) == [6, 12, 18]
    assert rates(8) == [12, 24, 36]


def test_without_boundary_refinement_there_is_no_decoder():
    network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"boundary_refinement": False}))
    assert network.output_shape == (None, 65, 65, 21)
    assert not [layer.name for layer in network.layers if layer.name.startswith("decoder")]


def test_the_same_weights_at_another_output_stride():
    fine, coarse = (
        deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"output_stride": stride})) for stride in (8, 16)
    )
    fine.set_weights(coarse.get_weights())


def test_batch_normalisation_and_weight_decay_reach_the_backbone():
    network = deeplabv3plus("MobileNetV2", SMALL, weight_decay=4e-5, bn_momentum=0.7)
    layers = list(network._flatten_layers(include_self=False))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 60
    assert {layer.momentum for layer in norms} == {0.7}
    kernels = [layer.kernel for layer in layers if type(layer) is keras.layers.Conv2D]
    expected = sum(2e-5 * float(keras.ops.sum(keras.ops.square(kernel))) for kernel in kernels)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_pretrained_weights_reach_the_backbone(name, tmp_path):
    source = BACKBONES[name].build(include_top=False, weights=None, input_shape=(96, 96, 3))
    file = tmp_path / "backbone.weights.h5"
    source.save_weights(file)
    backbone = build_backbone(name, NNArch(image_size=97), weights=str(file))
    for theirs, ours in zip(source.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "other.weights.h5"
    keras.applications.MobileNetV2(alpha=0.5, include_top=False, weights=None, input_shape=(96, 96, 3)).save_weights(
        file
    )
    with pytest.raises(ValueError, match="does not fit"):
        build_backbone("MobileNetV2", SMALL, weights=str(file))


def test_a_weights_file_that_is_none(tmp_path):
    file = tmp_path / "text.weights.h5"
    file.write_text("no weights")
    with pytest.raises(ValueError, match="does not fit"):
        build_backbone("MobileNetV2", SMALL, weights=str(file))
    with pytest.raises(FileNotFoundError, match="there is no weights file"):
        build_backbone("MobileNetV2", SMALL, weights=str(tmp_path / "gone.weights.h5"))
