"""`deeplab try`: what its page shows of a picture, and how it is served."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.segmentation_example_gen.images import ImageFile
from pipeline.commands.main import app
from pipeline.commands.options import CommandError
from pipeline.inference import try_page
from pipeline.inference.saved_model import Model
from pipeline.inference.try_page import Answer, ClassShare, answer, class_shares, legend, listen, url_of
from schema import features
from schema.labels import Labels

LABELS = Labels.model_validate(
    {"classes": ["background", {"name": "dark", "color": [10, 20, 30]}, {"name": "<b>right", "color": [200, 100, 0]}]}
)
SIZE = (40, 30)
"""Width and height, pixels."""


@pytest.fixture
def model() -> Model:
    """It says that the upper third of every picture is background, and the rest dark."""
    import tensorflow as tf

    def serve(images):
        masks = []
        for encoded in images.numpy():
            width, height = Image.open(io.BytesIO(encoded)).size
            mask = np.ones((height, width), np.uint8)
            mask[: height // 3] = 0
            content = io.BytesIO()
            Image.fromarray(mask).save(content, "PNG")
            masks.append((content.getvalue(), np.bincount(mask.ravel(), minlength=3)))
        pngs, pixels = zip(*masks, strict=True)
        return {features.MASK: tf.constant(pngs), features.CLASS_PIXELS: tf.constant(np.stack(pixels))}

    return Model("models/7", LABELS, SimpleNamespace(signatures={features.SERVING_SIGNATURE: serve}))


def picture_of(size: tuple[int, int]) -> ImageFile:
    content = io.BytesIO()
    Image.new("RGB", size, (100, 100, 100)).save(content, "PNG")
    return ImageFile(content.getvalue(), "png", *size, 3)


def test_a_model_s_answer(model):
    told = answer(model, picture_of(SIZE))
    assert told.overlay.shape == (30, 40, 3)
    np.testing.assert_array_equal(told.overlay[0, 0], [100, 100, 100])
    np.testing.assert_array_equal(told.overlay[-1, -1], [55, 60, 65])
    assert [(item.name, item.share) for item in told.shares] == [("dark", 2 / 3), ("background", 1 / 3)]
    assert (told.width, told.height) == SIZE
    assert told.seconds > 0


@pytest.mark.parametrize(
    ("size", "shown"), [((1200, 10), (1200, 10)), ((4800, 1000), (1200, 250)), ((3, 9000), (1, 1200))]
)
def test_a_large_picture_is_made_smaller_for_the_screen(model, size, shown):
    told = answer(model, picture_of(size))
    assert told.overlay.shape == (*shown[::-1], 3)
    assert {tuple(color) for color in told.overlay.reshape(-1, 3).tolist()} == {(100, 100, 100), (55, 60, 65)}
    assert (told.width, told.height) == size


def test_the_classes_come_with_the_largest_first_and_none_that_is_not_there():
    assert class_shares(np.array([10, 0, 30]), LABELS) == [
        ClassShare("<b>right", (200, 100, 0), 0.75),
        ClassShare("background", None, 0.25),
    ]


def test_the_legend_has_colours_shares_and_the_time():
    shares = [ClassShare("<b>right", (200, 100, 0), 0.7503), ClassShare("background", None, 0.0001)]
    shown = legend(Answer(np.zeros((1, 1, 3), np.uint8), shares, 40, 30, 1.234))
    assert "background: rgb(200, 100, 0)" in shown
    assert "&lt;b&gt;right" in shown
    assert "75.0 %" in shown
    assert "&lt; 0.1 %" in shown
    assert "1.23 s for 40 x 30 pixels" in shown


def test_without_gradio_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pipeline.commands.models.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["try", "models"])
    assert isinstance(result.exception, CommandError)
    assert "tools/make-venv requirements/try.txt" in str(result.exception)


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["try", "models", "--port", str(port)])
    assert isinstance(result.exception, CommandError)
    assert f"--host 127.0.0.1 --port {port}: the page cannot be served there" in str(result.exception)


def test_a_model_that_is_not_there(tmp_path):
    result = CliRunner().invoke(app, ["try", str(tmp_path / "nothing"), "--port", "0"])
    assert isinstance(result.exception, CommandError)
    assert "there is no such folder" in str(result.exception)


def test_only_this_machine_is_served_unless_told_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr(try_page, "listen", lambda host, port: asked.append(host) or listen(host, 0))
    CliRunner().invoke(app, ["try", "nothing"])
    result = CliRunner().invoke(app, ["try", "nothing", "--host", "0.0.0.0"])
    assert asked == ["127.0.0.1", "0.0.0.0"]
    assert "asks for no password" in result.stderr


@pytest.fixture
def client(model):
    """Of the page with the model on both sides."""
    from gradio_client import Client

    listening = listen("127.0.0.1", 0)
    # It ends with the process: outside the main thread uvicorn handles no signals.
    threading.Thread(target=try_page.serve, args=([model, model], listening), daemon=True).start()
    return Client(url_of(listening), verbose=False)


def test_the_page_answers_for_a_picture_with_both_models(client, tmp_path):
    from gradio_client import handle_file

    (tmp_path / "photo.png").write_bytes(picture_of(SIZE).encoded)
    cleared = client.predict(handle_file(str(tmp_path / "photo.png")), api_name="/take")
    assert Image.open(cleared[1]).size == SIZE
    for side in ("/run", "/run_1"):
        overlay, legend = client.predict(api_name=side)
        assert Image.open(overlay).size == SIZE
        assert "66.7 %" in legend


def test_the_page_goes_on_after_what_is_no_picture(client, tmp_path):
    from gradio_client import handle_file

    (tmp_path / "text.jpg").write_text("no picture")
    client.predict(handle_file(str(tmp_path / "text.jpg")), api_name="/take")
    assert client.predict(api_name="/run") == (None, "")
