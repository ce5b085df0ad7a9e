"""From TFRecords of pictures to TFRecords of masks, on Beam. The component and `deeplab predict` share it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import tensorflow as tf
from apache_beam.metrics import Metrics, MetricsFilter
from google.protobuf.message import DecodeError
from PIL import Image

from components.artifacts.predictions import PREDICTIONS, PREDICTIONS_SUFFIX, PROBLEMS_FILE
from components.artifacts.problems import Problem
from components.shared_model import SharedModel
from components.tf_example import to_tf_example
from schema import features
from schema.labels import LABELS_FILE
from trainer.common import files
from trainer.common.tensorflow_errors import PictureRefusedError, in_words, picture_refusals

COPIED = (features.IMAGE_SOURCE_ID, features.IMAGE_FILENAME)
"""Features of a picture that tell whose mask it is, as far as it has them."""
_REFUSED = "refused"
_PREDICTED = Metrics.counter("bulk_inferrer", "predicted")


@dataclass(frozen=True)
class Inference:
    """What has become of the pictures."""

    predicted: int
    """How many have a mask."""
    problems: tuple[Problem, ...]
    """Why the others have none."""


def predict_masks(pipeline: beam.Pipeline, paths: Sequence[str], model: SharedModel, output: str) -> Inference:
    """Runs a pipeline that predicts the pictures of TFRecords.

    Args:
        pipeline: an empty one, which says where it runs.
        paths: or URIs of the TFRecord files; those that end in .gz are gzipped.
        model: with the signature `examples`.
        output: folder or URI. What is written to it, `outputs` says.

    Returns:
        What has become of the pictures. None is lost: each has a mask, or is a problem.

    Raises:
        OSError: the folder cannot be written.
    """
    labels = files.read_bytes(files.join(model.folder, LABELS_FILE))
    files.write_bytes(files.join(output, files.name(LABELS_FILE)), labels)
    with pipeline:
        _ = pipeline | "Files" >> beam.Create(paths) | "PredictMasks" >> PredictMasks(model, output)
    place = files.join(output, PROBLEMS_FILE)
    # Beam writes in no order.
    lines = sorted(files.read_bytes(place).splitlines())
    files.write_bytes(place, b"".join(line + b"\n" for line in lines))
    counters = pipeline.result.metrics().query(MetricsFilter().with_metric(_PREDICTED))["counters"]
    return Inference(sum(counter.result for counter in counters), tuple(Problem(**json.loads(line)) for line in lines))


class PredictMasks(beam.PTransform):
    """Paths of TFRecord files of pictures to files of their masks, and of what is wrong with those that have none.

    Args:
        model: with the signature `examples`.
        output: folder or URI that is written to.
    """

    def __init__(self, model: SharedModel, output: str):
        super().__init__()
        self._model = model
        self._output = output

    def expand(self, paths: beam.PCollection) -> None:
        results = (
            paths
            | "Spread" >> beam.Reshuffle()
            | "Predict" >> beam.ParDo(_Predict(self._model)).with_outputs(_REFUSED, main=PREDICTIONS)
        )
        _ = results[PREDICTIONS] | "WriteMasks" >> beam.io.WriteToTFRecord(
            files.join(self._output, PREDICTIONS), file_name_suffix=PREDICTIONS_SUFFIX
        )
        _ = (
            results[_REFUSED]
            | "AsText" >> beam.Map(lambda problem: json.dumps(problem.as_dict()))
            | "WriteProblems"
            >> beam.io.WriteToText(files.join(self._output, PROBLEMS_FILE), num_shards=1, shard_name_template="")
        )


class _Predict(beam.DoFn):
    """Pictures go through one by one: the model takes them so in any case, and a bad one stops no other."""

    def __init__(self, model: SharedModel):
        self._model = model

    def setup(self) -> None:
        self._loaded = self._model.load()
        self._signature = self._loaded.signatures[features.EXAMPLES_SIGNATURE]

    def process(self, path: str) -> Iterator[bytes | beam.pvalue.TaggedOutput]:
        for number, record in enumerate(_records(path), start=1):
            result = record if isinstance(record, Problem) else self._predict(record, f"{path}, record {number}")
            if isinstance(result, Problem):
                yield beam.pvalue.TaggedOutput(_REFUSED, result)
            else:
                _PREDICTED.inc()
                yield result

    def _predict(self, record: bytes, where: str) -> bytes | Problem:
        try:
            given = tf.train.Example.FromString(record).features.feature
        except DecodeError:
            return Problem(where, f"{len(record)} bytes that are no tf.Example")
        known = {key: given[key].bytes_list.value[0] for key in COPIED if key in given and given[key].bytes_list.value}
        # The most telling of them; others' pictures have names alone.
        picture_id = next(iter(known.values()), b"").decode(errors="replace")
        try:
            with picture_refusals():
                answer = self._signature(examples=tf.constant([record]))
        except PictureRefusedError as error:
            what = f"{picture_id}: {error.reason}" if picture_id else error.reason
            return Problem(where, what, pair=picture_id)
        (mask,) = answer[features.MASK].numpy()
        width, height = Image.open(io.BytesIO(mask)).size
        return to_tf_example(
            {
                **known,
                features.IMAGE_HEIGHT: height,
                features.IMAGE_WIDTH: width,
                features.LABEL_ENCODED: mask,
                features.LABEL_FORMAT: b"png",
                features.LABEL_PIXELS: answer[features.CLASS_PIXELS].numpy()[0],
            }
        ).SerializeToString(deterministic=True)


def _records(path: str) -> Iterator[bytes | Problem]:
    """The records of a file, up to where it is damaged; then what is wrong with it."""
    count = 0
    try:
        for record in tf.data.TFRecordDataset(path, "GZIP" if path.endswith(".gz") else "").as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.OpError as error:
        yield Problem(path, f"cannot be read after {count} records, those behind are lost: {in_words(error.message)}")
