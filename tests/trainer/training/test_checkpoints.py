"""Training that was stopped or killed goes on from its checkpoint, and ends where it would have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from schema.labels import VOC2012
from trainer import run
from trainer.common import files
from trainer.common.training_history import TrainingHistory, ValidationResult
from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings
from trainer.training.checkpoints import CheckpointError, TrainingFolder, clear_finished

STEPS = 6


def settings(hps: dict | None = None, **train) -> TrainerSettings:
    return TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=8, concat_channels=8),
        hps=Hps(**{"steps": STEPS, "batch_size": 4, "ema_momentum": 0.5, "lr": 0.05, **(hps or {})}),
        augmentation=Augmentation(),
        labels=VOC2012,
        train=Train(**{"init_from": "none", "evaluate_every": 3, "checkpoint_every": 2, **train}),
        eval_output_stride=16,
    )


def trained(transformed, folder: Path, chosen: TrainerSettings) -> list[np.ndarray]:
    network = run.train(
        chosen,
        [transformed.pattern],
        transformed.graph,
        eval_files=[transformed.pattern],
        folder=TrainingFolder(str(folder)),
    )
    return network.get_weights()


@pytest.fixture(scope="module")
def uninterrupted(transformed, tmp_path_factory) -> list[np.ndarray]:
    return trained(transformed, tmp_path_factory.mktemp("uninterrupted"), settings())


def test_sigterm_saves_and_the_next_training_ends_with_the_same_weights(
    transformed, uninterrupted, tmp_path, monkeypatch
):
    real = run.KeepCheckpoints.after_step

    def terminated_in_step_5(self, mean_loss):
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, mean_loss)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="SIGTERM at step 5; the next run goes"):
        patch.setattr(run.KeepCheckpoints, "after_step", terminated_in_step_5)
        trained(transformed, tmp_path, settings())
    assert [file.name for file in sorted(tmp_path.glob("checkpoint-*"))] == [
        "checkpoint-00000004.npz",
        "checkpoint-00000005.npz",
    ]
    for expected, found in zip(uninterrupted, trained(transformed, tmp_path, settings()), strict=True):
        np.testing.assert_array_equal(found, expected)


PROGRAM = """
    import sys
    import numpy as np
    import tensorflow_transform as tft
    from trainer import run
    from trainer.training.checkpoints import TrainingFolder
    from trainer.settings import TrainerSettings

    class Tells(run.KeepCheckpoints):
        def after_step(self, mean_loss):
            super().after_step(mean_loss)
            print("step", self.step, flush=True)

    run.KeepCheckpoints = Tells
    examples, graph, settings, folder, output = sys.argv[1:]
    network = run.train(
        TrainerSettings.model_validate_json(settings),
        [examples],
        tft.TFTransformOutput(graph),
        eval_files=[examples],
        folder=TrainingFolder(folder),
    )
    np.savez(output, *network.get_weights())
"""


@pytest.mark.slow
def test_killed_in_the_middle_training_ends_with_the_weights_of_one_that_was_not(transformed, tmp_path):
    def start(name: str) -> subprocess.Popen:
        arguments = [transformed.pattern, transformed.graph_directory, settings().model_dump_json()]
        arguments += [str(tmp_path / name), str(tmp_path / f"{name}.npz")]
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def steps_of(process: subprocess.Popen) -> list[int]:
        return [int(line.split()[1]) for line in process.stdout if line.startswith("step ")]

    whole = start("whole")
    assert steps_of(whole) == [1, 2, 3, 4, 5, 6]
    assert whole.wait() == 0

    killed = start("killed")
    for line in killed.stdout:
        if line == "step 5\n":
            killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed.npz").exists()

    resumed = start("killed")
    # The last checkpoint was that of step 4.
    assert steps_of(resumed) == [5, 6]
    assert resumed.wait() == 0
    with np.load(tmp_path / "whole.npz") as expected, np.load(tmp_path / "killed.npz") as found:
        for key in expected.files:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def variables(*values: float) -> list[keras.Variable]:
    return [keras.Variable(np.full((2, 3), value, np.float32)) for value in values]


def value_of(variable: keras.Variable) -> float:
    return float(variable.numpy().mean())


def test_the_last_two_checkpoints_are_kept(tmp_path):
    folder = TrainingFolder(str(tmp_path))
    for step in (1, 2, 3):
        folder.save(variables(step, -step), TrainingHistory(step))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint-00000002.npz",
        "checkpoint-00000003.npz",
        "history.json",
    ]
    found = variables(0, 0)
    assert TrainingFolder(str(tmp_path)).restore(found) == TrainingHistory(3)
    assert [value_of(variable) for variable in found] == [3, -3]


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    found = variables(5)
    assert TrainingFolder(str(tmp_path)).restore(found) == TrainingHistory()
    assert value_of(found[0]) == 5


@pytest.mark.parametrize("damage", [b"", b"no archive", "half"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, damage):
    folder = TrainingFolder(str(tmp_path))
    for step in (1, 2):
        folder.save(variables(step), TrainingHistory(step))
    newest = tmp_path / "checkpoint-00000002.npz"
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    found = variables(0)
    assert folder.restore(found).step == 1
    assert value_of(found[0]) == 1
    assert "checkpoint-00000002.npz cannot be read" in caplog.text


def test_a_checkpoint_of_another_network_is_refused_and_kept(tmp_path):
    TrainingFolder(str(tmp_path)).save(variables(1, 2), TrainingHistory(7))
    with pytest.raises(CheckpointError, match=r"checkpoint-00000007.npz is of another network or optimiser; remove"):
        TrainingFolder(str(tmp_path)).restore(variables(0))
    assert (tmp_path / "checkpoint-00000007.npz").exists()


def test_only_one_of_several_workers_writes(tmp_path):
    other = TrainingFolder(str(tmp_path), writes=False)
    other.save(variables(1), TrainingHistory(1))
    other.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_holds_what_the_next_machine_goes_on_from(tmp_path):
    """Each folder has its own copy on its machine; what they share is the store."""
    place = f"memory://{tmp_path.name}/training"
    first = TrainingFolder(place)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    for step in (1, 2, 3):
        first.save_best(network.weights, step)
        first.save(
            variables(step), TrainingHistory().with_evaluation(ValidationResult(step, step / 10, (), 1.0, 0.1, 1.0))
        )
    kernel = network.weights[0].numpy()
    network.weights[0].assign(kernel + 1)

    second = TrainingFolder(place)
    found = variables(0)
    assert second.restore(found).best.step == 3
    assert value_of(found[0]) == 3
    second.restore_best(network.weights, 3)
    np.testing.assert_array_equal(network.weights[0].numpy(), kernel)
    assert sorted(file.name for file in second.path.glob("*.npz")) == [
        "best-00000003.npz",
        "checkpoint-00000002.npz",
        "checkpoint-00000003.npz",
    ]


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_the_next_training_clears_away_what_was_exported(tmp_path, kind):
    place = str(tmp_path / "checkpoints") if kind == "folder" else f"memory://{tmp_path.name}"
    clear_finished(place, but="third")
    for name, finished in (("first", True), ("second", False), ("third", True)):
        folder = TrainingFolder(files.join(place, name))
        folder.save(variables(1), TrainingHistory(1))
        if finished:
            folder.finish()
    clear_finished(place, but="third")
    assert sorted(files.list_folders(place)) == ["second", "third"]
