"""Asks TensorFlow Serving or KServe for the mask of a picture, over gRPC. Needs tensorflow-serving-api.

python grpc_client.py photo.jpg mask.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# gRPC's own limit, 4 MiB, is less than the masks of large pictures may have.
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def segment(server: str, model: str, picture: bytes) -> tuple[bytes, list[int]]:
    """Asks for the mask of a picture.

    Args:
        server: its host and port.
        model: its name on the server.
        picture: JPEG or PNG, as in its file.

    Returns:
        The mask as a PNG of the picture's size, whose values are classes; and how many pixels each class has.

    Raises:
        grpc.RpcError: there is no server, or it refuses the picture; `details()` says why.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([picture]))
    with grpc.insecure_channel(server, OPTIONS) as channel:
        outputs = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request).outputs
    return outputs["mask"].string_val[0], tf.make_ndarray(outputs["class_pixels"])[0].tolist()


def main() -> None:
    """Writes the mask into a file and prints the pixels of each class."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--server", default="127.0.0.1:8500", help="host and port")
    parser.add_argument("--model", default="deeplab", help="its name on the server")
    arguments = parser.parse_args()
    try:
        mask, class_pixels = segment(arguments.server, arguments.model, arguments.picture.read_bytes())
    except grpc.RpcError as error:
        sys.exit(f"{arguments.picture}: {error.details()}")
    arguments.mask.write_bytes(mask)
    print(class_pixels)


if __name__ == "__main__":
    main()
