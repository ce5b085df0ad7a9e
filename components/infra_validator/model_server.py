"""Asks TensorFlow Serving, where it is installed, for one answer of a model."""

from __future__ import annotations

import base64
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.infra_validator.limits import POLL_S, LimitedProcess, Limits
from schema import features

BINARY = "tensorflow_model_server"


class ModelServerError(RuntimeError):
    """The server does not serve the model; the message says what it said."""


def mask_from_server(binary: str, model: str, encoded: bytes, limits: Limits, folder: Path) -> bytes:
    """Starts a server on a model and sends it one predict request over REST.

    Args:
        binary: path of tensorflow_model_server.
        model: folder of the SavedModel.
        encoded: a picture, JPEG or PNG.
        limits: that hold for the server.
        folder: an empty one.

    Returns:
        The mask, a PNG.

    Raises:
        ModelServerError: there is no such answer.
        LimitError: the server has taken more than it may.
    """
    versions = folder / "model"
    versions.mkdir()
    (versions / "1").symlink_to(Path(model).absolute())
    rest, grpc = _free_ports(2)
    command = [
        binary,
        f"--port={grpc}",
        f"--rest_api_port={rest}",
        "--model_name=model",
        f"--model_base_path={versions}",
    ]
    url = f"http://127.0.0.1:{rest}/v1/models/model"
    request = {
        "signature_name": features.REST_SIGNATURE,
        "inputs": {"images": [{"b64": base64.b64encode(encoded).decode()}]},
    }
    with LimitedProcess(command, limits, folder) as server:
        _wait_until_available(url, server)
        answer = _json_from(f"{url}:predict", max(server.seconds_left, POLL_S), request)
        server.is_running()
    try:
        return base64.b64decode(answer["outputs"][features.MASK_BYTES][0]["b64"], validate=True)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelServerError(
            f"{BINARY} answers {json.dumps(answer)[:200]}, wanted is outputs with {features.MASK_BYTES}"
        ) from error


def _wait_until_available(url: str, server: LimitedProcess) -> None:
    while server.is_running():
        try:
            (version,) = _json_from(url, 5)["model_version_status"]
        except (ModelServerError, KeyError, ValueError):
            # It does not listen yet, or knows of no version yet.
            time.sleep(POLL_S)
            continue
        if version["state"] == "AVAILABLE":
            return
        if version["state"] == "END":
            raise ModelServerError(f"{BINARY} cannot load the model: {version.get('status', {}).get('error_message')}")
        time.sleep(POLL_S)
    last = server.output.strip().splitlines()[-1:]
    raise ModelServerError(f"{BINARY} ended before it had loaded the model: {''.join(last)}")


def _json_from(url: str, timeout: float, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
    data = None if request is None else json.dumps(request).encode()
    try:
        # Not by a proxy: it is a server of this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, data, timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ModelServerError(
            f"{BINARY} answers {error.code}: {error.read().decode(errors='replace')[:200]}"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelServerError(f"{BINARY} gives no answer: {error}") from error


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
