"""ONNX: for ONNX Runtime and what else reads it. It takes packages that are installed only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from components.artifacts.exports import FormatName

if TYPE_CHECKING:
    from trainer.serving.conversion import Canvas, CanvasSegmenter

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
INPUT = "image"
OPSET = 17
"""The version of ONNX's operators: of 2022, so that runtimes from 1.12 on read it."""


class MissingPackagesError(RuntimeError):
    """What makes and runs ONNX files is not installed; the message says what to do."""


def require_packages() -> None:
    """Makes sure that ONNX files can be made here.

    Raises:
        MissingPackagesError: they cannot.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MissingPackagesError(
            f"the format onnx needs {', '.join(missing)}, which this environment lacks; set it up with "
            "`tools/make-venv requirements/onnx.txt`, or take onnx out of export.formats"
        )


def convert(name: FormatName, segmenter: CanvasSegmenter, calibration: Iterable[Canvas]) -> bytes:
    """Converts the network: `image`, RGB uint8[1, S, S, 3], to class indices int32[1, S, S].

    Args:
        name: of the format; there is one.
        segmenter: the network.
        calibration: not looked at.

    Raises:
        MissingPackagesError: the converter is not installed.
    """
    require_packages()
    function = segmenter.from_bytes
    model, _ = import_module("tf2onnx").convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    return model.SerializeToString()


def load(contents: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a file: RGB uint8[1, S, S, 3] -> class indices int32[1, S, S].

    Raises:
        MissingPackagesError: ONNX Runtime is not installed.
    """
    require_packages()
    runtime: Any = import_module("onnxruntime")
    session = runtime.InferenceSession(contents, providers=["CPUExecutionProvider"])

    def run(canvas: np.ndarray) -> np.ndarray:
        (mask,) = session.run(None, {INPUT: canvas})
        return mask

    return run
