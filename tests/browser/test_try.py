"""The page of `deeplab try` in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import DESKTOP, Page, browser, needs_chromium
from PIL import Image

from schema import features
from schema.labels import LABELS_FILE, Labels

pytestmark = [pytest.mark.slow, needs_chromium]

LABELS = Labels.model_validate({"classes": ["background", {"name": "upper", "color": [200, 0, 0]}]})
ANSWERED = "document.querySelectorAll('.legend tr').length == 4 && !document.querySelector('.generating')"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    """Two models: the upper half of every picture is an object, or the upper quarter."""
    import tensorflow as tf

    class Upper(tf.Module):
        def __init__(self, share: float):
            super().__init__()
            self._share = share

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images):
            def one(encoded):
                height, width = tf.unstack(tf.shape(tf.io.decode_image(encoded, expand_animations=False))[:2])
                upper = tf.cast(self._share * tf.cast(height, tf.float32), tf.int32)
                mask = tf.repeat(tf.cast(tf.range(height) < upper, tf.uint8)[:, tf.newaxis], width, axis=1)
                counts = tf.stack([(height - upper) * width, upper * width])
                return tf.io.encode_png(mask[..., tf.newaxis]), tf.cast(counts, tf.int64)

            outputs = (tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64))
            mask, counts = tf.map_fn(one, images, fn_output_signature=outputs)
            return {features.MASK: mask, features.CLASS_PIXELS: counts}

    folders = []
    for name, share in (("half", 0.5), ("quarter", 0.25)):
        folder = tmp_path_factory.mktemp(name)
        module = Upper(share)
        tf.saved_model.save(module, str(folder), signatures={features.SERVING_SIGNATURE: module.serve})
        (folder / LABELS_FILE).parent.mkdir()
        (folder / LABELS_FILE).write_text(LABELS.model_dump_json())
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def url(models) -> Iterator[str]:
    """Of the page, served by the command."""
    command = [Path(sys.executable).with_name("deeplab"), "try", *models, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, "the command has ended"
            found = re.search(r"http://127[.]0[.]0[.]1:[0-9]+", line)
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def page(url, tmp_path_factory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.resize(*DESKTOP)
        opened.open(url)
        opened.wait_for("document.querySelector('input[type=file]') != null")
        yield opened


def test_a_picture_is_dropped_and_both_overlays_and_legends_are_seen(page, url, tmp_path):
    Image.fromarray(np.full((300, 400, 3), 100, np.uint8)).save(tmp_path / "photo.jpg")
    page.choose_file("input[type=file]", tmp_path / "photo.jpg")
    page.wait_for(ANSWERED)
    images = "[...document.querySelectorAll('.image-container img')]"
    page.wait_for(f"{images}.length == 3 && {images}.every(image => image.complete && image.naturalWidth == 400)")
    shown = page.value("[...document.querySelectorAll('.legend')].map(legend => legend.innerText)")
    assert [re.findall(r"(\w+)\s+([0-9.]+ %)", text) for text in shown] == [
        [("background", "50.0 %"), ("upper", "50.0 %")],
        [("background", "75.0 %"), ("upper", "25.0 %")],
    ]
    # A pixel of each picture, an eighth from above: the picture, and the object's colour over it.
    pixels = page.value(
        images + ".map(image => { const canvas = document.createElement('canvas');"
        " canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
        " const context = canvas.getContext('2d', {willReadFrequently: true}); context.drawImage(image, 0, 0);"
        " return [0.125, 0.375, 0.9].map(share => context.getImageData(5, canvas.height * share, 1, 1).data[0]); })"
    )
    assert pixels == [[100, 100, 100], [150, 150, 100], [150, 100, 100]]
    assert [address for address in page.requested if not address.startswith((url, "data:", "blob:"))] == []
    assert page.complaints == []


def test_what_is_no_picture_is_told_and_the_next_one_is_taken(page, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    page.choose_file("input[type=file]", tmp_path / "text.jpg")
    page.wait_for("document.body.innerText.includes('10 bytes that are no picture')")
    Image.fromarray(np.full((30, 40, 3), 100, np.uint8)).save(tmp_path / "small.png")
    page.choose_file("input[type=file]", tmp_path / "small.png")
    page.wait_for("document.body.innerText.includes('for 40 x 30 pixels')")
