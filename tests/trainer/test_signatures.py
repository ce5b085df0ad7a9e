"""The SavedModel's signatures: sizes, agreement with one another, and with the plain way of computing the same."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer import features, signatures
from trainer.augmentation import normalised
from trainer.labels import IGNORE_LABEL, VOC2012
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import WeightsError, transfer
from trainer.preprocessing import image_canvas
from trainer.settings import NNArch

NUM_CLASSES = 21


@pytest.fixture(scope="module")
def network():
    """A network that is quickly made: one convolution, of stride 1, with weights that use all classes."""
    keras.utils.set_random_seed(0)
    images = keras.Input((65, 65, 3))
    logits = keras.layers.Conv2D(NUM_CLASSES, 3, padding="same", bias_initializer="random_normal")(images)
    return keras.Model(images, logits)


@pytest.fixture(scope="module")
def saved(network, transformed, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("model"))
    signatures.save(network, transformed.graph, MINUS_ONE_TO_ONE, VOC2012, directory)
    return tf.saved_model.load(directory)


@pytest.fixture(scope="module")
def examples(transformed):
    return [tf.train.Example.FromString(record).features.feature for record in transformed.records]


def masks_of(result):
    return [np.asarray(Image.open(io.BytesIO(png))) for png in result[features.MASK].numpy()]


def test_masks_have_each_picture_s_own_size(saved, examples):
    pictures = [example[features.IMAGE_ENCODED].bytes_list.value[0] for example in examples]
    result = saved.signatures[features.SERVING_SIGNATURE](tf.constant(pictures))
    sizes = set()
    for picture, mask, counts in zip(pictures, masks_of(result), result[features.CLASS_PIXELS].numpy(), strict=True):
        assert mask.shape == Image.open(io.BytesIO(picture)).size[::-1]
        np.testing.assert_array_equal(counts, np.bincount(mask.ravel(), minlength=NUM_CLASSES))
        sizes.add(mask.shape)
    assert len(sizes) > 3


def test_a_png_is_as_good_as_a_jpeg(saved, examples):
    pixels = np.asarray(Image.open(io.BytesIO(examples[0][features.IMAGE_ENCODED].bytes_list.value[0])))
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    (mask,) = masks_of(saved.signatures[features.SERVING_SIGNATURE](tf.constant([png.getvalue()])))
    assert mask.shape == pixels.shape[:2]


def test_all_signatures_give_the_same_mask(saved, examples, transformed):
    pictures = [example[features.IMAGE_ENCODED].bytes_list.value[0] for example in examples]
    served = masks_of(saved.signatures[features.SERVING_SIGNATURE](tf.constant(pictures)))
    from_examples = masks_of(saved.signatures[features.EXAMPLES_SIGNATURE](tf.constant(transformed.records)))
    confusions = saved.signatures[features.CONFUSION_SIGNATURE](tf.constant(transformed.records))
    for index, mask in enumerate(served):
        np.testing.assert_array_equal(from_examples[index], mask)

        pixels = tf.io.decode_jpeg(pictures[index], channels=3)
        segmented = saved.signatures[features.SEGMENT_SIGNATURE](pixels[tf.newaxis])[features.MASK].numpy()
        assert segmented.dtype == np.int32
        np.testing.assert_array_equal(segmented[0], mask)

        label = np.asarray(Image.open(io.BytesIO(examples[index][features.LABEL_ENCODED].bytes_list.value[0])))
        expected = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
        valid = label != IGNORE_LABEL
        np.add.at(expected, (label[valid], mask[valid]), 1)
        np.testing.assert_array_equal(confusions[features.CONFUSION_MATRIX][index].numpy(), expected)
        assert expected.sum() == valid.sum() < label.size


def test_a_picture_that_fits_is_segmented_as_the_network_says(saved, network):
    """No resizing on the way: the mask is the network's own argmax, cut to the picture."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    canvas, size = image_canvas(tf.constant(image), 65)
    expected = (
        network(normalised(canvas[tf.newaxis], size[tf.newaxis], MINUS_ONE_TO_ONE))[0].numpy().argmax(-1)[:40, :50]
    )
    segmented = saved.signatures[features.SEGMENT_SIGNATURE](tf.constant(image[None]))[features.MASK]
    np.testing.assert_array_equal(segmented[0], expected)


def test_an_empty_request(saved):
    result = saved.signatures[features.SERVING_SIGNATURE](tf.constant([], tf.string))
    assert result[features.MASK].shape == (0,)
    assert result[features.CLASS_PIXELS].shape == (0, NUM_CLASSES)


def test_training_sees_what_serving_sees(transformed, network):
    """The canvas that Transform's graph gives in training is the one inside the signature."""
    segmenter = signatures.Segmenter(network, transformed.graph, MINUS_ONE_TO_ONE)
    spec = transformed.graph.raw_feature_spec()
    parsed = tf.io.parse_example(transformed.records, spec)
    trained_on = transformed.graph.transform_raw_features(parsed)[features.IMAGE]
    served = tf.function(lambda encoded: segmenter._transform({features.IMAGE_ENCODED: encoded})[features.IMAGE])(
        parsed[features.IMAGE_ENCODED]
    )
    np.testing.assert_array_equal(trained_on, served)


def test_a_later_run_can_start_from_the_saved_model(transformed, tmp_path):
    arch = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=8)
    network = deeplabv3plus("MobileNetV2", arch)
    directory = str(tmp_path / "model")
    signatures.save(network, transformed.graph, MINUS_ONE_TO_ONE, VOC2012, directory)
    again = deeplabv3plus("MobileNetV2", arch)
    transfer(signatures.read_weights(directory), again, directory)
    for theirs, ours in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)

    size = (tmp_path / "model" / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert size < 4.2 * network.count_params() + 200_000, "the weights are in it once"


def test_folders_that_are_no_saved_model_of_ours(tmp_path):
    with pytest.raises(WeightsError, match="is no SavedModel: it has no variables"):
        signatures.read_weights(str(tmp_path))
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(WeightsError, match="is no SavedModel of DeepLabV3\\+ that this pipeline has pushed"):
        signatures.read_weights(str(tmp_path / "other"))
