"""`deeplab evaluate` on the generated devkit, with a small untrained network in a SavedModel of the Trainer's form."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from components.segmentation_example_gen.pairs import read_pair
from components.segmentation_example_gen.sources.voc import VocData
from pipeline.commands import main
from pipeline.config.config import Config
from pipeline.inference.evaluate import AsServed, Rebuilt, check_classes, evaluate
from pipeline.inference.saved_model import ModelError, open_model
from schema import features
from schema.labels import IGNORE_LABEL, LABELS_FILE, VOC2012, Labels
from trainer.common.drawing import GAP
from trainer.common.metrics import mean_iou
from trainer.data.augmentation import normalised
from trainer.data.preprocessing import decode_image, image_canvas
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import HEAD
from trainer.serving import signatures
from trainer.serving.description import DESCRIPTION_FILE, description_of
from trainer.settings import Hps

CLASSES = len(VOC2012.classes)
SETTINGS = Config.model_validate(
    {
        "name": "small",
        "base_model": "MobileNetV2",
        "nn_arch": {"image_size": 65, "mv2_depth_multiplier": 0.35, "reduction_size": 8, "concat_channels": 8},
        "train": {"init_from": "none"},
    }
).trainer_settings()


@pytest.fixture(scope="module")
def folder(transformed, tmp_path_factory) -> Path:
    """The SavedModel. Its network is untrained, but normalises features and sees many classes."""
    keras.utils.set_random_seed(0)
    network = deeplabv3plus(SETTINGS.base_model, SETTINGS.exported_arch, Hps(bn_momentum=0.1))
    head = network.get_layer(HEAD)
    kernel = np.random.default_rng(0).normal(size=head.kernel.shape)
    head.set_weights([kernel, np.zeros(CLASSES)])
    examples = [tf.train.Example.FromString(record).features.feature for record in transformed.records]
    pixels = [decode_image(example[features.IMAGE_ENCODED].bytes_list.value[0]) for example in examples]
    fitted = [image_canvas(each, SETTINGS.nn_arch.image_size) for each in pixels]
    canvases, sizes = map(tf.stack, zip(*fitted, strict=True))
    normalisation = BACKBONES[SETTINGS.base_model].normalisation
    images = normalised(canvases, sizes, normalisation)
    for _ in range(3):
        network(images, training=True)
    head.set_weights([kernel, -network(images).numpy().mean((0, 1, 2))])
    directory = tmp_path_factory.mktemp("serving_model") / "1"
    signatures.save(network, transformed.graph, normalisation, VOC2012, str(directory), description_of(SETTINGS))
    return directory


@pytest.fixture(scope="module")
def model(folder):
    return open_model(str(folder), features.CONFUSION_SIGNATURE)


@pytest.fixture(scope="module")
def pairs(devkit_root):
    return VocData().list_split(str(devkit_root), "eval").pairs


def run(judge, pairs, **options):
    *_, judgement = evaluate(judge, pairs, VOC2012, **options)
    return judgement


def test_the_numbers_are_those_of_a_plain_count_of_the_served_masks(model, pairs):
    judgement = run(AsServed(model), pairs)
    expected = np.zeros((CLASSES, CLASSES), int)
    for pair in pairs:
        sample = read_pair(pair, VOC2012)
        (prediction,) = model.serve([sample.picture.encoded])
        valid = sample.mask != IGNORE_LABEL
        np.add.at(expected, (sample.mask[valid], prediction.mask[valid]), 1)
    np.testing.assert_array_equal(judgement.counts.confusion_matrix, expected)
    told = judgement.as_dict()
    assert told["images"] == len(pairs)
    assert told["mean_iou"] == mean_iou(expected)
    assert set(told["iou"]) == set(VOC2012.names)


def test_the_network_built_anew_sees_what_the_served_one_sees(model, pairs):
    rebuilt = Rebuilt(model, multi_scale=False, flip=False, output_stride=None)
    served, anew = (run(judge, pairs).counts for judge in (AsServed(model), rebuilt))
    assert abs(served.confusion_matrix - anew.confusion_matrix).sum() <= 2e-3 * served.confusion_matrix.sum()


@pytest.mark.parametrize("multi_scale", [False, True])
def test_with_flipping_a_mirrored_picture_is_segmented_likewise(model, pairs, multi_scale):
    rebuilt = Rebuilt(model, multi_scale=multi_scale, flip=True, output_stride=None)
    image = tf.io.decode_image(read_pair(pairs[0], VOC2012).picture.encoded, channels=3)
    size = tf.shape(image)[:2]
    mask = rebuilt._network.class_indices(image, size).numpy()
    mirrored = rebuilt._network.class_indices(image[:, ::-1], size).numpy()
    assert len(np.unique(mask)) > 1
    assert (mask == mirrored[:, ::-1]).mean() > 0.995


def test_more_scales_and_another_stride_give_other_masks_of_the_same_size(model, pairs):
    sample = read_pair(pairs[0], VOC2012)
    masks = [
        Rebuilt(model, multi_scale=multi_scale, flip=False, output_stride=stride).mask(sample)
        for multi_scale, stride in ((False, None), (True, None), (False, 8))
    ]
    assert {mask.shape for mask in masks} == {sample.mask.shape}
    assert (masks[0] != masks[1]).any()
    assert (masks[0] != masks[2]).any()


def test_a_pair_that_cannot_be_read_is_named_and_the_others_are_judged(model, devkit_copy):
    pairs = VocData().list_split(str(devkit_copy), "eval").pairs
    Path(pairs[0].image).write_bytes(b"no picture")
    judgement = run(AsServed(model), pairs)
    assert judgement.counts.pictures == len(pairs) - 1
    assert [problem.where for problem in judgement.problems] == [pairs[0].image]


class Refusing(AsServed):
    """Cannot take one of the pairs, as a model whose memory is too small for it."""

    def __init__(self, model, refused: str):
        super().__init__(model)
        self._refused = refused

    def __call__(self, pair, sample, labels):
        if pair.id == self._refused:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor [[{{node logits}}]]")
        return super().__call__(pair, sample, labels)

    def mask(self, sample):
        # TensorFlow's own error, of what is cut off.
        return tf.io.decode_image(sample.picture.encoded[:20]).numpy()


def test_a_pair_that_the_model_cannot_take_is_named_and_the_others_are_judged(model, pairs, tmp_path):
    judgement = run(Refusing(model, pairs[0].id), pairs)
    assert judgement.counts.pictures == len(pairs) - 1
    (problem,) = judgement.problems
    assert (problem.where, problem.pair) == (pairs[0].image, pairs[0].id)
    assert problem.what == "the model cannot take it: OOM when allocating tensor"
    drawn = run(Refusing(model, pairs[0].id), pairs[:2], pictures=tmp_path)
    assert drawn.counts.pictures == 0
    assert [problem.where for problem in drawn.problems] == [pair.image for pair in pairs[:2]]


def test_pictures_are_drawn_side_by_side(model, pairs, tmp_path):
    judgement = run(AsServed(model), pairs[:1], pictures=tmp_path / "drawn")
    assert judgement.as_dict() == run(AsServed(model), pairs[:1]).as_dict()
    drawn = Image.open(tmp_path / "drawn" / f"{pairs[0].id}.png")
    width, height = Image.open(io.BytesIO(read_pair(pairs[0], VOC2012).picture.encoded)).size
    assert drawn.size == (4 * width + 3 * GAP, height)


def test_a_model_that_does_not_say_what_it_is_cannot_be_built_anew(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / DESCRIPTION_FILE).unlink()
    with pytest.raises(ModelError, match="which says what its network is"):
        Rebuilt(open_model(str(copy)), multi_scale=True, flip=False, output_stride=None)


def test_other_classes_are_refused(model):
    others = Labels.model_validate({"classes": ["background", "cat"]})
    with pytest.raises(ModelError, match=r"is for 21 classes .* the data are of 2 classes \(background, cat\)"):
        check_classes(model, others)


def test_a_model_that_counts_less_is_refused(model, tmp_path):
    class Earlier(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def confusion(self, examples):
            return {features.CONFUSION_MATRIX: tf.zeros([tf.size(examples), CLASSES, CLASSES], tf.int64)}

    module = Earlier()
    tf.saved_model.save(module, str(tmp_path), {features.CONFUSION_SIGNATURE: module.confusion})
    (tmp_path / LABELS_FILE).parent.mkdir(exist_ok=True)
    (tmp_path / LABELS_FILE).write_text(VOC2012.model_dump_json())
    with pytest.raises(ModelError, match=r"boundary_counts.*a model of an earlier version is to be trained anew"):
        AsServed(open_model(str(tmp_path), features.CONFUSION_SIGNATURE))


def deeplab(*arguments: object):
    return CliRunner().invoke(main.app, ["evaluate", *map(str, arguments)])


def test_the_command_prints_json(folder, devkit_root, pairs):
    result = deeplab(folder.parent, "--data", devkit_root, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["images"] == len(pairs)
    assert {"mean_iou", "iou", "pixel_accuracy", "boundary_iou"} <= set(told)


def test_a_list_of_one_s_own(folder, devkit_root):
    result = deeplab(folder, "--data", devkit_root, "--split", "train")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("12 pictures\n")


def test_entries_without_a_pair_are_named_beside_the_numbers_of_the_others(folder, devkit_copy):
    pairs = VocData().list_split(str(devkit_copy), "eval").pairs
    (devkit_copy / "SegmentationClass" / f"{pairs[0].id}.png").unlink()
    ids = [pair.id for pair in pairs] + ["nobody"]
    (devkit_copy / "ImageSets/Segmentation/mine.txt").write_text("\n".join(ids))
    result = deeplab(folder, "--data", devkit_copy, "--split", "mine", "--json")
    assert json.loads(result.stdout)["images"] == len(pairs) - 1
    assert result.exit_code != 0
    assert str(result.exception) == f"{len(pairs) - 1} of {len(pairs) + 1} pictures were judged"
    assert {problem.pair for problem in result.exception.problems} == {pairs[0].id, "nobody"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no data folder: give --data DIR"),
        (("--data", "DATA", "--split", "nothing"), "the data cannot be read"),
        (("--config", "CONFIG", "--data", "DATA", "--split", "test"), "with --config it must be train or eval"),
    ],
)
def test_what_is_missing_is_told(folder, devkit_root, tmp_path, arguments, told):
    config = tmp_path / "config.yaml"
    config.write_text("name: x\nbase_model: MobileNetV2\ntrain: {init_from: none}\n")
    places = {"DATA": devkit_root, "CONFIG": config}
    result = deeplab(folder, *(places.get(argument, argument) for argument in arguments))
    assert result.exit_code != 0
    assert told in str(result.exception)


def test_a_model_without_labels_is_told(folder, devkit_root, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / LABELS_FILE).unlink()
    result = deeplab(copy, "--data", devkit_root)
    assert "has no sound assets.extra/labels.json" in str(result.exception)
