"""What the network costs: against counts by hand, and against published figures."""

from functools import cache

import keras
import pytest
from keras import layers

from trainer.model.atrous import to_output_stride
from trainer.model.backbones import original_backbone
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.summary import Part, multiply_accumulates, summarize
from trainer.settings import NNArch

SMALL = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24)


def model_of(*operations, shape=(9, 9, 4)) -> keras.Model:
    features = images = keras.Input(shape)
    for operation in operations:
        features = operation(features)
    return keras.Model(images, features)


@cache
def small_network(**changes) -> keras.Model:
    return deeplabv3plus("MobileNetV2", NNArch(**{**SMALL.model_dump(), **changes}))


def parts_of(**changes) -> dict[str, Part]:
    return {part.name: part for part in summarize(small_network(**changes), "MobileNetV2")}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # Pixels of the output, of the kernel, channels read, channels made.
        (layers.Conv2D(8, 3, strides=2, padding="same"), 5 * 5 * 3 * 3 * 4 * 8),
        (layers.Conv2D(8, 3, dilation_rate=2), 5 * 5 * 3 * 3 * 4 * 8),
        (layers.Conv2D(8, (1, 3), padding="same", groups=2), 9 * 9 * 1 * 3 * 2 * 8),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 9 * 9 * 3 * 3 * 4 * 2),
        (layers.SeparableConv2D(8, 3, padding="same"), 9 * 9 * (3 * 3 * 4 + 4 * 8)),
        (layers.Dense(10), 9 * 9 * 4 * 10),
        (layers.BatchNormalization(), 0),
        (layers.ReLU(), 0),
        (layers.MaxPooling2D(3), 0),
        (layers.UpSampling2D(2, interpolation="bilinear"), 0),
    ],
)
def test_one_layer_counted_by_hand(layer, expected):
    assert multiply_accumulates(model_of(layer)) == expected


def test_a_nested_model_counts_as_its_layers_do_and_a_shared_layer_as_often_as_it_is_called():
    shared = layers.Conv2D(4, 3, padding="same")
    inner = model_of(shared, shared, layers.GlobalAveragePooling2D(), layers.Dense(2))
    assert multiply_accumulates(inner) == 2 * 9 * 9 * 3 * 3 * 4 * 4 + 4 * 2
    assert multiply_accumulates(model_of(inner, layers.Dense(3))) == multiply_accumulates(inner) + 2 * 3


def test_an_image_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match="layer 'some_conv' has an output of unknown size"):
        multiply_accumulates(model_of(layers.Conv2D(8, 3, name="some_conv"), shape=(None, None, 3)))


DPC = {"encoder_middle_conf": "dpc", "output_stride": 8}


@pytest.mark.parametrize("changes", [{}, DPC, {"boundary_refinement": False}])
def test_the_parts_add_up_to_the_network(changes):
    network, parts = small_network(**changes), parts_of(**changes).values()
    assert sum(part.parameters for part in parts) == network.count_params()
    assert sum(part.multiply_accumulates for part in parts) == multiply_accumulates(network)


def test_the_boxes_of_the_figure():
    parts = parts_of()
    branches = [f"branch {index}" for index in range(5)]
    assert list(parts) == [
        *("image", "backbone", "low-level", "high-level", *branches, "projection"),
        *("reduction", "concat", "conv 1", "conv 2", "logits", "prediction"),
    ]
    assert parts["image"].shape == (65, 65, 3)
    assert parts["low-level"].operations == ("block_2_add", "stride 4")
    assert parts["high-level"].operations == ("out_relu", "stride 16")
    assert parts["branch 2"].operations == ("separable 3x3, rate 12",)
    assert parts["branch 4"].operations == ("image pooling", "conv 1x1")
    assert {parts[name].inputs for name in branches} == {("high-level",)}
    assert parts["projection"].inputs == tuple(branches)
    assert parts["reduction"].inputs == ("low-level",)
    assert parts["concat"].inputs == ("projection", "reduction")
    assert parts["concat"].operations == ("4x upsampling", "concatenation")
    assert parts["concat"].shape == (17, 17, 24 + 48)
    assert parts["logits"].multiply_accumulates == 17 * 17 * 24 * 21
    assert parts["logits"].parameters == 24 * 21 + 21
    assert parts["prediction"].shape == (65, 65, 21)


def test_what_a_branch_reads_and_its_rate_are_those_of_the_graph():
    parts = parts_of(**DPC)
    assert [parts[f"branch {index}"].inputs[0] for index in range(5)] == [
        *("high-level", "branch 0", "branch 1", "branch 0", "branch 0")
    ]
    assert parts["branch 1"].operations == ("separable 3x3, rate 36x30",)
    assert parts["branch 3"].operations == ("separable 3x3, rate 2",)


def test_without_a_decoder_nothing_reads_the_low_level_features():
    parts = parts_of(boundary_refinement=False)
    assert list(parts)[-3:] == ["projection", "logits", "prediction"]
    assert "low-level" not in parts
    assert parts["logits"].inputs == ("projection",)


def test_an_image_between_the_strides_is_padded():
    image = parts_of(image_size=70)["image"]
    assert (image.shape, image.operations) == ((70, 70, 3), ("padded to 81 x 81",))


def close_to(published: float, unit: float):
    """Within 3 %, and what the rounding of a published figure to a `unit` allows."""
    return pytest.approx(published, abs=0.03 * published + unit / 2)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "parameters", "output_stride", "gmacs", "unit"),
    [
        ("MobileNetV2", 4.4, 16, 7.3, 0.1),
        ("MobileNetV2", 4.4, 8, 19.3, 0.1),
        ("Xception", 24.1, 16, 35, 1),
        ("Xception", 24.1, 8, 105, 1),
        ("ResNet50", 26.8, 16, 39, 1),
        ("ResNet50", 26.8, 8, 116, 1),
        slow("ResNet101", 45.9, 16, 59, 1),
        slow("ResNet101", 45.9, 8, 196, 1),
        slow("DenseNet121", 8.9, 16, 21, 1),
        slow("DenseNet121", 8.9, 8, 42, 1),
        slow("EfficientNetB0", 6.2, 16, 8.6, 0.1),
        slow("EfficientNetB0", 6.2, 8, 24, 1),
        slow("NASNetMobile", 6.2, 8, 26, 1),
    ],
)
def test_the_whole_network_costs_what_is_published(name, parameters, output_stride, gmacs, unit):
    """At 513 pixels, parameters in millions."""
    network = deeplabv3plus(name, NNArch(output_stride=output_stride))
    assert network.count_params() / 1e6 == close_to(parameters, 0.1)
    assert multiply_accumulates(network) / 1e9 == close_to(gmacs, unit)


@pytest.mark.slow
def test_nasnetmobile_costs_a_row_and_a_column_of_features_more_than_is_published():
    """Keras' own stem is VALID and leaves 32 x 32 features of 513 pixels; padded on every side, it leaves 33 x 33."""
    network = deeplabv3plus("NASNetMobile", NNArch(output_stride=16))
    gmacs = multiply_accumulates(network) / 1e9
    assert (32 / 33) ** 2 * gmacs < 9.3 < gmacs
    assert network.count_params() / 1e6 == close_to(6.2, 0.1)


@pytest.mark.parametrize(
    ("name", "gmacs", "unit"),
    [
        ("MobileNetV2", (1.6, 2.8, 9.4), 0.1),
        slow("Xception", (23.9, 28.1, 89.1), 0.1),
        slow("ResNet50", (20, 32, 99), 1),
        slow("ResNet101", (40, 51, 177), 1),
        slow("DenseNet121", (14.8, 16.4, 33.2), 0.1),
        slow("EfficientNetB0", (2.0, 4.0, 14.0), 0.1),
        slow("NASNetMobile", (2.9, 5.2, 17.4), 0.1),
    ],
)
def test_a_backbone_costs_what_is_published(name, gmacs, unit):
    """At 512 pixels, and output stride 32, 16 and 8."""
    for output_stride, published in zip((32, 16, 8), gmacs, strict=True):
        backbone = to_output_stride(original_backbone(name), output_stride, images=keras.Input((512, 512, 3)))
        assert multiply_accumulates(backbone) / 1e9 == close_to(published, unit)
