"""One picture, one answer: in training, in the Evaluator, in `deeplab predict` and from every signature."""

from __future__ import annotations

import io
from pathlib import Path

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that
from PIL import Image
from tensorflow_model_analysis import constants

from components.evaluator.counting import CountPixels, Models
from components.segmentation_example_gen.executor import to_example
from components.segmentation_example_gen.images import ImageFile
from components.segmentation_example_gen.pairs import Pair, Sample
from pipeline.datasets.synthetic_voc import draw_pair
from pipeline.inference.image_arguments import choose
from pipeline.inference.predict import predict
from pipeline.inference.saved_model import open_model
from schema import features
from schema.labels import IGNORE_LABEL, VOC2012
from trainer.data.augmentation import normalised
from trainer.data.input import evaluation_batches
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.folding import folded
from trainer.serving import signatures
from trainer.serving.argmax import largest_class
from trainer.serving.tensorflow_kernels import with_tensorflow_kernels
from trainer.settings import Hps, NNArch
from trainer.training.validation import Validation

SIZES = ((65, 65), (40, 31), (33, 64), (171, 122), (99, 150), (301, 67))
"""Width and height, pixels, where the canvas has 65: as large, smaller and larger, landscape and portrait, odd."""
CLASSES = len(VOC2012.classes)
NORMALISATION = BACKBONES["MobileNetV2"].normalisation


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Encoded JPEGs and their masks."""
    made = []
    for number, (width, height) in enumerate(SIZES):
        picture, label = (Image.open(io.BytesIO(each)) for each in draw_pair(np.random.default_rng(number), number))
        encoded = io.BytesIO()
        picture.resize((width, height)).save(encoded, "JPEG", quality=90)
        mask = np.asarray(label.resize((width, height), Image.Resampling.NEAREST))
        made.append(Sample(ImageFile(encoded.getvalue(), "jpeg", width, height, 3), mask))
    return made


@pytest.fixture(scope="module")
def records(samples, tmp_path_factory) -> Path:
    """ExampleGen's file of them."""
    file = tmp_path_factory.mktemp("examples") / "data"
    with tf.io.TFRecordWriter(str(file)) as writer:
        for number, sample in enumerate(samples):
            pair = Pair(str(number), f"{number}.jpg", None)
            writer.write(to_example(pair, sample, VOC2012).SerializeToString())
    return file


@pytest.fixture(scope="module")
def network(records, transformed) -> keras.Model:
    """DeepLabV3+ that tells classes apart, with statistics in its batch normalisations as training leaves them."""
    keras.utils.set_random_seed(0)
    arch = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=16)
    network = deeplabv3plus("MobileNetV2", arch, Hps(bn_momentum=0.1))
    for (canvases, sizes), _, _ in evaluation_batches([str(records)], transformed.graph, batch_size=len(SIZES)):
        for _ in range(3):
            network(normalised(canvases, sizes, NORMALISATION), training=True)
    return network


@pytest.fixture(scope="module")
def model(network, transformed, tmp_path_factory) -> str:
    """Folder of what the Trainer exports."""
    folder = str(tmp_path_factory.mktemp("model"))
    signatures.save(network, transformed.graph, NORMALISATION, VOC2012, folder)
    return folder


@pytest.fixture(scope="module")
def expected(network, records, transformed) -> list[np.ndarray]:
    """What the network says where the Trainer evaluates it, brought to each picture's own size: int32[H, W].

    The batches are of one picture, and the function is compiled, as the Trainer's is. Then logits are equal to the bit.
    Kernels for more pictures, and those of an eager call, sum in another order: here their logits differ by 2e-6 and
    6e-6, which is enough to tip a pixel whose two largest ones tie.
    """
    judged = folded(with_tensorflow_kernels(network))

    @tf.function
    def logits_of(canvases, sizes):
        return judged(normalised(canvases, sizes, NORMALISATION), training=False)

    batches = evaluation_batches([str(records)], transformed.graph, batch_size=1)
    masks = []
    for ((canvas, content), _, _), size in zip(batches, SIZES, strict=True):
        height, width = content[0].numpy()
        logits = logits_of(canvas, content)[0, :height, :width]
        masks.append(largest_class(logits, tf.constant(size[::-1])).numpy())
    return masks


@pytest.fixture(scope="module")
def signature(model):
    loaded = tf.saved_model.load(model)
    yield loaded.signatures.__getitem__


def same(masks, expected) -> None:
    assert len(masks) == len(expected)
    for number, (mask, wanted) in enumerate(zip(masks, expected, strict=True)):
        assert mask.shape == wanted.shape
        assert np.array_equal(mask, wanted), f"picture {number}: {(mask != wanted).sum()} of {mask.size} pixels differ"


def opened(encoded) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(each))) for each in encoded.numpy()]


def test_the_answers_are_worth_comparing(expected):
    assert [mask.shape[::-1] for mask in expected] == list(SIZES)
    assert all(len(np.unique(mask)) > 3 for mask in expected)


def test_the_evaluations_in_training(network, records, transformed, expected):
    """They are on the canvas, which is the own size of pictures that are no larger."""
    batches = evaluation_batches([str(records)], transformed.graph, batch_size=1)
    _, predictions = Validation(with_tensorflow_kernels(network), batches, NORMALISATION).pictures()
    fitting = [number for number, size in enumerate(SIZES) if max(size) <= 65]
    assert len(fitting) == 3
    same([predictions[number] for number in fitting], [expected[number] for number in fitting])


def test_the_signatures_of_pictures(signature, samples, expected):
    pictures = tf.constant([sample.picture.encoded for sample in samples])
    same(opened(signature(features.SERVING_SIGNATURE)(pictures)[features.MASK]), expected)
    same(opened(signature(features.REST_SIGNATURE)(pictures)[features.MASK_BYTES]), expected)


def test_the_signature_of_pixels(signature, samples, expected):
    pixels = (tf.io.decode_jpeg(sample.picture.encoded, channels=3) for sample in samples)
    segment = signature(features.SEGMENT_SIGNATURE)
    same([segment(each[tf.newaxis])[features.MASK][0].numpy() for each in pixels], expected)


def test_the_signature_of_examples(signature, records, expected):
    examples = tf.constant(list(tf.data.TFRecordDataset(str(records)).as_numpy_iterator()))
    same(opened(signature(features.EXAMPLES_SIGNATURE)(examples)[features.MASK]), expected)


def test_deeplab_predict(model, samples, expected, tmp_path):
    for number, sample in enumerate(samples):
        (tmp_path / f"{number}.jpg").write_bytes(sample.picture.encoded)
    chosen, _ = choose([str(tmp_path)])
    written = list(predict(open_model(model), chosen, str(tmp_path / "masks"), with_overlay=False))
    same([np.asarray(Image.open(each.mask)) for each in written], expected)


def test_the_evaluator_counts_it(model, records, samples, expected):
    matrices = []
    for sample, prediction in zip(samples, expected, strict=True):
        matrix = np.zeros((CLASSES, CLASSES), np.int64)
        counted = sample.mask != IGNORE_LABEL
        np.add.at(matrix, (sample.mask[counted], prediction[counted]), 1)
        matrices.append(matrix)

    def check(extracts) -> None:
        found = [each[constants.PREDICTIONS_KEY][features.CONFUSION_MATRIX] for each in extracts]
        assert sorted(each.tolist() for each in found) == sorted(each.tolist() for each in matrices)

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        examples = pipeline | beam.Create(list(tf.data.TFRecordDataset(str(records)).as_numpy_iterator()))
        assert_that(examples | CountPixels(Models(model, None, ("",)), VOC2012.names), check)
