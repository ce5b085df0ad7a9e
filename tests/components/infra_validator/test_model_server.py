"""What TensorFlow Serving is asked, and what its answers mean: by a stand-in that speaks its REST API."""

import base64
import json
import shutil
import sys
from pathlib import Path

import pytest

from components.infra_validator.limits import Limits
from components.infra_validator.model_server import ModelServerError, mask_from_server

AVAILABLE = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}
MASK = b"\x89PNG and so on"
ANSWER = {"outputs": {"mask_bytes": [{"b64": base64.b64encode(MASK).decode()}], "class_pixels": [[5, 7]]}}


@pytest.fixture
def ask(tmp_path):
    """Asks a stand-in that answers so."""
    model, work = tmp_path / "exported", tmp_path / "work"
    for folder in (model, work):
        folder.mkdir()
    (model / "saved_model.pb").touch()
    shutil.copy(Path(__file__).with_name("stub_server.py"), tmp_path)
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "stub_server.py"} "$@"\n')
    binary.chmod(0o755)

    def run(**answers):
        (tmp_path / "answers.json").write_text(json.dumps({"status": AVAILABLE, "predict": ANSWER, **answers}))
        return mask_from_server(str(binary), str(model), b"a picture \xff", Limits(30, 500), work)

    return run


def test_it_is_asked_for_the_mask_of_one_picture(ask, tmp_path):
    assert ask() == MASK
    asked = json.loads((tmp_path / "request.json").read_text())
    assert asked == {
        "path": "/v1/models/model:predict",
        "body": {
            "signature_name": "rest",
            "inputs": {"images": [{"b64": base64.b64encode(b"a picture \xff").decode()}]},
        },
    }


def test_a_model_that_it_cannot_load(ask):
    status = {"state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "Op type not registered"}}
    with pytest.raises(ModelServerError, match="cannot load the model: Op type not registered"):
        ask(status={"model_version_status": [status]})


def test_a_request_that_it_refuses(ask):
    with pytest.raises(ModelServerError, match=r"tensorflow_model_server answers 400: .*no such signature"):
        ask(code=400, predict={"error": "no such signature"})


@pytest.mark.parametrize("outputs", [[1, 2], {"mask_bytes": ["no base64"]}, {"mask_bytes": [{"b64": "?"}]}])
def test_an_answer_without_what_was_asked_for(ask, outputs):
    with pytest.raises(ModelServerError, match="wanted is outputs with mask_bytes"):
        ask(predict={"outputs": outputs})


def test_a_server_that_ends_at_once(ask):
    with pytest.raises(ModelServerError, match="ended before it had loaded the model: bad flags"):
        ask(exit="bad flags")
