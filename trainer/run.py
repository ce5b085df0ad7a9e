"""Trainer's door: builds DeepLabV3+, trains it and writes the SavedModel."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE, HISTORY, TrainingHistory
from trainer.data.input import TrainingTotals, batch_ids, evaluation_batches, training_batches, training_totals
from trainer.model.backbones import BACKBONES
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import WeightsError
from trainer.serving import signatures
from trainer.serving.description import description_of
from trainer.serving.tensorflow_kernels import in_one_loop, with_tensorflow_kernels
from trainer.settings import IMAGENET, TrainerSettings, with_run_options
from trainer.training import devices, losses
from trainer.training.callbacks import Interruption, KeepCheckpoints, LazyCallbackList, StepCallback, StopOnDivergence
from trainer.training.checkpoints import TENSORBOARD, TrainingFolder, clear_finished
from trainer.training.devices import keep_freed_memory
from trainer.training.initial_weights import initial_network, resolved
from trainer.training.optimizer import innermost, optimizer
from trainer.training.progress import ProgressLogger
from trainer.training.tensorboard import TensorBoardWriter
from trainer.training.train_step import AugmentedTraining, frozen, training_state
from trainer.training.validation import Evaluations, Validation, is_evaluation_due

KERAS_FILE = "deeplabv3plus.keras"
EVALUATIONS = 10
"""In a training that does not say how many."""


class OutOfMemoryError(RuntimeError):
    """The batch does not fit into the device's memory."""


def run_fn(fn_args: FnArgs) -> None:
    """Does all of `train_and_export`, and marks the training as finished.

    TFX publishes what is written only afterwards; if that fails, the step that is tried again takes the mark away.
    """
    fn_args.custom_config = with_run_options(fn_args.custom_config)
    train_and_export(fn_args).finish()


def train_and_export(fn_args: FnArgs) -> TrainingFolder:
    """Trains on the training split; writes the SavedModel to `serving_model_dir`, and to `model_run_dir` a Keras file.

    The latter gets, too, what the training was (`effective.json`), how it went (`history.json`), and event files for
    TensorBoard.

    Args:
        fn_args: TFX's; `custom_config["settings"]` is a `TrainerSettings` as a dictionary, and `["checkpoints"]` path
            or URI of the folder where trainings keep their checkpoints, each in a folder of its own, or None.
            `["code"]` and `["weights"]` are hashes that tell trainings apart.

    Returns:
        Where the checkpoints are, to be marked as finished when nothing of what was written can be lost any more.
    """
    settings = TrainerSettings.model_validate(fn_args.custom_config["settings"])
    # First of all: several workers must meet before TensorFlow computes anything.
    strategy = devices.strategy(settings.train.num_gpus)
    # The pipeline gives a model only where `train.init_from` asks for it.
    settings = resolved(settings, fn_args.base_model)
    logging.info("training starts from %s", settings.train.weights)
    transform_graph = tft.TFTransformOutput(fn_args.transform_output)
    folder = training_folder(fn_args, settings, strategy)
    try:
        network = train(
            settings, fn_args.train_files, transform_graph, strategy, eval_files=fn_args.eval_files, folder=folder
        )
    except WeightsError as error:
        if not fn_args.base_model:
            raise
        raise WeightsError(
            f"{error}; this is the last model: to train without it, set train.init_from to {IMAGENET} for one run"
        ) from error
    if not devices.is_chief(strategy):
        return folder
    exported = deeplabv3plus(settings.base_model, settings.exported_arch, settings.hps)
    exported.set_weights(network.get_weights())
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory, KERAS_FILE)
        exported.save(local)
        # Joined as text: a Path would take one of the slashes of gs:// away.
        tf.io.gfile.copy(str(local), f"{fn_args.model_run_dir}/{KERAS_FILE}", overwrite=True)
    folder.copy_to(fn_args.model_run_dir, (EFFECTIVE_FILE, HISTORY, f"{TENSORBOARD}/*"))
    normalisation = BACKBONES[settings.base_model].normalisation
    signatures.save(
        exported,
        transform_graph,
        normalisation,
        settings.labels,
        fn_args.serving_model_dir,
        description_of(settings),
    )
    return folder


def training_folder(fn_args: FnArgs, settings: TrainerSettings, strategy: tf.distribute.Strategy) -> TrainingFolder:
    """The folder of one training among those of all: its name is a hash of what is trained on what.

    Folders of trainings that were exported are cleared away.
    """
    place = fn_args.custom_config.get("checkpoints")
    writes = devices.is_chief(strategy)
    if place is None:
        return TrainingFolder(None, writes=writes)
    patterns = [*fn_args.train_files, *(fn_args.eval_files or ())]
    records = [file for pattern in patterns for file in sorted(tf.io.gfile.glob(pattern))]
    said = {
        "settings": settings.model_dump(
            mode="json", exclude={"train": {"checkpoints", "checkpoint_every", "num_gpus", "precision", "jit"}}
        ),
        "precision": _policy(settings, strategy),
        "code": fn_args.custom_config.get("code"),
        "weights": fn_args.custom_config.get("weights"),
        # Transform's graph follows from these and the settings.
        "data": list(files.fingerprints(records).values()),
    }
    name = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()
    if writes:
        clear_finished(place, but=name)
    return TrainingFolder(files.join(place, name), writes=writes)


def train(
    settings: TrainerSettings,
    train_files: list[str],
    transform_graph: tft.TFTransformOutput,
    strategy: tf.distribute.Strategy | None = None,
    *,
    eval_files: list[str] | None = None,
    folder: TrainingFolder | None = None,
) -> keras.Model:
    """Builds and trains the network, or goes on where a checkpoint in the folder was made.

    Args:
        settings: what to build and how to train it.
        train_files: patterns of the training split's TFRecords.
        transform_graph: Transform's output.
        strategy: how devices share each batch, as `devices.strategy()` gives it. Without it, one device trains.
        eval_files: patterns of the eval split's TFRecords. Without them, nothing is evaluated.
        folder: keeps the checkpoints. Without it, nothing is left of a training that is stopped.

    Returns:
        The trained network, images float32[N, S, S, 3] to logits float32[N, S, S, C], with the weights that had the
        best mean IoU on the eval split.

    Raises:
        WeightsError: the weights to start from are of another network.
        CheckpointError: the checkpoint is of another training, or not the same for all workers.
        DivergedError: the loss, or what was learnt, is no longer a number.
        OutOfMemoryError: a batch does not fit into the device's memory.
        ValueError: several devices are to compute micro-batches, or have fewer pictures than the augmentation takes.
        KeyboardInterrupt: it was stopped, and has saved a checkpoint.
    """
    # The same settings and data give the same weights: fixed seeds, and only kernels that sum in a fixed order.
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    if not tf.config.get_visible_devices("GPU"):
        keep_freed_memory()
    folder = folder or TrainingFolder(None)
    strategy = strategy or tf.distribute.get_strategy()
    settings.check_share(strategy.num_replicas_in_sync)
    policy = _policy(settings, strategy)
    devices.warn_if_slow(policy)
    try:
        with _computing_in(policy):
            with strategy.scope():
                network = with_tensorflow_kernels(initial_network(settings))
            history = _fit(network, settings, train_files, eval_files or [], transform_graph, strategy, folder)
    except tf.errors.ResourceExhaustedError as error:
        hps = settings.hps
        raise OutOfMemoryError(
            f"the memory is too small for hps.batch_size {hps.batch_size} (in {hps.micro_batches} parts) at "
            f"nn_arch.image_size {settings.nn_arch.image_size}: raise hps.micro_batches, which computes the batch in "
            f"parts, or lower one of the two ({str(error).splitlines()[0]})"
        ) from error
    # Of several workers only the one that writes has the weights, and a use for them.
    if history.best is not None and folder.writes:
        logging.info("the best mean IoU, %.4f, was that of step %d", history.best.mean_iou, history.best.step)
        folder.restore_best(network.weights, history.best.step)
    return network


@contextmanager
def _computing_in(policy: str) -> Iterator[None]:
    """Layers that are made inside compute in it; weights are float32 in any case."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _policy(settings: TrainerSettings, strategy: tf.distribute.Strategy) -> str:
    """Keras' name of what layers compute in.

    Raises:
        ValueError: it does not go together with the devices or the micro-batches.
    """
    replicas, micro_batches = strategy.num_replicas_in_sync, settings.hps.micro_batches
    if replicas > 1 and micro_batches > 1:
        # Keras decides inside of the graph whether a micro-batch is the last, where replicas cannot meet.
        raise ValueError(
            f"hps.micro_batches is {micro_batches}, but {replicas} devices share each batch already; micro-batches are "
            "for one device, so set it to 1, or train.num_gpus to 1"
        )
    policy = devices.dtype_policy(settings.train.precision)
    if policy != "mixed_float16" or replicas == micro_batches == 1:
        return policy
    # Steps whose gradients are no numbers are left out, but Keras looks at one replica's alone, and counts no part.
    if settings.train.precision == "auto":
        return "float32"
    raise ValueError(
        "train.precision is mixed_float16, which goes with one device and hps.micro_batches 1 alone; float32 and "
        "mixed_bfloat16 go with all"
    )


def _fit(
    network: keras.Model,
    settings: TrainerSettings,
    train_files: list[str],
    eval_files: list[str],
    transform_graph: tft.TFTransformOutput,
    strategy: tf.distribute.Strategy,
    folder: TrainingFolder,
) -> TrainingHistory:
    """Takes the steps that are left. Without an evaluation, the network ends with the last weights."""
    hps, options = settings.hps, settings.train
    totals = training_totals(train_files, transform_graph)
    steps = hps.total_steps(totals.pictures)
    every = options.evaluate_every or math.ceil(steps / EVALUATIONS)
    training = _compiled(network, settings, totals, steps, strategy)
    variables = training_state(training)
    history = _restored(folder, variables, steps, strategy)
    folder.begin(EFFECTIVE_FILE, _effective(settings, strategy, totals, steps=steps, every=every, history=history))

    rate_at = innermost(training.optimizer).rate_at
    tensorboard = TensorBoardWriter(str(folder.path / TENSORBOARD), settings.labels) if folder.writes else None
    progress = ProgressLogger(
        steps, hps.batch_size, rate_at, history.step, tensorboard.progress if tensorboard else None
    )
    ids_of_step = partial(_ids_of_step, settings, train_files, transform_graph)
    divergence = StopOnDivergence(ids_of_step, rate_at, history.step, devices.steps_between_reads())
    evaluations = None
    if eval_files:
        evaluations = Evaluations(
            _validation(settings, eval_files, transform_graph, strategy),
            network,
            divergence.check,
            devices.averaging_of_statistics(network, strategy),
            folder,
            history,
            every=every,
            steps=steps,
            settings=settings,
            progress=progress,
            tensorboard=tensorboard,
        )

    def done() -> TrainingHistory:
        return evaluations.history if evaluations else history

    def save(step: int) -> None:
        divergence.check()
        folder.save(variables, dataclasses.replace(done(), step=step))

    def is_checkpoint_due(step: int) -> bool:
        return step % options.checkpoint_every == 0 or is_evaluation_due(step, every, steps)

    interruption = Interruption()
    keep = KeepCheckpoints(save, is_checkpoint_due, interruption, history.step)
    # The divergence comes first, to know of the step; a checkpoint comes after its evaluation, to tell of it.
    watching = [divergence, progress, *([evaluations] if evaluations else []), keep]
    batches = partial(_batches, settings, train_files, transform_graph)
    with strategy.scope(), interruption.held_back(), closing(tensorboard) if tensorboard else nullcontext():
        for first, last in _phases(history.step, steps, hps.freeze_backbone_steps):
            if not done().ends_early(options.early_stopping):
                with frozen(network.get_layer("backbone"), first < hps.freeze_backbone_steps):
                    _take_steps(training, partial(batches, first), (last - first) * hps.micro_batches, watching)
        if evaluations is None:
            innermost(training.optimizer).put_averages()
    return done()


def _compiled(
    network: keras.Model,
    settings: TrainerSettings,
    totals: TrainingTotals,
    steps: int,
    strategy: tf.distribute.Strategy,
) -> AugmentedTraining:
    """The training of a network, with all its variables."""
    hps, options = settings.hps, settings.train
    normalisation = BACKBONES[settings.base_model].normalisation
    # Outside of the scope, or Keras would take a batch for itself to build what is built already.
    training = AugmentedTraining(network, settings.augmentation, normalisation, settings.labels.background, in_one_loop)
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        training.compile(
            optimizer=optimizer(hps, steps, network, replicas=replicas, sum_over_replicas=devices.sum_over_replicas),
            loss=losses.weighted_sum(options.loss, totals.class_pixels, devices.gather),
            # Every replica has the loss of the whole batch, and their gradients are summed.
            loss_weights=[1 / replicas],
            jit_compile=options.jit,
            steps_per_execution=hps.micro_batches,
        )
        # What scales the loss for float16 has variables of its own.
        training.optimizer.build(network.trainable_variables)
    return training


def _restored(
    folder: TrainingFolder, variables: list[keras.Variable], steps: int, strategy: tf.distribute.Strategy
) -> TrainingHistory:
    """How far the newest checkpoint had come, with the variables as they were then."""
    with strategy.scope():
        history = folder.restore(variables)
        devices.require_same(strategy, history.step)
    if history.step:
        logging.info("training goes on from the checkpoint of step %d of %d", history.step, steps)
    return history


def _batches(
    settings: TrainerSettings,
    train_files: list[str],
    transform_graph: tft.TFTransformOutput,
    first: int,
    context: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """What training learns from, micro-batch after micro-batch, from a step on."""
    hps = settings.hps
    return training_batches(
        train_files,
        transform_graph,
        batch_size=hps.batch_size // hps.micro_batches,
        shuffle_buffer=settings.train.shuffle_buffer,
        seed=settings.seed,
        first_step=first * hps.micro_batches,
        context=context,
    )


def _ids_of_step(
    settings: TrainerSettings, train_files: list[str], transform_graph: tft.TFTransformOutput, step: int
) -> list[str]:
    """The ids of the pictures that a step learns from."""
    return batch_ids(
        train_files,
        transform_graph,
        batch_size=settings.hps.batch_size,
        shuffle_buffer=settings.train.shuffle_buffer,
        seed=settings.seed,
        step=step,
    )


def _validation(
    settings: TrainerSettings,
    eval_files: list[str],
    transform_graph: tft.TFTransformOutput,
    strategy: tf.distribute.Strategy,
) -> Validation:
    """Judges the network as it will be served, in batches of what one device is given in training."""
    share = settings.hps.batch_size // settings.hps.micro_batches // strategy.num_replicas_in_sync
    batches = evaluation_batches(
        eval_files, transform_graph, batch_size=max(1, share), pictures=settings.train.eval_pictures
    )
    # Weights that were trained in 16 bits are another network's, slightly, in the 32 of serving.
    with _computing_in("float32"):
        judged = with_tensorflow_kernels(deeplabv3plus(settings.base_model, settings.exported_arch, settings.hps))
    return Validation(judged, batches, BACKBONES[settings.base_model].normalisation)


def _take_steps(
    training: AugmentedTraining,
    batches: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    micro_batches: int,
    callbacks: list[StepCallback],
) -> None:
    """One `fit` of Keras, in the strategy's scope."""
    strategy = tf.distribute.get_strategy()
    # Traced anew, since each fit is about other variables.
    several = strategy.num_replicas_in_sync > 1
    training.train_function = devices.train_function(training, strategy) if several else None
    training.fit(
        strategy.distribute_datasets_from_function(batches),
        steps_per_epoch=micro_batches,
        shuffle=False,
        verbose=0,
        callbacks=LazyCallbackList(callbacks, add_history=True, model=training),
    )


def _effective(
    settings: TrainerSettings,
    strategy: tf.distribute.Strategy,
    totals: TrainingTotals,
    *,
    steps: int,
    every: int,
    history: TrainingHistory,
) -> str:
    """What the training is, with all that follows from the configuration and this machine, as JSON."""
    devices_used = strategy.extended.worker_devices if strategy.num_replicas_in_sync > 1 else ()
    return json.dumps(
        {
            "settings": settings.model_dump(mode="json"),
            "steps": steps,
            "evaluate_every": every,
            "pictures": totals.pictures,
            "class_pixels": dict(zip(settings.labels.names, totals.class_pixels.tolist(), strict=True)),
            "precision": keras.config.dtype_policy().name,
            "devices": [*devices_used] or [device.name for device in tf.config.get_visible_devices()],
            "replicas": strategy.num_replicas_in_sync,
            "resumed_at_step": history.step,
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        },
        indent=1,
    )


def _phases(first: int, steps: int, freeze_backbone_steps: int) -> list[tuple[int, int]]:
    """The steps that are left, from one to before another: those with the backbone frozen, and the others."""
    border = min(freeze_backbone_steps, steps)
    return [(max(begin, first), end) for begin, end in ((0, border), (border, steps)) if max(begin, first) < end]
