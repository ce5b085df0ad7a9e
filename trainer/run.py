"""Trainer's door: builds DeepLabV3+, trains it and writes the SavedModel."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import devices, losses, signatures
from trainer.input import training_batches, training_totals
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import Weights, WeightsError, read_weights, transfer
from trainer.progress import ProgressLogger
from trainer.settings import NAMED_WEIGHTS, TrainerSettings
from trainer.tensorflow_kernels import with_tensorflow_kernels
from trainer.training import AugmentedTraining, StopOnDivergence, optimizer

KERAS_FILE = "deeplabv3plus.keras"


def run_fn(fn_args: FnArgs) -> None:
    """Trains on the training split; writes the SavedModel to `serving_model_dir` and a Keras file to `model_run_dir`.

    Args:
        fn_args: TFX's; `custom_config["settings"]` is a `TrainerSettings` as a dictionary.
    """
    # First of all: several workers must meet before TensorFlow computes anything.
    strategy = devices.strategy()
    settings = TrainerSettings.model_validate(fn_args.custom_config["settings"])
    if fn_args.base_model:
        # The pipeline gives one only where `train.warm_start` asks for it.
        logging.info("training starts from the weights of %s", fn_args.base_model)
        start = settings.train.model_copy(update={"init_from": fn_args.base_model})
        settings = settings.model_copy(update={"train": start})
    transform_graph = tft.TFTransformOutput(fn_args.transform_output)
    try:
        network = train(settings, fn_args.train_files, transform_graph, strategy)
    except WeightsError as error:
        if not fn_args.base_model:
            raise
        raise WeightsError(
            f"train.warm_start: the last good model is of another network; set it to false for one run ({error})"
        ) from error
    if not devices.is_chief(strategy):
        return
    exported = deeplabv3plus(settings.base_model, settings.exported_arch, settings.hps)
    exported.set_weights(network.get_weights())
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory, KERAS_FILE)
        exported.save(local)
        # Joined as text: a Path would take one of the slashes of gs:// away.
        tf.io.gfile.copy(str(local), f"{fn_args.model_run_dir}/{KERAS_FILE}", overwrite=True)
    normalisation = BACKBONES[settings.base_model].normalisation
    signatures.save(exported, transform_graph, normalisation, settings.labels, fn_args.serving_model_dir)


def train(
    settings: TrainerSettings,
    train_files: list[str],
    transform_graph: tft.TFTransformOutput,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.Model:
    """Builds and trains the network.

    Args:
        settings: what to build and how to train it.
        train_files: patterns of the training split's TFRecords.
        transform_graph: Transform's output.
        strategy: how devices share each batch, as `devices.strategy()` gives it. Without it, one device trains.

    Returns:
        The trained network, images float32[N, S, S, 3] to logits float32[N, S, S, C].

    Raises:
        WeightsError: the weights to start from are of another network.
        DivergedError: the loss is no longer a number.
    """
    # The same settings and data give the same weights: fixed seeds, and only kernels that sum in a fixed order.
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()

    hps = settings.hps
    totals = training_totals(train_files, transform_graph)
    steps = hps.total_steps(totals.pictures)
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        network = with_tensorflow_kernels(initial_network(settings))
    # Outside, or Keras would take a batch for itself to build what is built already.
    training = AugmentedTraining(network, settings.augmentation)
    with strategy.scope():
        loss = losses.weighted_sum(settings.train.loss, totals.class_pixels, devices.gather)
        # Every replica has the loss of the whole batch, and their gradients are summed.
        training.compile(optimizer=optimizer(hps, steps), loss=loss, loss_weights=[1 / replicas], jit_compile=False)
        # Made by `fit`, its variables would make TensorFlow trace the training step a second time.
        training.optimizer.build(training.trainable_variables)
        if replicas > 1:
            training.train_function = devices.train_function(training, strategy)
        batches = strategy.distribute_datasets_from_function(
            lambda context: training_batches(
                train_files,
                transform_graph,
                batch_size=hps.batch_size,
                shuffle_buffer=settings.train.shuffle_buffer,
                seed=settings.seed,
                context=context,
            )
        )
        training.fit(
            batches,
            steps_per_epoch=steps,
            verbose=0,
            callbacks=[ProgressLogger(steps, hps.batch_size), StopOnDivergence()],
        )
    return network


def initial_network(settings: TrainerSettings) -> keras.Model:
    """The network before training, at the output stride of training and with the weights of `train.init_from`.

    Raises:
        WeightsError: the weights are of another network.
        ConnectionError: the ImageNet weights cannot be downloaded.
    """
    source = settings.train.init_from
    keras_has_them = source in NAMED_WEIGHTS
    network = deeplabv3plus(
        settings.base_model,
        settings.training_arch,
        settings.hps,
        weights=source if keras_has_them else "none",
    )
    if not keras_has_them:
        try:
            transfer(_read(source), network, source)
        except WeightsError as error:
            raise WeightsError(f"train.init_from: {error}") from error
    return network


def _read(source: str) -> Weights:
    """Weights from a path or URI."""
    if not tf.io.gfile.exists(source):
        raise WeightsError(f"there are no weights at {source}")
    if tf.io.gfile.isdir(source):
        return signatures.read_weights(source)
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory, Path(source).name)
        tf.io.gfile.copy(source, str(local))
        return read_weights(local, source)
