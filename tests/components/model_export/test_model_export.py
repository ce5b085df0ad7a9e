"""ModelExport with a small network. The labels are what its SavedModel says, so that it is right everywhere."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts.exports import EXPORTS_FILE, METRICS_FILE, ExportedModel, read_exports
from components.artifacts.types import ExportedModels
from components.model_export import litert, onnx
from components.model_export.component import ModelExport
from components.model_export.gate import Canvases, Gate, export_as
from components.segmentation_example_gen.executor import to_example
from components.segmentation_example_gen.images import ImageFile
from components.segmentation_example_gen.pairs import Pair, Sample
from schema import features
from schema.labels import IGNORE_LABEL, VOC2012
from trainer.data.augmentation import normalised
from trainer.data.preprocessing import image_canvas, label_canvas
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.layers import Content, GridPooling, GridUpsampling
from trainer.model.weights import HEAD, WeightsError
from trainer.serving import signatures
from trainer.serving.conversion import Canvas, CanvasSegmenter, read_segmenter
from trainer.serving.description import DESCRIPTION_FILE, ModelDescription
from trainer.settings import BackboneName, Hps, NNArch

SIZE = 65
CLASSES = len(VOC2012.classes)
SEEN = [0, 7, 15]
"""Classes that the network sees."""
COLORS = np.array([[90, 120, 90], [200, 60, 50], [50, 70, 190]])
"""Of these classes."""
UNSEEN = -2.0
"""The other classes' logits: below those of the classes seen, which are 0 to 1, but in the same range for int8."""
BASE_MODEL: BackboneName = "MobileNetV2"
NN_ARCH = NNArch(image_size=SIZE, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=16)
DESCRIPTION = ModelDescription(base_model=BASE_MODEL, nn_arch=NN_ARCH, deeplab="0.1", settings_sha256="0")
FLOATS = ("litert_float32", "litert_dynamic", "litert_float16")
DOCUMENT = Path(__file__).parents[3] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Coloured rectangles, uint8[h, w, 3], and what they are, uint8[h, w]; none is larger than the canvas."""
    random = np.random.default_rng(0)
    made = []
    for number in range(12):
        mask = np.zeros((SIZE - 8 * (number % 3), SIZE), np.uint8)
        for index in (1, 2):
            top, left = random.integers(0, 30, 2)
            height, width = random.integers(20, 40, 2)
            mask[top : top + height, left : left + width] = index
        noise = random.normal(0, 8, (*mask.shape, 3))
        made.append((np.clip(COLORS[mask] + noise, 0, 255).astype(np.uint8), mask))
    return made


@pytest.fixture(scope="module")
def model(scenes, transformed, tmp_path_factory):
    """The Trainer's artifact. The network's last layer alone is trained, by least squares."""
    keras.utils.set_random_seed(0)
    network = deeplabv3plus(BASE_MODEL, NN_ARCH, Hps(bn_momentum=0.1))
    # What untrained deep layers say is noise, which drowns the colours, and any rounding too.
    gamma = network.get_layer("aspp_projection_bn").gamma
    gamma.assign(0.02 * gamma)
    canvases, sizes = map(tf.stack, zip(*(image_canvas(picture, SIZE) for picture, _ in scenes), strict=True))
    normalisation = BACKBONES[BASE_MODEL].normalisation
    images = normalised(canvases, sizes, normalisation)
    for _ in range(3):
        network(images, training=True)
    head = network.get_layer(HEAD)
    seen = keras.Model(network.inputs, head.input)(images).numpy()
    labels = np.stack([label_canvas(mask, SIZE) for _, mask in scenes])[:, ::4, ::4]
    rows = np.concatenate([seen, np.ones((*seen.shape[:3], 1))], axis=-1)[labels != IGNORE_LABEL]
    wanted = np.eye(len(SEEN))[labels[labels != IGNORE_LABEL]]
    weighted = rows * (wanted / wanted.mean(0)).sum(1, keepdims=True)
    fitted = np.linalg.solve(weighted.T @ rows + np.eye(rows.shape[1]), weighted.T @ wanted)
    kernel, bias = np.zeros(head.kernel.shape), np.full(CLASSES, UNSEEN)
    kernel[0, 0][:, SEEN], bias[SEEN] = fitted[:-1], fitted[-1]
    head.set_weights([kernel, bias])
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path_factory.mktemp("model"))
    folder = f"{artifact.uri}/Format-Serving"
    signatures.save(network, transformed.graph, normalisation, VOC2012, folder, DESCRIPTION)
    return artifact


@pytest.fixture(scope="module")
def pictures(scenes) -> list[bytes]:
    """The scenes as PNGs."""
    made = []
    for pixels, _ in scenes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        made.append(file.getvalue())
    return made


@pytest.fixture(scope="module")
def masks(model, pictures) -> list[np.ndarray]:
    """What the SavedModel says of them."""
    served = tf.saved_model.load(f"{model.uri}/Format-Serving").signatures[features.SERVING_SIGNATURE]
    encoded = served(tf.constant(pictures))[features.MASK].numpy()
    return [np.asarray(Image.open(io.BytesIO(each))) for each in encoded]


@pytest.fixture(scope="module")
def examples(pictures, masks, tmp_path_factory):
    """ExampleGen's artifact."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    for split in ("train", "eval"):
        Path(artifact.uri, f"Split-{split}").mkdir()
        with tf.io.TFRecordWriter(f"{artifact.uri}/Split-{split}/data-00000-of-00001") as writer:
            for number, (encoded, mask) in enumerate(zip(pictures, masks, strict=True)):
                height, width = mask.shape
                sample = Sample(ImageFile(encoded, "png", width, height, 3), mask)
                writer.write(to_example(Pair(str(number), f"{number}.png", None), sample, VOC2012).SerializeToString())
    return artifact


def run(model, examples, folder: Path, formats, max_loss: float, **parameters: int) -> dict[str, ExportedModel]:
    """Runs the executor."""
    exports = ExportedModels()
    exports.uri = str(folder)
    ModelExport.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "examples": [examples]},
        {"exports": [exports]},
        {
            "formats": json.dumps(formats),
            "max_mean_iou_loss": max_loss,
            "calibration_pictures": 6,
            **parameters,
        },
    )
    return {export.format: export for export in read_exports(exports.uri)}


MAX_LOSS = 0.06
"""Of this network int8 loses more, and the others less."""


@pytest.fixture(scope="module")
def exported(model, examples, tmp_path_factory):
    """The folder of the artifact, and what became of the formats."""
    folder = tmp_path_factory.mktemp("exports")
    return folder, run(model, examples, folder, [*FLOATS, "litert_int8"], MAX_LOSS)


def _canvas(encoded: bytes, segmenter) -> np.ndarray:
    return segmenter.canvas(encoded).pixels[np.newaxis]


@pytest.fixture(scope="module")
def segmenter(model):
    return read_segmenter(f"{model.uri}/Format-Serving")


@pytest.mark.parametrize("name", FLOATS)
def test_in_floats_it_says_what_the_model_says(exported, segmenter, pictures, masks, name):
    folder, _ = exported
    predict = litert.load((folder / name / litert.FILE).read_bytes())
    same = [
        predict(_canvas(encoded, segmenter))[0, : mask.shape[0], : mask.shape[1]] == mask
        for encoded, mask in zip(pictures, masks, strict=True)
    ]
    assert len(np.unique(np.concatenate([mask.ravel() for mask in masks]))) == len(SEEN)
    assert np.mean(np.concatenate([each.ravel() for each in same])) >= 0.99


def test_the_network_built_anew_is_the_served_one(exported):
    assert all(export.model_mean_iou == 1 for export in exported[1].values())


def test_the_numbers_lie_beside_the_file(exported, pictures):
    folder, exports = exported
    for name in FLOATS:
        told = json.loads((folder / name / METRICS_FILE).read_text())
        assert told["mean_iou"] == pytest.approx(1 - told["mean_iou_loss"])
        assert told["size_bytes"] == (folder / name / litert.FILE).stat().st_size
        assert told["pictures"] == len(pictures)
        assert told["ms_per_picture"] > 0
        assert (told["image_size"], told["padding_color"]) == (SIZE, [128, 128, 128])
    assert exports["litert_dynamic"].size_bytes < exports["litert_float32"].size_bytes / 2


def test_what_loses_too_much_is_left_out_and_the_others_stay(exported):
    folder, exports = exported
    left_out = exports["litert_int8"]
    assert left_out.mean_iou_loss > MAX_LOSS
    assert re.fullmatch(
        r"its mean IoU on 12 pictures is 0\.\d{4}, the model's 1\.0000, and it may lose 0\.06 "
        r"\(export\.max_mean_iou_loss\)",
        left_out.sentence,
    )
    assert {file.name for file in folder.iterdir()} == {EXPORTS_FILE, *FLOATS}


def test_integers_throughout(model, examples, tmp_path, pictures, segmenter):
    """Bytes go in as they are, and nothing is a float in between."""
    exports = run(model, examples, tmp_path, ["litert_int8"], 1.0, eval_pictures=5)
    export = exports["litert_int8"]
    assert export.pictures == 5
    assert export.mean_iou > 0.7
    interpreter = tf.lite.Interpreter(str(tmp_path / "litert_int8" / litert.FILE))
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    assert (image["dtype"], image["quantization"]) == (np.uint8, (1.0, 0))
    assert not [tensor["name"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    mask = litert.load((tmp_path / "litert_int8" / litert.FILE).read_bytes())(_canvas(pictures[0], segmenter))
    assert (mask.shape, mask.dtype) == ((1, SIZE, SIZE), np.int32)


def test_in_integers_a_bin_of_padding_alone_has_the_mean_of_that():
    images = keras.Input((17, 17, 3))
    features = keras.layers.Conv2D(3, 1, strides=4, name="features")(images)
    content = Content([1 / 255] * 3, 4)(images)
    pooled = GridUpsampling((17, 17))(GridPooling((2, 1))(features, *content))
    network = keras.Model(images, keras.layers.Conv2D(3, 1, name="head")(pooled))
    identity = np.eye(3)[np.newaxis, np.newaxis]
    network.get_layer("features").set_weights([identity, np.array([0, 0, 0.9])])
    network.get_layer("head").set_weights([identity, np.zeros(3)])
    segmenter = CanvasSegmenter(network, BACKBONES["MobileNetV2"].normalisation)
    colors = [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)]
    whole = [Canvas(np.full((17, 17, 3), color, np.uint8), (17, 17)) for color in colors]
    contents = litert.convert("litert_int8", segmenter, whole)
    canvas = np.full((17, 17, 3), segmenter.padding_color, np.uint8)
    canvas[:6] = 255, 0, 0
    expected = segmenter.as_served(Canvas(canvas, (6, 17)))
    # The upper bin is red, of the lower one only the bias speaks.
    assert (expected[0] == 0).all() and (expected[-1] == 2).all()
    # LiteRT has several kernels for each operation.
    resolvers = tf.lite.experimental.OpResolverType
    for resolver in (resolvers.AUTO, resolvers.BUILTIN_REF, resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        interpreter = tf.lite.Interpreter(model_content=contents, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], canvas[np.newaxis])
        interpreter.invoke()
        mask = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        np.testing.assert_array_equal(mask[[0, -1]], expected[[0, -1]], err_msg=resolver.name)


@pytest.fixture(scope="module")
def gate(examples, segmenter):
    return Gate(segmenter, Canvases(artifact_utils.get_split_uris([examples], "eval"), segmenter, 2), 0.01)


def test_a_stray_pixel_of_one_more_class_is_no_great_loss(gate, segmenter, pictures, masks):
    absent = next(index for index in range(len(VOC2012.classes)) if all((mask != index).all() for mask in masks[:2]))
    answers = iter(pictures[:2])

    def nearly_right(_: np.ndarray) -> np.ndarray:
        mask = segmenter.as_served(segmenter.canvas(next(answers)))[np.newaxis].copy()
        mask[0, 0, 0] = absent
        return mask

    value, _ = gate.measure(nearly_right)
    assert 0.99 < value < 1


def test_without_its_packages_onnx_is_left_out(gate, segmenter, monkeypatch):
    monkeypatch.setattr(onnx, "PACKAGES", ("no_such_package",))
    contents, export = export_as("onnx", segmenter, [], gate)
    assert contents is None
    assert export.reason.startswith("the format onnx needs no_such_package, which this environment lacks")


def test_what_cannot_be_converted_is_left_out(gate, segmenter):
    contents, export = export_as("litert_int8", segmenter, [], gate)
    assert contents is None
    assert export.reason.startswith("it could not be made: there are no training pictures to calibrate on")


def test_onnx_says_what_the_model_says(gate, segmenter, pictures, masks):
    contents, export = export_as("onnx", segmenter, [], gate)
    assert (export.file, export.reason) == ("model.onnx", None)
    predict = onnx.load(contents)
    height, width = masks[1].shape
    assert np.mean(predict(_canvas(pictures[1], segmenter))[0, :height, :width] == masks[1]) >= 0.98


def test_a_split_without_labels(segmenter, transformed, tmp_path):
    example = tf.train.Example.FromString(transformed.records[0])
    del example.features.feature[features.LABEL_ENCODED]
    with tf.io.TFRecordWriter(str(tmp_path / "data")) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match="the split 'eval' has no labels to judge exports by"):
        Gate(segmenter, Canvases([str(tmp_path)], segmenter, None), 0.01)


def test_a_model_that_does_not_say_what_its_network_is(tmp_path):
    with pytest.raises(WeightsError, match=f"has no sound {DESCRIPTION_FILE}"):
        read_segmenter(str(tmp_path))


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Runs the code of docs/serving.md that has this word in it, in a folder with what it reads."""

    def execute(word: str, export: Path, picture: bytes) -> np.ndarray:
        (section,) = re.findall(r"^## Other formats\n(.*?)^## ", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
        (code,) = [block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if word in block]
        place = re.search(r'Path\("(.*?)"\)', code)[1]
        shutil.copytree(export, tmp_path / place)
        (tmp_path / "picture.jpg").write_bytes(picture)
        monkeypatch.chdir(tmp_path)
        exec(compile(code, str(DOCUMENT), "exec"), {})
        return np.asarray(Image.open(tmp_path / "mask.png"))

    return execute


def test_the_documented_use_of_litert(exported, documented, pictures, masks):
    mask = documented("tf.lite.Interpreter", exported[0] / "litert_float16", pictures[2])
    assert mask.shape == masks[2].shape
    assert np.mean(mask == masks[2]) >= 0.98


def test_the_documented_use_of_onnx(gate, segmenter, documented, pictures, masks, tmp_path):
    contents, export = export_as("onnx", segmenter, [], gate)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / onnx.FILE).write_bytes(contents)
    (tmp_path / "made" / METRICS_FILE).write_text(export.model_dump_json())
    mask = documented("onnxruntime", tmp_path / "made", pictures[2])
    assert np.mean(mask == masks[2]) >= 0.98
