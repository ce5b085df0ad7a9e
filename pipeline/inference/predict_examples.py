"""Predicts the pictures of TFRecords by Beam on this machine."""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.artifacts.predictions import MASK_FILES
from components.bulk_inferrer.inference import Inference, predict_masks
from components.shared_model import SharedModel
from pipeline.config.sections import Beam
from pipeline.inference.saved_model import fetched_model, loaded_model
from schema import features
from trainer.common import files

_OS_ERROR = re.compile(r"\w*Error: \[Errno (?P<number>\d+)\] (?P<reason>[^\[:]+?)( \[while|:|$)")


@dataclass(frozen=True)
class PredictedExamples:
    """What has become of the pictures."""

    model: str
    """Path or URI of the version that was asked."""
    inference: Inference
    seconds: float
    """That Beam took for all of them; the loading of the model is not in it."""


def predict_examples(place: str, paths: list[str], output: str) -> PredictedExamples:
    """Predicts TFRecords, and writes what `predict_masks` says. Masks that are in the folder already are replaced
    once all are there, and stay if not one picture could be predicted.

    Args:
        place: of a model, as for `open_model`.
        paths: of TFRecord files.
        output: folder of this machine, which is made.

    Raises:
        ModelError: there is no model that could be used.
        OSError: the output folder cannot be written.
        KeyboardInterrupt: somebody stopped it; the folder is as it was.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    with fetched_model(place) as fetched, tempfile.TemporaryDirectory(prefix=files.INCOMING, dir=output) as incoming:
        shared = SharedModel(fetched.folder)
        # As long as it is kept, Beam's steps, which run in this process, get the same.
        model = loaded_model(fetched, shared.load, features.EXAMPLES_SIGNATURE)
        started = time.perf_counter()
        pipeline = beam.Pipeline(options=PipelineOptions(list(Beam().pipeline_args)))
        try:
            inference = predict_masks(pipeline, paths, shared, incoming)
        except RuntimeError as error:
            # Beam makes such an error of whatever ends a step, and tells in its text what it was.
            if str(error).startswith(KeyboardInterrupt.__name__):
                raise KeyboardInterrupt from error
            if failed := _OS_ERROR.match(str(error)):
                # Reading has errors of TensorFlow's, so it is writing that has failed.
                raise OSError(int(failed["number"]), failed["reason"], output) from error
            raise
        seconds = time.perf_counter() - started
        if inference.predicted or not inference.problems:
            new = [file.rename(Path(output, file.name)) for file in Path(incoming).iterdir()]
            # There may have been more of them.
            for file in set(Path(output).glob(MASK_FILES)).difference(new):
                file.unlink()
        return PredictedExamples(model.place, inference, seconds)
