"""Several devices that share a batch train as one device does with the whole of it, and so do several processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from schema.labels import IGNORE_LABEL, VOC2012
from trainer import run
from trainer.data.input import training_batches
from trainer.run import KERAS_FILE
from trainer.settings import Augmentation, Hps, LossTerm, NNArch, Train, TrainerSettings
from trainer.training import losses

CLASSES = 5
STEPS = 3
MINUTES = 60


def settings(**hps) -> TrainerSettings:
    """Without dropout, whose draws differ between replicas, and with statistics that are the same on all."""
    arch = NNArch(
        image_size=65,
        mv2_depth_multiplier=0.35,
        reduction_size=8,
        concat_channels=8,
        low_level_channels=8,
        dropout_rate=0,
    )
    return TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=arch,
        hps=Hps(**{"steps": STEPS, "batch_size": 4, "bn_freeze": True, "bn_synchronized": True, **hps}),
        augmentation=Augmentation(),
        labels=VOC2012,
        # Evaluated at the end alone, the last weights are the best.
        train=Train(init_from="none", evaluate_every=STEPS),
        eval_output_stride=16,
    )


def pictures(dataset: tf.data.Dataset, batches: int):
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in dataset.take(batches)]


@pytest.mark.parametrize(("workers", "replicas"), [(2, 4), (1, 2)])
def test_the_replicas_shares_are_the_batch(transformed, workers, replicas):
    def batches(context=None):
        return training_batches(
            [transformed.pattern], transformed.graph, batch_size=4, shuffle_buffer=8, seed=5, context=context
        )

    whole = pictures(batches(), 3)
    local = replicas // workers
    shares = [
        pictures(batches(tf.distribute.InputContext(workers, worker, replicas)), 3 * local) for worker in range(workers)
    ]
    for step, expected in enumerate(whole):
        parts = [share[step * local + replica] for share in shares for replica in range(local)]
        found = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def test_a_batch_that_cannot_be_dealt_out_is_refused(transformed):
    context = tf.distribute.InputContext(num_replicas_in_sync=3)
    with pytest.raises(ValueError, match=r"hps\.batch_size is 4, which cannot be dealt out evenly to 3 replicas"):
        training_batches(
            [transformed.pattern], transformed.graph, batch_size=4, shuffle_buffer=8, seed=5, context=context
        )


@pytest.mark.parametrize(
    "name", ["cross_entropy", "balanced_cross_entropy", "ohem_cross_entropy", "focal", "dice", "lovasz_softmax"]
)
def test_every_replica_has_the_loss_of_the_whole_batch(name):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, (4, 6, 7))
    # Most of the first picture counts nowhere, so that a mean of the replicas' means would be another number.
    labels[0, :5] = IGNORE_LABEL
    logits = random.normal(size=(4, 6, 7, CLASSES)).astype(np.float32)
    terms = [LossTerm(name=name)]
    pixels = np.array([9, 1, 4, 2, 5])
    expected = float(losses.weighted_sum(terms, pixels)(labels, logits))
    shares = [slice(0, 2), slice(2, 4)]
    # What each replica hands over is recorded, and then put together.
    handed_over: list[list] = []
    for share in shares:
        mine: list = []
        losses.weighted_sum(terms, pixels, lambda values, mine=mine: mine.append(values) or values)(
            labels[share], logits[share]
        )
        handed_over.append(mine)
    together = iter([tf.concat(parts, axis=0) for parts in zip(*handed_over, strict=True)])
    found = losses.weighted_sum(terms, pixels, lambda values: next(together))(labels[shares[0]], logits[shares[0]])
    assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "ohem_cross_entropy", "focal", "dice", "lovasz_softmax"])
def test_the_size_of_a_batch_need_not_be_known(name):
    """As in training: neither Transform's graph nor what replicas hand over states it."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, (2, 6, 7))
    logits = random.normal(size=(2, 6, 7, CLASSES)).astype(np.float32)
    loss = losses.weighted_sum([LossTerm(name=name)], np.ones(CLASSES))
    signature = [tf.TensorSpec([None, 6, 7], tf.int64), tf.TensorSpec([None, 6, 7, CLASSES])]
    found = tf.function(loss, input_signature=signature)(labels, logits)
    assert float(found) == pytest.approx(float(loss(labels, logits)), rel=1e-5)


MIRRORED = """
    import sys
    import keras
    import numpy as np
    import tensorflow as tf
    import tensorflow_transform as tft
    from trainer import run
    from trainer.settings import TrainerSettings

    examples, graph, settings, output, devices, dtype = sys.argv[1:]
    keras.config.set_floatx(dtype)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(devices))
    strategy = None
    if devices != "1":
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(int(devices))])
    losses = []

    class Recorder(run.ProgressLogger):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(logs["loss"]))

    run.ProgressLogger = Recorder
    settings = TrainerSettings.model_validate_json(settings)
    network = run.train(settings, [examples], tft.TFTransformOutput(graph), strategy, eval_files=[examples])
    np.savez(output, *network.get_weights(), losses=losses)
"""


def trained(transformed, settings: TrainerSettings, output: Path, *, devices: int, dtype: str) -> dict[str, np.ndarray]:
    """Weights and losses from a fresh process, since only that can have more than one logical device."""
    arguments = [transformed.pattern, transformed.graph_directory, settings.model_dump_json(), str(output)]
    subprocess.run([sys.executable, "-c", textwrap.dedent(MIRRORED), *arguments, str(devices), dtype], check=True)
    return dict(np.load(output))


@pytest.mark.slow
@pytest.mark.parametrize(
    "hps",
    [{}, {"clip_norm": 0.5, "ema_momentum": 0.5, "optimizer": "adamw", "lr": 1e-3}],
    ids=str,
)
def test_two_devices_train_as_one(transformed, tmp_path, hps):
    """In float64: the statistics of batches make float32's rounding errors percents within three steps."""
    chosen = settings(bn_freeze=False, **hps)
    one, two = (
        trained(transformed, chosen, tmp_path / f"{devices}.npz", devices=devices, dtype="float64")
        for devices in (1, 2)
    )
    assert len(one["losses"]) == STEPS
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-8, atol=1e-8, err_msg=key)


def test_several_devices_compute_no_micro_batches(transformed):
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ValueError, match=r"hps\.micro_batches is 2, but 2 devices share each batch already"):
        run.train(settings(micro_batches=2), [transformed.pattern], transformed.graph, strategy)


def test_each_device_has_a_picture_to_paste_from_another(transformed):
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    chosen = settings(batch_size=2).model_copy(update={"augmentation": Augmentation(copy_paste=0.5)})
    with pytest.raises(ValueError, match=r"hps\.batch_size 2 in 2 parts .* has parts of a single picture"):
        run.train(chosen, [transformed.pattern], transformed.graph, strategy)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def examples(transformed, tmp_path) -> str:
    """As SegmentationExampleGen lays them out."""
    (tmp_path / "examples").mkdir()
    for split in ("train", "eval"):
        (tmp_path / "examples" / f"Split-{split}").symlink_to(transformed.directory)
    return str(tmp_path / "examples")


@pytest.fixture
def workers(transformed, examples, tmp_path) -> Iterator:
    """Starts two workers by the command of the manifests, each with TF_CONFIG as the Training Operator sets it."""
    with contextlib.ExitStack() as stack:

        def start(settings: TrainerSettings, output: Path) -> list[subprocess.Popen]:
            cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
            command = [sys.executable, "-m", "kubeflow.training_worker", f"--examples={examples}"]
            command += [f"--transform-graph={transformed.graph_directory}", f"--output={output}"]
            command += [f"--settings={settings.model_dump_json()}"]
            processes = []
            for index in range(2):
                task = {"type": "worker", "index": index}
                config = json.dumps({"cluster": cluster, "task": task, "environment": "cloud"})
                log = stack.enter_context((tmp_path / f"worker-{index}.log").open("w"))
                processes.append(
                    subprocess.Popen(
                        command, env={**os.environ, "TF_CONFIG": config}, stdout=log, stderr=subprocess.STDOUT
                    )
                )
                stack.callback(processes[-1].wait)
                stack.callback(processes[-1].kill)
            return processes

        yield start


def log_of(tmp_path: Path, index: int) -> str:
    return (tmp_path / f"worker-{index}.log").read_text()


@pytest.mark.slow
def test_two_workers_train_as_two_devices(transformed, examples, workers, tmp_path):
    started = workers(settings(), tmp_path / "two")
    for index, process in enumerate(started):
        assert process.wait(15 * MINUTES) == 0, log_of(tmp_path, index)
    assert "the model is in" in log_of(tmp_path, 0)
    assert "the first worker writes the model" in log_of(tmp_path, 1)

    # Two devices of one process: that they train as one does is shown above.
    expected = trained(transformed, settings(), tmp_path / "here.npz", devices=2, dtype="float32")
    network = keras.saving.load_model(tmp_path / "two" / KERAS_FILE)
    for index, weight in enumerate(network.weights):
        np.testing.assert_allclose(weight.numpy(), expected[f"arr_{index}"], rtol=1e-6, err_msg=weight.path)
    assert (tmp_path / "two" / "Format-Serving" / "saved_model.pb").exists()


@pytest.mark.slow
def test_a_worker_whose_fellow_has_died_ends(workers, tmp_path):
    first, second = workers(settings(steps=10_000, lr=1e-6), tmp_path / "out")
    waited_until = time.monotonic() + 15 * MINUTES
    while " of 10000, loss" not in log_of(tmp_path, 0):
        assert first.poll() is None and time.monotonic() < waited_until, log_of(tmp_path, 0)
        time.sleep(1)
    second.send_signal(signal.SIGKILL)
    assert first.wait(3 * MINUTES) != 0
    assert "another worker has ended or does not answer, so this one ends too" in log_of(tmp_path, 0)
    assert not (tmp_path / "out").exists()
