"""LiteRT (TensorFlow Lite): for phones and small computers, in floats or quantised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from components.artifacts.exports import FormatName

if TYPE_CHECKING:
    from trainer.serving.conversion import Canvas, CanvasSegmenter

FILE = "model.tflite"


def convert(name: FormatName, segmenter: CanvasSegmenter, calibration: Iterable[Canvas]) -> bytes:
    """Converts the network: RGB uint8[1, S, S, 3] -> class indices int32[1, S, S].

    `litert_dynamic` stores kernels in 8 bits, `litert_float16` in 16; what goes between layers is floats. `litert_int8`
    computes in integers throughout, for which the ranges of all features are measured on some pictures
    (arXiv:1712.05877), and biases are corrected by what rounding does to the features' means there (arXiv:1906.04721).

    Args:
        name: of the format.
        segmenter: the network.
        calibration: pictures for `litert_int8`, gone through twice; the others do not look at them.

    Raises:
        ValueError: there are none to calibrate on.
    """
    quantised = name == "litert_int8"
    function = segmenter.for_8_bits(calibration).from_floats if quantised else segmenter.from_bytes
    # Without the object that holds the variables they become constants; with it they stay variables, which the
    # interpreter finds empty, and which cannot be quantised.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    if name != "litert_float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "litert_float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantised:
        converter.representative_dataset = lambda: _representative(calibration, segmenter)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    return converter.convert()


def _representative(calibration: Iterable[Canvas], segmenter: CanvasSegmenter) -> Iterator[list[np.ndarray]]:
    # A bin of image pooling may have nothing but padding, though none of the pictures show it.
    extremes = np.full([1, segmenter.size, segmenter.size, 3], segmenter.padding_color, np.float32)
    # A black and a white pixel: with the whole range an input's byte is quantised as itself.
    extremes[0, -1, -2:] = [[0], [255]]
    yield [extremes]
    none = True
    for canvas in calibration:
        none = False
        yield [canvas.pixels[np.newaxis].astype(np.float32)]
    if none:
        raise ValueError("there are no training pictures to calibrate on")


def load(contents: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a file: RGB uint8[1, S, S, 3] -> class indices int32[1, S, S].

    Raises:
        ValueError: the interpreter cannot run it, or its input and output are others.
    """
    interpreter = tf.lite.Interpreter(model_content=contents, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (image,), (mask,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = (image["dtype"], mask["dtype"], image["quantization"])
    if found[:2] != (np.uint8, np.int32) or found[2] not in ((0.0, 0), (1.0, 0)):
        raise ValueError(f"input, output and the input's scale and zero are {found}, wanted are uint8, int32 and bytes")

    def run(canvas: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(image["index"], canvas)
        interpreter.invoke()
        return interpreter.get_tensor(mask["index"])

    return run
