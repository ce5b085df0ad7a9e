"""The SavedModel: everything from encoded pictures to masks in one graph, usable with nothing but TensorFlow."""

from __future__ import annotations

import re

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from trainer import features
from trainer.augmentation import normalised
from trainer.labels import IGNORE_LABEL, LABELS_FILE, Labels
from trainer.model.backbones import Normalisation
from trainer.model.folding import folded
from trainer.model.weights import Weights, WeightsError, layers_with_weights
from trainer.preprocessing import decode_image, decode_label, image_canvas
from trainer.tensorflow_kernels import with_tensorflow_kernels


def save(
    network: keras.Model,
    transform_graph: tft.TFTransformOutput,
    normalisation: Normalisation,
    labels: Labels,
    directory: str,
) -> None:
    """Writes a SavedModel with the signatures of `trainer.features`, and what its classes mean beside them.

    Args:
        network: DeepLabV3+, images to logits, as `deeplabv3plus` builds it.
        transform_graph: Transform's output.
        normalisation: the backbone's.
        labels: the classes, which are written to `LABELS_FILE` in the directory.
        directory: where to.
    """
    segmenter = Segmenter(network, transform_graph, normalisation)
    tf.saved_model.save(
        segmenter,
        directory,
        signatures={
            features.SERVING_SIGNATURE: segmenter.serve,
            features.SEGMENT_SIGNATURE: segmenter.segment,
            features.EXAMPLES_SIGNATURE: segmenter.serve_examples,
            features.CONFUSION_SIGNATURE: segmenter.confusion,
        },
    )
    labels_file = f"{directory}/{LABELS_FILE}"
    tf.io.gfile.makedirs(labels_file.rpartition("/")[0])
    with tf.io.gfile.GFile(labels_file, "w") as file:
        file.write(labels.model_dump_json(indent=2))


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
        """Encoded JPEG or PNG string[N] -> PNG masks string[N] at each picture's size, pixels per class int64[N, C]."""
        mask, class_pixels = tf.map_fn(
            self._mask_and_counts,
            images,
            fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([self._num_classes], tf.int64)),
            parallel_iterations=1,
        )
        return {features.MASK: mask, features.CLASS_PIXELS: class_pixels}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised tf.Examples string[N] -> as `serve`."""
        return self.serve(_parse(examples, features.IMAGE_ENCODED))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="image")])
    def segment(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """RGB uint8[1, H, W, 3] -> class indices int32[1, H, W]."""
        canvas, content_size = image_canvas(image[0], self._size)
        canvas = normalised(canvas[tf.newaxis], content_size[tf.newaxis], self._normalisation)[0]
        mask = self._class_indices(canvas, content_size, tf.shape(image)[1:3])
        return {features.MASK: mask[tf.newaxis]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def confusion(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised labelled tf.Examples string[N] -> int64[N, C, C]: pixels by label (row) and prediction (column).

        Counted at the label's own size; ignored pixels are in no cell.
        """
        images = _parse(examples, features.IMAGE_ENCODED)
        labels = _parse(examples, features.LABEL_ENCODED)
        matrices = tf.map_fn(
            lambda pair: self._confusion_matrix(*pair),
            (images, labels),
            fn_output_signature=tf.TensorSpec([self._num_classes, self._num_classes], tf.int64),
            parallel_iterations=1,
        )
        return {features.CONFUSION_MATRIX: matrices}

    def _mask_and_counts(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mask = self._segment_encoded(encoded, tf.shape(decode_image(encoded))[:2])
        counts = tf.math.bincount(
            tf.reshape(mask, [-1]), minlength=self._num_classes, maxlength=self._num_classes, dtype=tf.int64
        )
        return tf.io.encode_png(tf.cast(mask, tf.uint8)[:, :, tf.newaxis]), counts

    def _confusion_matrix(self, encoded: tf.Tensor, encoded_label: tf.Tensor) -> tf.Tensor:
        label = tf.cast(decode_label(encoded_label), tf.int32)
        prediction = self._segment_encoded(encoded, tf.shape(label))
        cell = tf.boolean_mask(label * self._num_classes + prediction, label != IGNORE_LABEL)
        cells = self._num_classes**2
        counts = tf.math.bincount(cell, minlength=cells, maxlength=cells, dtype=tf.int64)
        return tf.reshape(counts, [self._num_classes, self._num_classes])

    def _segment_encoded(self, encoded: tf.Tensor, output_size: tf.Tensor) -> tf.Tensor:
        """One encoded picture, string[], through Transform's graph and the network -> int32[*output_size]."""
        # The graph's label side, which has no input here, feeds nothing and is left out when the graph is optimised.
        transformed = self._transform({features.IMAGE_ENCODED: encoded[tf.newaxis, tf.newaxis]})
        return self._class_indices(transformed[features.IMAGE][0], transformed[features.CONTENT_SIZE][0], output_size)

    def _class_indices(self, canvas: tf.Tensor, content_size: tf.Tensor, output_size: tf.Tensor) -> tf.Tensor:
        """One canvas float32[S, S, 3] -> int32[*output_size]: logits without the padding, resized, largest class."""
        logits = self._logits(canvas)
        logits = logits[: content_size[0], : content_size[1]]
        logits = tf.cond(
            tf.reduce_all(tf.cast(content_size, tf.int32) == output_size),
            lambda: logits,
            lambda: tf.image.resize(logits, output_size, method="bilinear"),
        )
        return tf.argmax(logits, axis=-1, output_type=tf.int32)


def _parse(examples: tf.Tensor, key: str) -> tf.Tensor:
    """One bytes feature of serialised tf.Examples string[N] -> string[N]."""
    return tf.io.parse_example(examples, {key: tf.io.FixedLenFeature([], tf.string)})[key]
