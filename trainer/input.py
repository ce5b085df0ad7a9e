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
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches of the training split, or the shares in them of one worker's replicas.

    Args:
        file_patterns: of the TFRecord files.
        transform_graph: Transform's output.
        batch_size: pictures per batch, of all replicas together.
        shuffle_buffer: encoded pictures to draw the next one from.
        seed: the same seed gives the same batches in the same order.
        context: how many replicas and workers there are, and which worker this is. Without it, one.

    Returns:
        Batches of ((image float32[N, S, S, 3], content_size int64[N, 2], draws float32[N, DRAWS]),
        label int64[N, S, S]); the draws are the augmentation's random numbers, a function of seed and batch number.
        Of several replicas, each takes the next batch in turn, of N = batch_size / replicas.

    Raises:
        ValueError: the batch cannot be dealt out evenly.
    """
    context = context or tf.distribute.InputContext()
    replicas = context.num_replicas_in_sync
    share = batch_size // replicas
    if share * replicas != batch_size:
        raise ValueError(f"hps.batch_size is {batch_size}, which cannot be dealt out evenly to {replicas} replicas")
    spec = _read_features(transform_graph, [features.IMAGE_ENCODED, features.LABEL_ENCODED])

    def is_for_this_worker(number: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return number % replicas * context.num_input_pipelines // replicas == context.input_pipeline_id

    def transform(number: tf.Tensor, serialized: tf.Tensor):
        step, replica = number // replicas, number % replicas
        draws = tf.random.stateless_uniform([batch_size, augmentation.DRAWS], seed=[seed, step])
        draws = draws[replica * share : (replica + 1) * share]
        batch = transform_graph.transform_raw_features(tf.io.parse_example(serialized, spec))
        return (batch[features.IMAGE], batch[features.CONTENT_SIZE], draws), batch[features.LABEL]

    files = tf.data.Dataset.list_files(file_patterns, shuffle=False)
    # Every worker reads and shuffles everything, which is cheap, and decodes only its share, which is not: so the
    # batches are the same pictures however many share them.
    return (
        tf.data.TFRecordDataset(files)
        .shuffle(shuffle_buffer, seed=seed)
        .repeat()
        .batch(share, drop_remainder=True)
        .enumerate()
        .filter(is_for_this_worker)
        .map(transform, num_parallel_calls=tf.data.AUTOTUNE)
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
