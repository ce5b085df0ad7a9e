"""TFRecords to batches: read, shuffled, put through Transform's own graph.

The order of training is a function of the seed and the step alone: each epoch is shuffled by a seed of its own, so that
training can go on in the middle without reading what came before the epoch that it is in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from trainer.data.augmentation import DRAWS
from trainer.data.preprocessing import unpacked

PREFETCHED = 4
"""Batches that wait for the training step."""
_PROCESSORS = len(os.sched_getaffinity(0))


def _options() -> tf.data.Options:
    """Without tf.data's tuning: it would take memory for ever longer queues, and keeps the end of an iteration waiting,
    for up to a minute, until it wakes up."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def training_batches(
    file_patterns: list[str],
    transform_graph: tft.TFTransformOutput,
    *,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    first_step: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches of the training split, or the shares in them of one worker's replicas.

    Args:
        file_patterns: of the TFRecord files.
        transform_graph: Transform's output.
        batch_size: pictures per batch, of all replicas together.
        shuffle_buffer: encoded pictures to draw the next one from.
        seed: the same seed gives the same batches in the same order.
        first_step: which batch comes first; those before it are left out, and the rest is what it would have been.
        context: how many replicas and workers there are, and which worker this is. Without it, one.

    Returns:
        Batches of ((canvas uint8[N, S, S, 3], content_size int64[N, 2], draws float32[N, DRAWS]),
        label uint8[N, S, S]); the draws are the augmentation's random numbers, a function of seed and batch number.
        Of several replicas, each takes the next batch in turn, of N = batch_size / replicas.

    Raises:
        ValueError: the batch cannot be dealt out evenly.
    """
    context = context or tf.distribute.InputContext()
    replicas = context.num_replicas_in_sync
    share = batch_size // replicas
    if share * replicas != batch_size:
        raise ValueError(f"hps.batch_size is {batch_size}, which cannot be dealt out evenly to {replicas} replicas")
    transform = _Transform(transform_graph)

    def is_for_this_worker(number: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return number % replicas * context.num_input_pipelines // replicas == context.input_pipeline_id

    def to_batch(number: tf.Tensor, serialized: tf.Tensor):
        step, replica = number // replicas, number % replicas
        draws = augmentation_draws(batch_size, seed, step)[replica * share : (replica + 1) * share]
        canvas, content_size, label, _ = transform(serialized)
        return (canvas, content_size, draws), label

    records = training_records(
        file_patterns,
        shuffle_buffer=shuffle_buffer,
        seed=seed,
        first=first_step * batch_size,
        # Only what was read before has to be counted.
        pictures=training_totals(file_patterns, transform_graph).pictures if first_step else None,
    )
    # Every worker reads and shuffles everything, which is cheap, and decodes only its share, which is not: so the
    # batches are the same pictures however many share them.
    return (
        records.batch(share, drop_remainder=True)
        .enumerate(start=first_step * replicas)
        .filter(is_for_this_worker)
        .map(to_batch, num_parallel_calls=_PROCESSORS)
        .prefetch(PREFETCHED)
        .with_options(_options())
    )


def batch_ids(
    file_patterns: list[str],
    transform_graph: tft.TFTransformOutput,
    *,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
    step: int,
) -> list[str]:
    """The ids of the pictures in one step's batch, read again from their files in the order of training.

    Args:
        file_patterns: of the TFRecord files.
        transform_graph: Transform's output.
        batch_size: pictures per batch, of all replicas together.
        shuffle_buffer: as in training.
        seed: as in training.
        step: which batch, counted from 0.
    """
    records = training_records(
        file_patterns,
        shuffle_buffer=shuffle_buffer,
        seed=seed,
        first=step * batch_size,
        pictures=training_totals(file_patterns, transform_graph).pictures,
    )
    ids = ids_of(next(iter(records.batch(batch_size))))
    return [picture_id.decode() for picture_id in ids.numpy()]


def evaluation_batches(
    file_patterns: list[str], transform_graph: tft.TFTransformOutput, *, batch_size: int, pictures: int | None = None
) -> tf.data.Dataset:
    """One pass over labelled pictures, in the order of their files; the last batch may be smaller.

    Args:
        file_patterns: of the TFRecord files.
        transform_graph: Transform's output.
        batch_size: pictures per batch.
        pictures: how many are taken, the first ones; None for all.

    Returns:
        Batches of ((canvas uint8[N, S, S, 3], content_size int64[N, 2]), label uint8[N, S, S], ids string[N]).
    """
    transform = _Transform(transform_graph)

    def to_batch(serialized: tf.Tensor):
        canvas, content_size, label, ids = transform(serialized)
        return (canvas, content_size), label, ids

    return (
        tf.data.TFRecordDataset(_files(file_patterns))
        .take(-1 if pictures is None else pictures)
        .batch(batch_size)
        .map(to_batch, num_parallel_calls=_PROCESSORS)
        .prefetch(PREFETCHED)
        .with_options(_options())
    )


def training_records(
    file_patterns: list[str], *, shuffle_buffer: int, seed: int, first: int = 0, pictures: int | None = None
) -> tf.data.Dataset:
    """The serialised examples of training, epoch after epoch without end; each epoch has every picture once.

    Args:
        file_patterns: of the TFRecord files.
        shuffle_buffer: pictures to draw the next one from.
        seed: with the epoch's number it decides on the epoch's order, and nothing else does.
        first: how many pictures are left out at the beginning.
        pictures: how many there are in an epoch; needed if some are left out.
    """
    files = _files(file_patterns)
    epoch, left_out = divmod(first, pictures) if pictures else (0, first)

    def shuffled(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone: without it, the seed of the whole process would come into the order.
        tf.random.set_seed(seed % (2**31 - 2) + 1)
        names = tf.data.Dataset.from_tensor_slices(files)
        names = names.shuffle(len(files), seed=epoch, reshuffle_each_iteration=False)
        records = tf.data.TFRecordDataset(names)
        return records.shuffle(shuffle_buffer, seed=epoch, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(epoch, tf.int64.max).flat_map(shuffled).skip(left_out)


def augmentation_draws(batch_size: int, seed: int, step: int | tf.Tensor) -> tf.Tensor:
    """float32[batch_size, DRAWS]: the random numbers of one step's augmentation, a function of seed and step alone."""
    return tf.random.stateless_uniform([batch_size, DRAWS], seed=[seed, step])


def ids_of(serialized: tf.Tensor) -> tf.Tensor:
    """The ids of serialised examples, string[N] -> string[N]."""
    key = features.IMAGE_SOURCE_ID
    return tf.io.parse_example(serialized, {key: tf.io.FixedLenFeature([], tf.string)})[key]


@dataclass(frozen=True)
class TrainingTotals:
    """What Transform has counted over the whole training split."""

    pictures: int
    class_pixels: np.ndarray
    """int64[C]: pixels of each class."""


def training_totals(file_patterns: list[str], transform_graph: tft.TFTransformOutput) -> TrainingTotals:
    """Reads Transform's counts; they are the same for every example, so one is put through its graph."""
    example = next(iter(tf.data.TFRecordDataset(_files(file_patterns)).batch(1)))
    parsed = tf.io.parse_example(example, transform_graph.raw_feature_spec())
    transformed = transform_graph.transform_raw_features(parsed)
    return TrainingTotals(
        pictures=int(transformed[features.TRAIN_PICTURES][0]),
        class_pixels=transformed[features.TRAIN_CLASS_PIXELS][0].numpy(),
    )


class _Transform:
    """Serialised labelled examples string[N] to bytes, by Transform's graph; what is not asked for is not computed."""

    def __init__(self, graph: tft.TFTransformOutput):
        self._layer = graph.transform_features_layer()
        specification = graph.raw_feature_spec()
        self._specification = {key: specification[key] for key in (features.IMAGE_ENCODED, features.LABEL_ENCODED)}

    def __call__(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Canvases uint8[N, S, S, 3], their content sizes int64[N, 2], labels uint8[N, S, S], ids string[N]."""
        batch = self._layer(tf.io.parse_example(serialized, self._specification))
        canvas = unpacked(batch[features.PACKED_IMAGE], 3)
        return canvas, batch[features.CONTENT_SIZE], unpacked(batch[features.PACKED_LABEL]), ids_of(serialized)


def _files(patterns: list[str]) -> list[str]:
    """The files, in the order of their names."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
