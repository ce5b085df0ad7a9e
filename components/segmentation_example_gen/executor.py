"""SegmentationExampleGen's executor: pairs to TFRecord files, in parallel, in an order that depends only on the ids."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from PIL import Image
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.artifacts.names import FINGERPRINT
from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen import problem_page
from components.segmentation_example_gen.dataset import handed_on_dataset, quarantine
from components.segmentation_example_gen.driver import EXAMPLES
from components.segmentation_example_gen.pairs import Pair, Sample, problems_of, read_pair
from components.segmentation_example_gen.sources import DATA
from components.tf_example import to_tf_example
from schema import features
from schema.labels import IGNORE_LABEL, Labels
from trainer.common.files import name

PROBLEMS = "problems"
PAYLOAD_FORMAT = "payload_format"
FILE_FORMAT = "file_format"
"""TFX's names of the examples' custom properties, by which its components find their reader."""
PAIRS_PER_SHARD = 256
"""Some 25 MB of VOC pictures: small enough to spread over workers, large enough to read without a pause."""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file and what goes into it."""

    path: str
    split: str
    pairs: tuple[Pair, ...]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes `<examples>/Split-<name>/data_tfrecord-*` for each split, and what is wrong with the data."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads, checks and writes every pair.

        Raises:
            DataError: more pairs are not sound than may be left out; all are named, and nothing is published.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        source = DATA.validate_json(exec_properties["data"])
        dataset = handed_on_dataset(source, exec_properties.get(FINGERPRINT))
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        examples.split_names = artifact_utils.encode_split_names(sorted(dataset.splits))
        # TFX's one name for TFRecords. JPEGs do not get smaller by gzip, so these are plain; readers, TFX's and ours,
        # go by the end of a file's name.
        examples.set_string_custom_property(FILE_FORMAT, "tfrecords_gzip")
        payload_format = example_gen_pb2.PayloadFormat.Name(example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples.set_string_custom_property(PAYLOAD_FORMAT, payload_format)
        examples.set_string_custom_property(FINGERPRINT, exec_properties.get(FINGERPRINT, ""))

        shards = []
        for split, pairs in dataset.splits.items():
            directory = artifact_utils.get_split_uri([examples], split)
            tf.io.gfile.makedirs(directory)
            shards += split_into_shards(pairs, split, directory)
        problem_file = os.path.join(self._get_tmp_dir(), "problems")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards)
                | "Spread" >> beam.Reshuffle()
                | "WriteShards" >> beam.FlatMap(write_shard, labels=source.labels)
                | "AsText" >> beam.Map(lambda problem: json.dumps(problem.as_dict()))
                | "WriteProblems" >> beam.io.WriteToText(problem_file, num_shards=1, shard_name_template="")
            )
        with tf.io.gfile.GFile(problem_file) as lines:
            found = [Problem(**json.loads(line)) for line in lines.read().splitlines()]
        problems = sorted([*dataset.problems, *found], key=lambda problem: (problem.split, problem.where, problem.what))
        try:
            quarantine(dataset, problems, source.max_quarantined)
        except DataError:
            problem_page.write(problems, dataset, exec_properties["problem_folder"])
            raise
        problem_page.write(problems, dataset, artifact_utils.get_single_uri(output_dict[PROBLEMS]))


def split_into_shards(pairs: list[Pair], split: str, directory: str) -> list[Shard]:
    """Deals the pairs out to files, in the order of their ids' hashes, so that every file is a mixture."""
    mixed = sorted(pairs, key=lambda pair: hashlib.blake2b(pair.id.encode(), digest_size=8).digest())
    count = -(-len(mixed) // PAIRS_PER_SHARD)
    return [
        Shard(os.path.join(directory, f"data_tfrecord-{index:05d}-of-{count:05d}"), split, tuple(mixed[index::count]))
        for index in range(count)
    ]


def write_shard(shard: Shard, labels: Labels) -> Iterator[Problem]:
    """Writes one TFRecord file and yields what is wrong with its pairs, which are left out of it."""
    with tf.io.TFRecordWriter(shard.path) as writer:
        for pair in shard.pairs:
            try:
                sample = read_pair(pair, labels)
            except DataError as error:
                yield from problems_of(pair, shard.split, error)
                continue
            writer.write(to_example(pair, sample, labels).SerializeToString(deterministic=True))


def to_example(pair: Pair, sample: Sample, labels: Labels) -> tf.train.Example:
    """A sound pair as a tf.Example with the keys of `schema.features`."""
    picture = sample.picture
    values: dict[str, Any] = {
        features.IMAGE_ENCODED: picture.encoded,
        features.IMAGE_FILENAME: name(pair.image).encode(),
        features.IMAGE_FORMAT: picture.format.encode(),
        features.IMAGE_HEIGHT: picture.height,
        features.IMAGE_WIDTH: picture.width,
        features.IMAGE_ASPECT_RATIO: picture.width / picture.height,
        features.IMAGE_CHANNELS: picture.channels,
        features.IMAGE_SOURCE_ID: pair.id.encode(),
    }
    if pair.span is not None:
        values[features.SPAN] = pair.span
    if sample.mask is not None:
        values |= _label_features(sample.mask, labels)
    return to_tf_example(values)


def _label_features(mask: np.ndarray, labels: Labels) -> Mapping[str, Any]:
    counts = np.bincount(mask.ravel(), minlength=256)
    present = {item.name: counts[index] for index, item in enumerate(labels.classes) if counts[index]}
    png = io.BytesIO()
    # Of zlib's strategies the one of runs makes the smallest masks in the shortest time.
    Image.fromarray(mask).save(png, "PNG", compress_type=zlib.Z_RLE)
    return {
        features.LABEL_ENCODED: png.getvalue(),
        features.LABEL_FORMAT: b"png",
        features.LABEL_PIXELS: counts[: len(labels.classes)],
        features.LABEL_VOID_PIXELS: counts[IGNORE_LABEL],
        features.LABEL_VOID_SHARE: counts[IGNORE_LABEL] / mask.size,
        features.LABEL_CLASSES: [class_name.encode() for class_name in present],
        features.LABEL_CLASS_COUNT: len(present),
        **{features.label_pixels_of(class_name): count for class_name, count in present.items()},
    }
