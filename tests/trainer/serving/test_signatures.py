"""The SavedModel's signatures: sizes, agreement with one another, and with the plain way of computing the same."""

import io
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from schema import features
from schema.labels import IGNORE_LABEL, VOC2012
from trainer.data.augmentation import normalised
from trainer.data.preprocessing import image_canvas
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import WeightsError, transfer
from trainer.serving import signatures
from trainer.serving.argmax import largest_class
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
def directory(network, transformed, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model"))
    signatures.save(network, transformed.graph, MINUS_ONE_TO_ONE, VOC2012, folder)
    return folder


@pytest.fixture(scope="module")
def saved(directory):
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
    over_rest = saved.signatures[features.REST_SIGNATURE](tf.constant(pictures))[features.MASK_BYTES]
    from_examples = masks_of(saved.signatures[features.EXAMPLES_SIGNATURE](tf.constant(transformed.records)))
    confusions = saved.signatures[features.CONFUSION_SIGNATURE](tf.constant(transformed.records))
    for index, mask in enumerate(served):
        np.testing.assert_array_equal(from_examples[index], mask)
        np.testing.assert_array_equal(Image.open(io.BytesIO(over_rest[index].numpy())), mask)

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


@pytest.mark.parametrize("size", [(200, 130), (31, 260), (1000, 7), (40, 50), (1, 1), (20, 25)])
@pytest.mark.parametrize("band", [1, 5_000, 50_000])
def test_a_large_picture_s_mask_is_made_in_bands_and_the_same(size, band):
    logits = tf.random.stateless_normal([40, 50, NUM_CLASSES], [1, 2])
    expected = tf.argmax(tf.image.resize(logits, size, method="bilinear"), axis=-1)
    bands = tf.function(largest_class)(logits, tf.constant(size), most=0, band=band)
    assert bands.dtype == tf.int32
    np.testing.assert_array_equal(bands, expected)


def test_over_rest_all_bytes_become_base64(saved):
    """By TensorFlow Serving's rule: those whose output's name ends in `_bytes`."""
    outputs = saved.signatures[features.REST_SIGNATURE].structured_outputs
    assert {name for name, spec in outputs.items() if spec.dtype == tf.string} == {"mask_bytes"}


def test_the_warm_up_requests_are_answered(saved, directory):
    warmed_up = set()
    for record in tf.data.TFRecordDataset(f"{directory}/assets.extra/tf_serving_warmup_requests").as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name
        assert saved.signatures[signature](**inputs)[features.CLASS_PIXELS].numpy().sum() == 48 * 64
        warmed_up.add(signature)
    assert warmed_up == {"serving_default", "rest"}


def test_masks_lie_on_the_picture_as_it_is_stored(saved):
    """TensorFlow's decoder does not read EXIF, which would turn this one; the documentation says so."""
    turned = Image.Exif()
    turned[0x0112] = 6
    answer = saved.signatures[features.SERVING_SIGNATURE](tf.constant([encoded("JPEG", (40, 30), exif=turned)]))
    assert Image.open(io.BytesIO(answer[features.MASK].numpy()[0])).size == (40, 30)


def test_an_empty_request(saved):
    result = saved.signatures[features.SERVING_SIGNATURE](tf.constant([], tf.string))
    assert result[features.MASK].shape == (0,)
    assert result[features.CLASS_PIXELS].shape == (0, NUM_CLASSES)


def encoded(kind: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def with_size(picture: bytes, width: int, height: int) -> bytes:
    """A JPEG or PNG whose header claims another size."""
    if picture.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + picture[24:29]
        return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]
    place = picture.index(b"\xff\xc0") + 5
    return picture[:place] + struct.pack(">HH", height, width) + picture[place + 4 :]


JPEG, PNG = encoded("JPEG"), encoded("PNG")
UNUSABLE = {
    "zero bytes": (b"", "0 bytes that are neither JPEG nor PNG"),
    "text": (b"this is no picture", "18 bytes that are neither JPEG nor PNG"),
    "another format": (encoded("BMP"), "bytes that are neither JPEG nor PNG"),
    "a JPEG's first bytes": (JPEG[:3], "cut off after 3 bytes"),
    "a JPEG without its scan": (JPEG[: JPEG.index(b"\xff\xda")], "cut off after"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "cut off after"),
    "a JPEG without its end": (JPEG[:-2], "cut off after"),
    "half a progressive JPEG": (encoded("JPEG", progressive=True)[:-500], "cut off after"),
    "a PNG's first bytes": (PNG[:8], "cut off after 8 bytes"),
    "half a PNG": (PNG[: len(PNG) // 2], "cut off after"),
    "a PNG without its end": (PNG[:-1], "cut off after"),
    "a JPEG of 20,000 x 20,000": (with_size(JPEG, 20_000, 20_000), "20000 x 20000 pixels, and at most 100,000,000"),
    "a PNG of 20,000 x 20,000": (with_size(PNG, 20_000, 20_000), "20000 x 20000 pixels, and at most 100,000,000"),
    "a PNG larger than any": (with_size(PNG, 2**31 - 1, 2**31 - 1), "2147483647 x 2147483647 pixels"),
    "a PNG of a size that PNG forbids": (with_size(PNG, 2**32 - 1, 2**32 - 1), "-1 x -1 pixels"),
    "a PNG of one long row": (
        with_size(PNG, 65_536, 1),
        "65536 x 1 pixels, and at most 100,000,000 are read, 65,535 on",
    ),
    "a PNG of no pixels": (with_size(PNG, 0, 30), "0 x 30 pixels"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_request_with_an_unusable_picture_is_told_which_and_why(saved, kind):
    picture, found = UNUSABLE[kind]
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        saved.signatures[features.SERVING_SIGNATURE](tf.constant([JPEG, picture, PNG]))
    assert "entry 1 of the batch: found " in error.value.message
    assert f"{found}" in error.value.message
    assert "wanted whole JPEGs or PNGs" in error.value.message


def test_no_picture_is_decoded_before_all_are_looked_at(saved):
    """The decoder's own error does not come first, not even of the first picture and not even now and then."""
    for _ in range(50):
        with pytest.raises(tf.errors.InvalidArgumentError, match="entry 0 of the batch: found 18 bytes"):
            saved.signatures[features.REST_SIGNATURE](tf.constant([b"this is no picture"]))


def test_damage_in_the_middle_of_a_picture_is_an_error(saved):
    damaged = bytearray(PNG)
    damaged[len(PNG) // 2] ^= 1
    with pytest.raises(tf.errors.InvalidArgumentError):
        saved.signatures[features.SERVING_SIGNATURE](tf.constant([bytes(damaged)]))


@pytest.mark.parametrize(
    "picture",
    [
        encoded("JPEG", progressive=True),
        JPEG + b"and more",
        encoded("JPEG", exif=b"Exif\0\0" + JPEG),
        encoded("JPEG", comment=b"\xff\xda"),
        JPEG[:2] + b"\xff\xff" + JPEG[2:],
        JPEG[:2] + b"\xff\xd0" + JPEG[2:],
        encoded("MPO", save_all=True, append_images=[Image.new("RGB", (20, 15))]),
        encoded("JPEG", size=(1, 1)),
        PNG + b"and more",
    ],
    ids=[
        "progressive",
        "bytes behind it",
        "a thumbnail",
        "a marker in a comment",
        "bytes that fill",
        "a marker alone",
        "several pictures",
        "1 x 1",
        "PNG",
    ],
)
def test_whole_pictures_of_any_make_are_taken(saved, picture):
    (mask,) = masks_of(saved.signatures[features.SERVING_SIGNATURE](tf.constant([picture])))
    assert mask.shape == Image.open(io.BytesIO(picture)).size[::-1]


@pytest.mark.parametrize("cut", [1, 40, len(JPEG) // 2])
def test_a_thumbnails_end_is_not_the_pictures(saved, cut):
    """Neither that of a thumbnail, nor one in what is cut off right behind it."""
    picture = encoded("JPEG", exif=b"Exif\0\0" + JPEG)
    behind_thumbnail = picture.index(JPEG) + len(JPEG)
    for length in (len(picture) - cut, behind_thumbnail + cut):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=f"entry 1 of the batch: found cut off after {length} b"
        ):
            saved.signatures[features.SERVING_SIGNATURE](tf.constant([JPEG, picture[:length]]))


def test_what_the_evaluator_is_given_is_looked_at_as_well(saved, transformed):
    example = tf.train.Example.FromString(transformed.records[0])
    for key, wrong in ((features.IMAGE_ENCODED, JPEG[:50]), (features.LABEL_ENCODED, b"no picture")):
        broken = tf.train.Example.FromString(transformed.records[0])
        broken.features.feature[key].bytes_list.value[0] = wrong
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"entry 1 of the batch: found .*{len(wrong)} bytes"):
            saved.signatures[features.CONFUSION_SIGNATURE](
                tf.constant([example.SerializeToString(), broken.SerializeToString()])
            )


def test_a_label_of_a_class_that_the_model_lacks_is_no_void(saved, transformed):
    example = tf.train.Example.FromString(transformed.records[0])
    for label in (NUM_CLASSES, 254):
        mask = tf.io.encode_png(tf.fill([5, 5, 1], tf.constant(label, tf.uint8))).numpy()
        example.features.feature[features.LABEL_ENCODED].bytes_list.value[0] = mask
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=f"label of class {label}; wanted are 0 to {NUM_CLASSES - 1}"
        ):
            saved.signatures[features.CONFUSION_SIGNATURE](tf.constant([example.SerializeToString()]))


def test_pixels_are_limited_as_files_are(saved):
    for height, width in ((10_001, 10_000), (65_536, 1), (0, 5)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"found {width} x {height} pixels; wanted are 1 to"):
            saved.signatures[features.SEGMENT_SIGNATURE](tf.zeros([1, height, width, 3], tf.uint8))


def test_a_network_that_computes_no_numbers_answers_with_an_error(transformed):
    images = keras.Input((65, 65, 3))
    bias = keras.initializers.Constant([0.0] * (NUM_CLASSES - 1) + [np.nan])
    logits = keras.layers.Conv2D(NUM_CLASSES, 3, padding="same", bias_initializer=bias)(images)
    segmenter = signatures.Segmenter(keras.Model(images, logits), transformed.graph, MINUS_ONE_TO_ONE)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the network computes values that are no finite numbers"):
        segmenter.segment(tf.zeros([1, 40, 50, 3], tf.uint8))


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
