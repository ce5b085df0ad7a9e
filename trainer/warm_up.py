"""Requests that TensorFlow Serving sends to a model that it has loaded, so that no caller waits for what is done once.

Source of the format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

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
