"""One batch for several devices: the GPUs of this machine, or of all the machines that TF_CONFIG names."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

STEP_TIMEOUT_S = 600
"""How long a worker waits for the others' part of a step. The first one includes that each traces its own."""


def strategy() -> tf.distribute.Strategy:
    """How the devices there are share a batch; with one device, TensorFlow's default, which changes nothing.

    For several workers it must be called before TensorFlow has computed anything, and it waits for all of them.
    """
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    if sum(map(len, cluster.values())) > 1:
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=STEP_TIMEOUT_S)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the model."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type == first and resolver.task_id == 0


def gather(values: tf.Tensor) -> tf.Tensor:
    """The tensors of all replicas together along the first axis; to be called where a replica computes."""
    context = tf.distribute.get_replica_context()
    return values if context.num_replicas_in_sync == 1 else context.all_gather(values, axis=0)


def train_function(training: keras.Model, strategy: tf.distribute.Strategy) -> Callable:
    """What `fit` calls for each step. Keras' own reduces the logs in a way that fails with several workers.

    Args:
        training: compiled.
        strategy: in whose scope its variables were made.
    """

    @tf.function
    def step(iterator):
        logs = strategy.run(training.train_step, args=(next(iterator),))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    return step
