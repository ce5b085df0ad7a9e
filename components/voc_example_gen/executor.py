"""VocExampleGen's executor: pairs to TFRecord files, in parallel, in an order that depends on the ids alone."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from PIL import Image
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.voc_example_gen import devkit
from components.voc_example_gen.driver import read_splits
from trainer import features
from trainer.voc import IGNORE_LABEL

PAIRS_PER_SHARD = 256
"""Some 25 MB of VOC pictures: small enough to spread over workers, large enough to read without a pause."""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file and what goes into it."""

    path: str
    pairs: tuple[devkit.Pair, ...]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes `<examples>/Split-<name>/data_tfrecord-*` for each split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads, checks and writes every pair.

        Raises:
            DataError: naming every pair that is not sound; nothing is published then.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        splits = read_splits(exec_properties)
        examples.split_names = artifact_utils.encode_split_names(sorted(splits))
        # TFX's one name for TFRecords. JPEGs do not get smaller by gzip, so these are plain; readers, TFX's and ours,
        # go by the end of a file's name.
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        examples.set_string_custom_property(
            utils.FINGERPRINT_PROPERTY_NAME, exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME, "")
        )

        shards = []
        for name, pairs in splits.items():
            directory = artifact_utils.get_split_uri([examples], name)
            tf.io.gfile.makedirs(directory)
            shards += split_into_shards(pairs, directory)
        problem_file = os.path.join(self._get_tmp_dir(), "problems")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards)
                | "Spread" >> beam.Reshuffle()
                | "WriteShards" >> beam.FlatMap(write_shard, num_classes=exec_properties["num_classes"])
                | "WriteProblems" >> beam.io.WriteToText(problem_file, num_shards=1, shard_name_template="")
            )
        with tf.io.gfile.GFile(problem_file) as lines:
            problems = sorted(lines.read().splitlines())
        if problems:
            raise devkit.DataError(*problems)


def split_into_shards(pairs: list[devkit.Pair], directory: str) -> list[Shard]:
    """Deals the pairs out to files, in the order of their ids' hashes, so that every file is a mixture."""
    mixed = sorted(pairs, key=lambda pair: hashlib.blake2b(pair.id.encode(), digest_size=8).digest())
    count = -(-len(mixed) // PAIRS_PER_SHARD)
    return [
        Shard(os.path.join(directory, f"data_tfrecord-{index:05d}-of-{count:05d}"), tuple(mixed[index::count]))
        for index in range(count)
    ]


def write_shard(shard: Shard, num_classes: int) -> Iterator[str]:
    """Writes one TFRecord file and yields what is wrong with its pairs, one line each."""
    with tf.io.TFRecordWriter(shard.path) as writer:
        for pair in shard.pairs:
            try:
                sample = devkit.read_pair(pair, num_classes)
            except devkit.DataError as error:
                yield from error.problems
                continue
            writer.write(to_example(pair, sample, num_classes).SerializeToString(deterministic=True))


def to_example(pair: devkit.Pair, sample: devkit.Sample, num_classes: int) -> tf.train.Example:
    """A sound pair as a tf.Example with the keys of `trainer.features`."""
    height, width = sample.mask.shape
    counts = np.bincount(sample.mask.ravel(), minlength=256)
    png = io.BytesIO()
    Image.fromarray(sample.mask).save(png, "PNG", optimize=True)
    values = {
        features.IMAGE_ENCODED: sample.jpeg,
        features.IMAGE_FILENAME: pair.image.name.encode(),
        features.IMAGE_FORMAT: b"jpeg",
        features.IMAGE_HEIGHT: height,
        features.IMAGE_WIDTH: width,
        features.IMAGE_CHANNELS: sample.channels,
        features.IMAGE_SOURCE_ID: pair.id.encode(),
        features.LABEL_ENCODED: png.getvalue(),
        features.LABEL_FORMAT: b"png",
        features.LABEL_PIXELS: counts[:num_classes],
        features.LABEL_VOID_PIXELS: counts[IGNORE_LABEL],
    }
    return tf.train.Example(features=tf.train.Features(feature={key: _feature(value) for key, value in values.items()}))


def _feature(value: bytes | int | np.ndarray) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=np.atleast_1d(value)))
