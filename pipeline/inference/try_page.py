"""The page of `deeplab try`: drop a picture, and see what one or two models say of it.

What is shown is made without Gradio, which an extra brings; only `page` and `serve` need it.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.artifacts.problems import DataError
from components.segmentation_example_gen.images import ImageFile, read_picture
from pipeline.inference.saved_model import Model
from schema.labels import Labels
from trainer.common.drawing import overlay
from trainer.common.tensorflow_errors import PictureRefusedError

SHOWN_SIDE = 1200
"""Pixels that the longer side of an overlay has at most. The model sees the whole picture."""
# Gradio asks its maker's servers whether it is up to date and counts what it is used for, unless told otherwise.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Whatever a release of Gradio's may link to, the browser asks this server only.
OWN_ORIGIN_ONLY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
# Small pictures are shown larger; the legend is a list, not a grid.
CSS = """
.image-container img { width: 100%; height: 100%; object-fit: contain; }
.place { font-weight: 600; overflow-wrap: anywhere; }
.legend, .legend tr, .legend td { border: none !important; }
.legend td { padding: 2px 12px 2px 0 !important; }
"""


@dataclass(frozen=True)
class ClassShare:
    """A class that is in a picture."""

    name: str
    color: tuple[int, int, int] | None
    """RGB, in the overlay; None for the background, which has the picture's own colours."""
    share: float
    """Of the picture's pixels, 0 to 1."""


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture."""

    overlay: np.ndarray
    """uint8[h, w, 3], RGB: the mask over the picture, made smaller for the screen."""
    shares: list[ClassShare]
    """The largest first."""
    width: int
    """Of the picture, upright, pixels."""
    height: int
    seconds: float
    """That the model took."""


def answer(model: Model, picture: ImageFile) -> Answer:
    """Asks a model about a picture.

    Raises:
        PictureRefusedError: the model cannot take it.
    """
    started = time.perf_counter()
    (prediction,) = model.serve([picture.encoded])
    seconds = time.perf_counter() - started
    image = for_screen(picture)
    # As the picture for the screen is: of a class that is there, some pixels, and none of another.
    mask = np.asarray(Image.fromarray(prediction.mask).resize(image.size, Image.Resampling.NEAREST))
    return Answer(
        overlay=overlay(np.asarray(image), mask, model.labels),
        shares=class_shares(prediction.class_pixels, model.labels),
        width=picture.width,
        height=picture.height,
        seconds=seconds,
    )


def for_screen(picture: ImageFile) -> Image.Image:
    """The picture, RGB, with no side longer than `SHOWN_SIDE`."""
    image = picture.rgb()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BILINEAR)
    return image


def class_shares(class_pixels: np.ndarray, labels: Labels) -> list[ClassShare]:
    """The classes that are in a picture, the largest first.

    Args:
        class_pixels: int64[C].
        labels: the classes and their colours.
    """
    found = [
        ClassShare(item.name, None if index == labels.background else item.color, int(pixels) / int(class_pixels.sum()))
        for index, (item, pixels) in enumerate(zip(labels.classes, class_pixels, strict=True))
        if pixels
    ]
    return sorted(found, key=lambda item: -item.share)


def legend(told: Answer) -> str:
    """The classes in a picture with colours and shares, and the time taken, as HTML."""
    rows = "".join(
        f'<tr><td><span style="{_swatch(item.color)}"></span></td><td>{html.escape(item.name)}</td>'
        f'<td style="text-align: right">{html.escape(_percent(item.share))}</td></tr>'
        for item in told.shares
    )
    return f'<table class="legend">{rows}</table><p>{told.seconds:.2f} s for {told.width} x {told.height} pixels</p>'


def _swatch(color: tuple[int, int, int] | None) -> str:
    shape = "display: inline-block; width: 1em; height: 1em; border: 1px solid gray"
    return shape if color is None else f"{shape}; background: rgb{color}"


def _percent(share: float) -> str:
    return "< 0.1 %" if share < 0.0005 else f"{100 * share:.1f} %"


def warm_up(model: Model) -> None:
    """Has a model do what it does only the first time, so that it is not counted as the time of somebody's picture."""
    content = io.BytesIO()
    Image.new("RGB", (64, 48)).save(content, "JPEG")
    model.serve([content.getvalue()])


def page(models: Sequence[Model]) -> Any:
    """The page, as Gradio's Blocks: where a picture is dropped, and below it the picture and each model's answer.

    Args:
        models: one, or several to be compared.
    """
    import gradio as gr

    nothing = (None, "")

    def refused(why: str) -> None:
        gr.Warning(html.escape(why))

    def take(file: str) -> tuple[Any, ...]:
        """Makes way for the next file and for the answers; keeps and shows the picture, if it is one."""
        try:
            picture = read_picture(file, lenient=True)
        except DataError as error:
            # Its path is a temporary one, and says nothing. An error would leave the file where it was dropped, and in
            # the way of the next.
            refused(error.problems[0].what)
            return None, None, None, *nothing * len(models)
        return None, picture, for_screen(picture), *nothing * len(models)

    def ask(model: Model) -> Callable[[ImageFile | None], tuple[np.ndarray | None, str]]:
        def run(picture: ImageFile | None) -> tuple[np.ndarray | None, str]:
            if picture is None:
                return nothing
            try:
                told = answer(model, picture)
            except PictureRefusedError as error:
                refused(error.reason)
                return nothing
            return told.overlay, legend(told)

        return run

    def image() -> Any:
        return gr.Image(
            show_label=False, format="png", interactive=False, height=400, buttons=["download", "fullscreen"]
        )

    with gr.Blocks(title="deeplab try", analytics_enabled=False, fill_width=True) as blocks:
        dropped = gr.File(label="Picture", file_types=["image"], height=120)
        picture = gr.State()
        with gr.Row():
            with gr.Column(min_width=240):
                gr.HTML('<span class="place">Picture</span>')
                shown = image()
            answers = []
            for model in models:
                with gr.Column(min_width=240):
                    gr.HTML(f'<span class="place">{html.escape(model.place)}</span>')
                    answers.append([image(), gr.HTML()])
        step = dropped.upload(take, dropped, [dropped, picture, shown, *(part for pair in answers for part in pair)])
        for model, outputs in zip(models, answers, strict=True):
            # One after the other, whoever asks, so that no time is that of two.
            step = step.success(ask(model), picture, outputs, concurrency_limit=1, concurrency_id="model")
    return blocks


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve`.

    Args:
        host: name or address of this machine.
        port: 0 for any that is free.

    Raises:
        OSError: nobody can listen there.
    """
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def url_of(listening: socket.socket) -> str:
    """Where the page is."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(models: Sequence[Model], listening: socket.socket) -> None:
    """Serves the page until somebody presses Ctrl-C. Pictures that were dropped are deleted then.

    Args:
        models: as for `page`.
        listening: from `listen`.
    """
    with tempfile.TemporaryDirectory(prefix="deeplab-try-") as folder:
        os.environ.update(QUIET, GRADIO_TEMP_DIR=folder)
        import fastapi
        import gradio as gr
        import uvicorn

        app = fastapi.FastAPI(openapi_url=None)

        @app.middleware("http")
        async def own_origin_only(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
            response = await call_next(request)
            response.headers["Content-Security-Policy"] = OWN_ORIGIN_ONLY
            return response

        gr.mount_gradio_app(
            app,
            page(models),
            path="/",
            theme=gr.themes.Default(),  # its fonts are in the package
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
        )
        # Open pages hold a connection each.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
