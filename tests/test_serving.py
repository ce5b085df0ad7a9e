"""The clients and manifests of docs/serving, with a stand-in for TensorFlow Serving.

It takes requests and answers them as that does, JSON by the rules of `tensorflow_serving/util/json_tensor.cc`. The
model is one that the Trainer exports.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from schema import features
from schema.labels import VOC2012
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.serving import signatures

SERVING = Path(__file__).parents[1] / "docs" / "serving"
NAME = "deeplab"
SIZE = (40, 30)
"""Width and height, pixels."""


@pytest.fixture(scope="module")
def model(transformed, tmp_path_factory):
    images = keras.Input((65, 65, 3))
    logits = keras.layers.Conv2D(21, 3, padding="same", bias_initializer="random_normal")(images)
    directory = str(tmp_path_factory.mktemp("model"))
    signatures.save(keras.Model(images, logits), transformed.graph, MINUS_ONE_TO_ONE, VOC2012, directory)
    return tf.saved_model.load(directory)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture(scope="module")
def expected(model, picture) -> bytes:
    answer = model.signatures[features.SERVING_SIGNATURE](tf.constant([picture.read_bytes()]))
    return answer[features.MASK].numpy()[0]


@pytest.fixture(scope="module")
def rest_url(model):
    """Of a model on a server that speaks TensorFlow Serving's REST API."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == f"/v1/models/{NAME}:predict"
            function = model.signatures[request["signature_name"]]
            inputs = {
                name: tf.constant([base64.b64decode(value["b64"], validate=True) for value in values])
                for name, values in request["inputs"].items()
            }
            try:
                outputs = {name: _as_json(name, tensor) for name, tensor in function(**inputs).items()}
                self._send(200, {"outputs": outputs})
            except tf.errors.InvalidArgumentError as error:
                self._send(400, {"error": error.message})

        def _send(self, code, answer):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer, indent=4).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/models/{NAME}"
        server.shutdown()


def _as_json(name, tensor):
    if tensor.dtype != tf.string:
        return tensor.numpy().tolist()
    assert name.endswith("_bytes"), f"{name} would be written as it is, which is no JSON"
    return [{"b64": base64.b64encode(value).decode()} for value in tensor.numpy()]


def rest_client(*arguments: object) -> subprocess.CompletedProcess[str]:
    # Isolated, and so without this project and what it has installed in the way.
    command = [sys.executable, "-I", "-S", SERVING / "rest_client.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_over_rest_with_python_alone(rest_url, picture, expected, tmp_path):
    done = rest_client(picture, tmp_path / "mask.png", "--url", rest_url)
    assert done.stderr == ""
    mask = (tmp_path / "mask.png").read_bytes()
    assert mask == expected
    pixels = np.asarray(Image.open(io.BytesIO(mask)))
    assert pixels.shape == SIZE[::-1]
    assert json.loads(done.stdout) == np.bincount(pixels.ravel(), minlength=21).tolist()


def test_over_rest_a_refusal_is_told(rest_url, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    done = rest_client(tmp_path / "text.jpg", tmp_path / "mask.png", "--url", rest_url)
    assert done.returncode == 1
    assert "10 bytes that are neither JPEG nor PNG" in done.stderr
    assert not (tmp_path / "mask.png").exists()


def test_over_rest_without_a_server(picture, tmp_path):
    done = rest_client(picture, tmp_path / "mask.png", "--url", "http://127.0.0.1:9/v1/models/deeplab")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


@pytest.mark.skipif(not all(map(shutil.which, ("curl", "jq", "base64"))), reason="needs curl, jq and base64")
def test_over_rest_with_curl(rest_url, picture, expected, tmp_path):
    (command,) = re.findall(r"```sh\n(printf .*?)```", SERVING.with_suffix(".md").read_text(), re.DOTALL)
    assert "http://127.0.0.1:8501/v1/models/deeplab" in command
    shutil.copy(picture, tmp_path / "photo.jpg")
    script = command.replace("http://127.0.0.1:8501/v1/models/deeplab", rest_url)
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]}
    )
    assert (tmp_path / "mask.png").read_bytes() == expected


@pytest.fixture(scope="module")
def grpc_server(model):
    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == NAME
            function = model.signatures[request.model_spec.signature_name]
            inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            try:
                for name, tensor in function(**inputs).items():
                    response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor))
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            return response

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_over_grpc(grpc_server, picture, expected):
    segment = runpy.run_path(str(SERVING / "grpc_client.py"))["segment"]
    mask, class_pixels = segment(grpc_server, NAME, picture.read_bytes())
    assert mask == expected
    assert sum(class_pixels) == SIZE[0] * SIZE[1]


def test_over_grpc_a_refusal_is_told(grpc_server):
    segment = runpy.run_path(str(SERVING / "grpc_client.py"))["segment"]
    with pytest.raises(grpc.RpcError) as error:
        segment(grpc_server, NAME, b"no picture")
    assert "10 bytes that are neither JPEG nor PNG" in error.value.details()


def test_the_manifests_serve_by_the_name_that_the_clients_ask_for():
    service = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["deeplab"]
    assert service["environment"]["MODEL_NAME"] == NAME
    assert service["volumes"][0]["target"] == f"/models/{NAME}"
    assert yaml.safe_load((SERVING / "kserve.yaml").read_text())["metadata"]["name"] == NAME


def test_the_manifests_run_the_same_server():
    service = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["deeplab"]
    model = yaml.safe_load((SERVING / "kserve.yaml").read_text())["spec"]["predictor"]["model"]
    assert service["image"] == f"tensorflow/serving:{model['runtimeVersion']}"


def test_the_compose_file_serves_this_machine_alone():
    service = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["deeplab"]
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
