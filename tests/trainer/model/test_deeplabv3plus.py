"""The whole network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import layers_with_weights
from trainer.settings import ENCODER_MIDDLES, Hps, NNArch

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


@pytest.mark.parametrize("name", ["MobileNetV2", "Xception"])
def test_at_a_size_between_the_strides_features_stay_on_their_pixels(name):
    """A canvas of 70 pixels is segmented as the upper left of one of 81, whose features lie on whole strides."""
    keras.utils.set_random_seed(0)
    small = deeplabv3plus(name, SMALL.model_copy(update={"image_size": 70}))
    large = deeplabv3plus(name, SMALL.model_copy(update={"image_size": 81}))
    large.set_weights(small.get_weights())
    images = np.random.default_rng(0).normal(size=(1, 70, 70, 3)).astype(np.float32)
    padded = np.pad(images, [(0, 0), (0, 11), (0, 11), (0, 0)])
    logits = small(images).numpy()
    assert logits.std() > 0
    np.testing.assert_allclose(logits, large(padded).numpy()[:, :70, :70], rtol=1e-4, atol=1e-6)


DESIGN = (
    {"op": "conv", "kernel": 1},
    {"op": "conv", "kernel": 3, "rate": (2, 3), "input": 0},
    {"op": "conv", "kernel": 5, "rate": (1, 1), "input": 1},
    {"op": "pyramid_pooling", "grid_size": (2, 3), "input": 0},
    {"op": "pyramid_pooling", "kernel": 2, "target_size_factor": (2, 2)},
)


@pytest.mark.parametrize("design", [*ENCODER_MIDDLES, DESIGN])
def test_every_design_can_be_trained(design):
    arch = NNArch(**{**SMALL.model_dump(), "encoder_middle_conf": design, "depth_multiplier": 2})
    network = deeplabv3plus("MobileNetV2", arch)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(np.random.default_rng(0).normal(size=(2, 65, 65, 3)), training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


def test_a_list_of_branches_keeps_its_rates_unless_asked():
    def rate(**changes):
        arch = NNArch(encoder_middle_conf=DESIGN, output_stride=8, **changes)
        return arch.effective_rate(arch.branches[1])

    assert rate() == (2, 3)
    assert rate(conv_rate_multiplier=2) == (4, 6)
    assert rate(scale_rates=True) == (4, 6)


def test_rates_follow_the_output_stride():
    def rates(output_stride):
        network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"output_stride": output_stride}))
        depthwise = [layer for layer in network.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
        return [layer.dilation_rate for layer in depthwise if layer.name.startswith("aspp")]

    assert rates(16) == [(6, 6), (12, 12), (18, 18)]
    assert rates(8) == [(12, 12), (24, 24), (36, 36)]


def test_without_boundary_refinement_there_is_no_decoder():
    network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"boundary_refinement": False}))
    assert network.output_shape == (None, 65, 65, 21)
    assert not [layer.name for layer in network.layers if layer.name.startswith("decoder")]


@pytest.mark.parametrize("design", ["aspp", "seed_xception", DESIGN])
def test_the_same_weights_at_another_output_stride(design):
    """Trained at 16 and evaluated at 8: at the coarse features' pixels all sees what it saw in training."""
    keras.utils.set_random_seed(0)
    coarse = NNArch(**{**SMALL.model_dump(), "encoder_middle_conf": design, "image_size": 129})
    fine = coarse.at_output_stride(8)
    assert [fine.effective_rate(branch) for branch in fine.branches if (branch.kernel or 1) > 1] == [
        tuple(2 * rate for rate in coarse.effective_rate(branch))
        for branch in coarse.branches
        if branch.op == "conv" and branch.kernel > 1
    ]
    networks = [deeplabv3plus("MobileNetV2", arch) for arch in (coarse, fine)]
    networks[1].set_weights(networks[0].get_weights())
    images = np.random.default_rng(0).normal(size=(1, 129, 129, 3)).astype(np.float32)
    features = [
        keras.Model(network.input, network.get_layer("aspp_concat").output)(images).numpy() for network in networks
    ]
    # Means over all features are those of other pixels, and nearly the same.
    width = SMALL.reduction_size
    pooled = [index for index, branch in enumerate(coarse.branches) if branch.op == "pyramid_pooling"]
    exact = [channel for channel in range(features[0].shape[-1]) if channel // width not in pooled]
    np.testing.assert_allclose(features[1][:, ::2, ::2][..., exact], features[0][..., exact], rtol=1e-3, atol=1e-6)


def test_windows_follow_the_output_stride():
    arch = NNArch(encoder_middle_conf=({"op": "pyramid_pooling", "kernel": 8},))
    assert arch.bins(arch.branches[0]) == (4, 4)
    fine = arch.at_output_stride(8)
    assert fine.bins(fine.branches[0]) == (4, 4)


def test_batch_normalisation_and_weight_decay_reach_the_backbone():
    network = deeplabv3plus("MobileNetV2", SMALL, Hps(weight_decay=4e-5, bn_momentum=0.7))
    layers = list(network._flatten_layers(include_self=False))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 60
    assert {layer.momentum for layer in norms} == {0.7}
    kernels = [layer.kernel for layer in layers if type(layer) is keras.layers.Conv2D]
    expected = sum(2e-5 * float(keras.ops.sum(keras.ops.square(kernel))) for kernel in kernels)
    assert float(sum(network.losses)) == pytest.approx(expected, rel=1e-5)


def batch_norms(**hps) -> list[keras.layers.BatchNormalization]:
    network = deeplabv3plus("MobileNetV2", SMALL, Hps(**hps))
    return [
        layer for layer in layers_with_weights(network).values() if isinstance(layer, keras.layers.BatchNormalization)
    ]


def is_of_the_head(layer: keras.Layer) -> bool:
    return layer.name.startswith(("aspp", "decoder"))


def test_batch_normalisation_without_a_factor():
    for layer in batch_norms(bn_scale=False):
        assert (layer.gamma is None) == is_of_the_head(layer)


def test_frozen_batch_normalisation():
    for layer in batch_norms(bn_freeze=True):
        assert bool(layer.trainable_weights) == is_of_the_head(layer)


def test_synchronised_batch_normalisation():
    assert all(layer.synchronized for layer in batch_norms(bn_synchronized=True))
    assert not any(layer.synchronized for layer in batch_norms())


def test_plain_convolutions_in_place_of_separable_ones():
    network = deeplabv3plus("MobileNetV2", SMALL.model_copy(update={"separable": False}))
    assert not [layer.name for layer in network.layers if "depthwise" in layer.name]
    assert network.get_layer("aspp_1_conv").kernel.shape == (3, 3, 1280, 16)
    assert network.get_layer("aspp_1_conv").dilation_rate == (6, 6)
    assert network.get_layer("decoder_conv2_conv").kernel.shape == (3, 3, 24, 24)


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_image_pooling_sees_the_picture_alone(policy, tolerance):
    images = np.random.default_rng(0).normal(size=(2, 65, 65, 3)).astype(np.float32)
    images[1, 40:] = images[1, :, 50:] = 0
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        network = deeplabv3plus("MobileNetV2", NNArch(image_size=65, mv2_depth_multiplier=0.35))
    finally:
        keras.config.set_dtype_policy(before)
    pooling = network.get_layer("aspp_4_pooling")
    features, pooled = (
        np.asarray(each, np.float32) for each in keras.Model(network.inputs, [pooling.input[0], pooling.output])(images)
    )
    # At output stride 16 the features lie on the pixels 0, 16, 32, 48 and 64.
    expected = np.stack([features[0].mean((0, 1)), features[1, :3, :4].mean((0, 1))])
    assert np.abs(features[1].mean((0, 1)) - expected[1]).max() > 5 * tolerance * expected.max()
    np.testing.assert_allclose(pooled[:, 0, 0], expected, rtol=0, atol=tolerance * expected.max())
