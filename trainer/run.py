"""Trainer's door: builds DeepLabV3+, trains it and writes the SavedModel."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import losses, signatures
from trainer.input import class_pixels, training_batches
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.progress import ProgressLogger
from trainer.settings import TrainerSettings
from trainer.training import AugmentedTraining, StopOnDivergence, optimizer


def run_fn(fn_args: FnArgs) -> None:
    """Trains on the training split and writes the SavedModel to `fn_args.serving_model_dir`.

    Args:
        fn_args: TFX's; `custom_config["settings"]` is a `TrainerSettings` as a dictionary.
    """
    settings = TrainerSettings.model_validate(fn_args.custom_config["settings"])
    transform_graph = tft.TFTransformOutput(fn_args.transform_output)
    network = train(settings, fn_args.train_files, transform_graph)
    signatures.save(network, transform_graph, BACKBONES[settings.base_model].normalisation, fn_args.serving_model_dir)


def train(settings: TrainerSettings, train_files: list[str], transform_graph: tft.TFTransformOutput) -> keras.Model:
    """Builds and trains the network.

    Args:
        settings: what to build and how to train it.
        train_files: patterns of the training split's TFRecords.
        transform_graph: Transform's output.

    Returns:
        The trained network, images float32[N, S, S, 3] to logits float32[N, S, S, C].

    Raises:
        DivergedError: the loss is no longer a number.
    """
    # The same settings and data give the same weights: fixed seeds, and only kernels that sum in a fixed order.
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()

    hps = settings.hps
    network = deeplabv3plus(
        settings.base_model,
        settings.nn_arch,
        weights=settings.train.init_from,
        weight_decay=hps.weight_decay,
        bn_momentum=hps.bn_momentum,
    )
    batches = training_batches(
        train_files,
        transform_graph,
        batch_size=hps.batch_size,
        shuffle_buffer=settings.train.shuffle_buffer,
        seed=settings.seed,
    )
    training = AugmentedTraining(network, settings.augmentation)
    loss = losses.weighted_sum(settings.train.loss, class_pixels(train_files, transform_graph))
    training.compile(optimizer=optimizer(hps), loss=loss, jit_compile=False)
    # Made by `fit`, its variables would make TensorFlow trace the training step a second time.
    training.optimizer.build(training.trainable_variables)
    training.fit(
        batches,
        steps_per_epoch=hps.steps,
        verbose=0,
        callbacks=[ProgressLogger(hps.steps, hps.batch_size), StopOnDivergence()],
    )
    return network
