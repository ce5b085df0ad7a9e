"""The SavedModel: everything from encoded pictures to masks in one graph, usable with nothing but TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from schema import features
from schema.labels import IGNORE_LABEL, LABELS_FILE, Labels
from trainer.common.counts import boundary_counts, confusion_matrix
from trainer.common.metrics import BOUNDARY_COUNTS
from trainer.data.augmentation import normalised
from trainer.data.encoded_images import is_within_limits, picture_sizes, required
from trainer.data.preprocessing import decode_label, image_canvas
from trainer.model.backbones import Normalisation
from trainer.model.deeplabv3plus import LOW_LEVEL_STRIDE
from trainer.model.folding import folded
from trainer.model.weights import Weights, WeightsError, layers_with_weights
from trainer.serving.argmax import largest_class
from trainer.serving.description import DESCRIPTION_FILE, ModelDescription, read_description
from trainer.serving.tensorflow_kernels import with_tensorflow_kernels


def save(
    network: keras.Model,
    transform_graph: tft.TFTransformOutput,
    normalisation: Normalisation,
    labels: Labels,
    directory: str,
    description: ModelDescription | None = None,
) -> None:
    """Writes a SavedModel with the signatures of `schema.features`, what its classes mean and what to warm it up with.

    Args:
        network: DeepLabV3+, images to logits, as `deeplabv3plus` builds it.
        transform_graph: Transform's output.
        normalisation: the backbone's.
        labels: the classes, which are written to `LABELS_FILE` in the directory.
        directory: where to.
        description: of the network, which is written to `DESCRIPTION_FILE` in the directory.
    """
    segmenter = Segmenter(network, transform_graph, normalisation)
    tf.saved_model.save(
        segmenter,
        directory,
        signatures={
            features.SERVING_SIGNATURE: segmenter.serve,
            features.REST_SIGNATURE: segmenter.serve_rest,
            features.SEGMENT_SIGNATURE: segmenter.segment,
            features.EXAMPLES_SIGNATURE: segmenter.serve_examples,
            features.CONFUSION_SIGNATURE: segmenter.confusion,
        },
    )
    for place, told in ((LABELS_FILE, labels), (DESCRIPTION_FILE, description)):
        if told is not None:
            tf.io.gfile.makedirs(f"{directory}/{place}".rpartition("/")[0])
            with tf.io.gfile.GFile(f"{directory}/{place}", "w") as file:
                file.write(told.model_dump_json(indent=2))
    write_warm_up_requests(directory, [features.SERVING_SIGNATURE, features.REST_SIGNATURE])


def read_weights(directory: str, source: str | None = None) -> Weights:
    """Reads the weights of a SavedModel that `save` has written.

    Args:
        directory: of the SavedModel.
        source: what the user calls it, for the message; without it the directory.

    Raises:
        WeightsError: it holds no weights of DeepLabV3+.
    """
    try:
        checkpoint = tf.train.load_checkpoint(f"{directory}/variables/variables")
    except (ValueError, tf.errors.OpError) as error:
        raise WeightsError(f"{source or directory} is no SavedModel: it has no variables") from error
    found: dict[str, dict[int, np.ndarray]] = {}
    for key in checkpoint.get_variable_to_shape_map():
        if match := _WEIGHT.fullmatch(key):
            found.setdefault(match["layer"], {})[int(match["index"])] = checkpoint.get_tensor(key)
    if not found:
        raise WeightsError(f"{source or directory} is no SavedModel of DeepLabV3+ that this pipeline has pushed")
    return {layer: [arrays[index] for index in sorted(arrays)] for layer, arrays in found.items()}


def read_network(directory: str, source: str | None = None) -> tuple[ModelDescription, Weights]:
    """Reads what it takes to build the network of a SavedModel anew.

    Args:
        directory: of the SavedModel.
        source: what the user calls it, for the message; without it the directory.

    Raises:
        WeightsError: it does not say what its network is, or holds no weights of DeepLabV3+.
    """
    description = read_description(directory)
    if description is None:
        raise WeightsError(f"{source or directory}: has no sound {DESCRIPTION_FILE}, which says what its network is")
    return description, read_weights(directory, source)


# How TensorFlow names the elements of `Segmenter.weights` in a checkpoint.
_WEIGHT = re.compile(r"weights/(?P<layer>[^/]+)/(?P<index>\d+)/\.ATTRIBUTES/VARIABLE_VALUE")


class Segmenter(tf.Module):
    """The network between Transform's graph and masks at each picture's own size.

    Pictures of one request go through one after another, so that memory does not grow with the request.
    """

    def __init__(self, network: keras.Model, transform_graph: tft.TFTransformOutput, normalisation: Normalisation):
        super().__init__()
        network = with_tensorflow_kernels(network)
        # By name, so that a later run can start from them; they are the variables that the signatures use.
        self.weights = {name: layer.weights for name, layer in layers_with_weights(network).items()}
        network = folded(network)
        self._network = network
        self._transform = transform_graph.transform_features_layer()
        self._normalisation = normalisation
        self._size = network.input_shape[1]
        self._num_classes = network.output_shape[-1]
        # One function for all signatures, so that the network stands in the SavedModel once.
        canvas = tf.TensorSpec([self._size, self._size, 3], tf.float32)
        self._logits = tf.function(lambda canvas: network(canvas[tf.newaxis], training=False)[0], [canvas])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded JPEG or PNG string[N] -> PNG masks string[N] at each picture's size, pixels per class int64[N, C].

        What is no such picture, or too large, is refused as `picture_sizes` says, before any is decoded.
        """
        sizes = picture_sizes(images)
        # Decoding needs no size, and so would not wait for what is found to be wrong.
        with tf.control_dependencies([sizes]):
            images = tf.identity(images)
        mask, class_pixels = tf.map_fn(
            lambda each: self._mask_and_counts(*each),
            (images, sizes),
            fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([self._num_classes], tf.int64)),
            parallel_iterations=1,
        )
        return {features.MASK: mask, features.CLASS_PIXELS: class_pixels}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def serve_rest(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve`, for REST: TensorFlow Serving makes base64 of bytes only where the output's name ends in `_bytes`.

        Else they are written as they are, and the answer as a whole is no JSON (`util/json_tensor.cc` of
        tensorflow/serving). So this cannot be one more output of `serve`.
        """
        served = self.serve(images)
        return {features.MASK_BYTES: served[features.MASK], features.CLASS_PIXELS: served[features.CLASS_PIXELS]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised tf.Examples string[N] -> as `serve`."""
        return self.serve(_parse(examples, features.IMAGE_ENCODED))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="image")])
    def segment(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """RGB uint8[1, H, W, 3] -> class indices int32[1, H, W]. As large a picture as files may have."""
        size = tf.shape(image)[1:3]
        height, width = tf.unstack(tf.strings.as_string(size))
        wanted = f" pixels; wanted are 1 to {features.MAX_PIXELS:,}, {features.MAX_SIDE:,} on a side"
        image = required(is_within_limits(size), image, ["found ", width, " x ", height, wanted])
        canvas, content_size = image_canvas(image[0], self._size)
        canvas = normalised(canvas[tf.newaxis], content_size[tf.newaxis], self._normalisation)[0]
        mask = self._class_indices(canvas, content_size, size)
        return {features.MASK: mask[tf.newaxis]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def confusion(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised labelled tf.Examples string[N] -> what the metrics are made of, at each label's own size.

        The confusion matrices int64[N, C, C], pixels by label (row) and prediction (column), with ignored pixels in no
        cell; and the boundary counts int64[N, C, B] of `trainer.common.counts`. A label of another class is refused.
        """
        pictures, labels = (_parse(examples, key) for key in (features.IMAGE_ENCODED, features.LABEL_ENCODED))
        with tf.control_dependencies([picture_sizes(pictures), picture_sizes(labels)]):
            pictures, labels = tf.identity(pictures), tf.identity(labels)
        matrices, boundary = tf.map_fn(
            lambda pair: self._counts(*pair),
            (pictures, labels),
            fn_output_signature=(
                tf.TensorSpec([self._num_classes, self._num_classes], tf.int64),
                tf.TensorSpec([self._num_classes, len(BOUNDARY_COUNTS)], tf.int64),
            ),
            parallel_iterations=1,
        )
        return {features.CONFUSION_MATRIX: matrices, features.BOUNDARY_COUNTS: boundary}

    def _mask_and_counts(self, encoded: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mask = self._segment_encoded(encoded, size)
        counts = tf.math.bincount(
            tf.reshape(mask, [-1]), minlength=self._num_classes, maxlength=self._num_classes, dtype=tf.int64
        )
        return tf.io.encode_png(tf.cast(mask, tf.uint8)[:, :, tf.newaxis]), counts

    def _counts(self, encoded: tf.Tensor, encoded_label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        label = tf.cast(decode_label(encoded_label), tf.int32)
        largest = tf.reduce_max(tf.where(label == IGNORE_LABEL, -1, label))
        wanted = f"; wanted are 0 to {self._num_classes - 1}"
        found = ["found a label of class ", tf.strings.as_string(largest), wanted]
        # It would be in no cell of the matrix, and so count as void.
        label = required(largest < self._num_classes, label, found)
        prediction = self._segment_encoded(encoded, tf.shape(label))
        return (
            confusion_matrix(label, prediction, self._num_classes),
            boundary_counts(label, prediction, self._num_classes),
        )

    def _segment_encoded(self, encoded: tf.Tensor, output_size: tf.Tensor) -> tf.Tensor:
        """One encoded picture, string[], through Transform's graph and the network -> int32[*output_size]."""
        # The graph's label side, which has no input here, feeds nothing and is left out when the graph is optimised.
        transformed = self._transform({features.IMAGE_ENCODED: encoded[tf.newaxis, tf.newaxis]})
        return self._class_indices(transformed[features.IMAGE][0], transformed[features.CONTENT_SIZE][0], output_size)

    def _class_indices(self, canvas: tf.Tensor, content_size: tf.Tensor, output_size: tf.Tensor) -> tf.Tensor:
        """One canvas float32[S, S, 3] -> int32[*output_size]: logits without the padding, resized, largest class."""
        logits = self._logits(canvas)
        logits = logits[: content_size[0], : content_size[1]]
        # NaN would be the first class everywhere. Logits are interpolated between features of this stride at least.
        finite = tf.reduce_all(tf.math.is_finite(logits[::LOW_LEVEL_STRIDE, ::LOW_LEVEL_STRIDE]))
        logits = required(finite, logits, ["the network computes values that are no finite numbers"])
        return largest_class(logits, output_size)


def _parse(examples: tf.Tensor, key: str) -> tf.Tensor:
    """One bytes feature of serialised tf.Examples string[N] -> string[N]."""
    return tf.io.parse_example(examples, {key: tf.io.FixedLenFeature([], tf.string)})[key]


WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
"""In a SavedModel's directory."""
SIZE = 48, 64
"""Height and width of the picture, pixels. Small: the network runs on its canvas whatever the picture's size."""


def write_warm_up_requests(directory: str, signatures: Iterable[str]) -> None:
    """Writes one request with a grey JPEG for each of the signatures.

    Args:
        directory: of the SavedModel; path or URI.
        signatures: that take encoded pictures as `images`. Each has a graph of its own to be warmed up.
    """
    picture = tf.io.encode_jpeg(tf.fill([*SIZE, 3], tf.constant(128, tf.uint8)))
    file = f"{directory}/{WARM_UP_FILE}"
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.TFRecordWriter(file) as writer:
        for signature in signatures:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(picture[tf.newaxis]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
