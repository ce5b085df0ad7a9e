"""TFRecords to batches: read, shuffled, put through Transform's own graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from trainer import augmentation, features


def training_batches(
    file_patterns: list[str],
    transform_graph: tft.TFTransformOutput,
    *,
    batch_size: int,
    shuffle_buffer: int,
    seed: int,
) -> tf.data.Dataset:
    """Endless shuffled batches of the training split.

    Args:
        file_patterns: of the TFRecord files.
        transform_graph: Transform's output.
        batch_size: pictures per batch.
        shuffle_buffer: encoded pictures to draw the next one from.
        seed: the same seed gives the same batches in the same order.

    Returns:
        Batches of ((image float32[N, S, S, 3], content_size int64[N, 2], draws float32[N, DRAWS]),
        label int64[N, S, S]); the draws are the augmentation's random numbers, a function of seed and batch number.
    """
    spec = _read_features(transform_graph, [features.IMAGE_ENCODED, features.LABEL_ENCODED])

    def transform(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        return transform_graph.transform_raw_features(tf.io.parse_example(serialized, spec))

    def with_draws(number: tf.Tensor, batch: dict[str, tf.Tensor]):
        draws = tf.random.stateless_uniform([batch_size, augmentation.DRAWS], seed=[seed, number])
        return (batch[features.IMAGE], batch[features.CONTENT_SIZE], draws), batch[features.LABEL]

    files = tf.data.Dataset.list_files(file_patterns, shuffle=False)
    return (
        tf.data.TFRecordDataset(files)
        .shuffle(shuffle_buffer, seed=seed)
        .repeat()
        .batch(batch_size, drop_remainder=True)
        .map(transform, num_parallel_calls=tf.data.AUTOTUNE)
        .enumerate()
        .map(with_draws, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


@dataclass(frozen=True)
class TrainingTotals:
    """What Transform has counted over the whole training split."""

    pictures: int
    class_pixels: np.ndarray
    """int64[C]: pixels of each class."""


def training_totals(file_patterns: list[str], transform_graph: tft.TFTransformOutput) -> TrainingTotals:
    """Reads Transform's counts; they are the same for every example, so one is put through its graph."""
    files = tf.data.Dataset.list_files(file_patterns, shuffle=False)
    example = next(iter(tf.data.TFRecordDataset(files).batch(1)))
    parsed = tf.io.parse_example(example, transform_graph.raw_feature_spec())
    transformed = transform_graph.transform_raw_features(parsed)
    return TrainingTotals(
        pictures=int(transformed[features.TRAIN_PICTURES][0]),
        class_pixels=transformed[features.TRAIN_CLASS_PIXELS][0].numpy(),
    )


def _read_features(transform_graph: tft.TFTransformOutput, keys: list[str]) -> dict[str, tf.io.FixedLenFeature]:
    """The parsing specification of some of the raw features."""
    specification = transform_graph.raw_feature_spec()
    return {key: specification[key] for key in keys}
