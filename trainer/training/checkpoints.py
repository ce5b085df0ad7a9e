"""What training needs to go on after it was stopped or killed, in one folder that outlives it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from trainer.common import files
from trainer.common.training_history import HISTORY, TrainingHistory

LOGGER = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints that are kept, in case the newest cannot be read."""
CHECKPOINT = "checkpoint-{:08d}.npz"
BEST = "best-{:08d}.npz"
FINISHED = "finished"
TENSORBOARD = "tensorboard"
"""Folder of event files in it."""


class CheckpointError(ValueError):
    """A checkpoint is of another training; the message says what to do."""


class TrainingFolder:
    """The checkpoints, the best weights and the history of one training.

    It lies on this machine, or is a mirror of one in an object store, where a file is there whole or not at all.

    Args:
        place: path or URI. Without it nothing outlives the process.
        writes: whether this process is the one that writes; of several workers only one does.
    """

    def __init__(self, place: str | None, *, writes: bool = True):
        self._remote = place if place is not None and files.is_remote(place) else None
        self._temporary = None
        if place is None or self._remote:
            self._temporary = tempfile.TemporaryDirectory()
            place = self._temporary.name
        self.path = Path(place)
        """On this machine."""
        self.writes = writes
        """Whether this process is the one that writes."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._remote:
            try:
                files.download_folder(self._remote, place)
            except FileNotFoundError:
                LOGGER.info("there are no checkpoints at %s yet", self._remote)

    def begin(self, name: str, text: str) -> None:
        """Writes the first file, for people, and takes the mark away that a training before was exported.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self.writes:
            return
        if (self.path / FINISHED).exists():
            self._remove(FINISHED)
        (self.path / name).write_text(text)
        if self._remote:
            files.upload_file(str(self.path / name), files.join(self._remote, name))

    def save(self, variables: Sequence[keras.Variable], history: TrainingHistory) -> None:
        """Keeps everything that training goes on from.

        A store that does not answer ends no training: a warning is given, and the next checkpoint may get through.

        Args:
            variables: of network, optimiser and random numbers.
            history: up to here.

        Raises:
            OSError: this machine's folder cannot be written.
        """
        if not self.writes:
            return
        self._write_arrays(CHECKPOINT.format(history.step), variables, history)
        for events in (self.path / TENSORBOARD).glob("*"):
            self._publish(f"{TENSORBOARD}/{events.name}")
        (self.path / HISTORY).write_text(history.to_json())
        self._publish(HISTORY)
        kept, outdated = self._checkpoints()[:KEPT], self._checkpoints()[KEPT:]
        # Each checkpoint goes with the weights that were the best then.
        bests = {history.until(int(file.stem.rpartition("-")[2])).best for file in kept}
        names = {BEST.format(best.step) for best in bests if best}
        for file in (*outdated, *(file for file in self.path.glob("best-*") if file.name not in names)):
            self._remove(file.name)

    def restore(self, variables: Sequence[keras.Variable]) -> TrainingHistory:
        """Puts the values of the newest checkpoint back; without one, nothing happens and the history is empty.

        Raises:
            CheckpointError: it is of another training.
        """
        for file in self._checkpoints():
            try:
                with np.load(file) as arrays:
                    history = TrainingHistory.from_json(str(arrays["history"]))
                    values = [arrays[str(index)] for index in range(len(arrays.files) - 1)]
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                LOGGER.warning("%s cannot be read (%s); the one before it is taken, if there is any", file, error)
                continue
            self._put(values, variables, file)
            return history
        return TrainingHistory()

    def save_best(self, weights: Sequence[keras.Variable], step: int) -> None:
        """Keeps the weights of the network that is the best so far."""
        if self.writes:
            self._write_arrays(BEST.format(step), weights)

    def restore_best(self, weights: Sequence[keras.Variable], step: int) -> None:
        """Puts the weights back that were the best, those of a step.

        Raises:
            CheckpointError: they are of another network.
            OSError: they are gone.
        """
        file = self.path / BEST.format(step)
        with np.load(file) as arrays:
            self._put([arrays[str(index)] for index in range(len(arrays.files))], weights, file)

    def finish(self) -> None:
        """Marks that what was trained is where it is kept, so that the next training may clear the folder away."""
        if self.writes:
            (self.path / FINISHED).touch()
            self._publish(FINISHED)

    def copy_to(self, place: str, patterns: Iterable[str]) -> None:
        """Copies files out of this folder.

        Args:
            place: path or URI of a folder.
            patterns: of the files, as `Path.glob` takes them; those without a file are passed over.
        """
        for file in (file for pattern in patterns for file in self.path.glob(pattern)):
            files.write_bytes(files.join(place, str(file.relative_to(self.path))), file.read_bytes())

    def _checkpoints(self) -> list[Path]:
        """The newest first."""
        return sorted(self.path.glob(CHECKPOINT.replace("{:08d}", "*")), reverse=True)

    def _write_arrays(
        self, name: str, variables: Sequence[keras.Variable], history: TrainingHistory | None = None
    ) -> None:
        arrays = {str(index): keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}
        if history is not None:
            arrays["history"] = np.array(history.to_json())
        partial = self.path / f".{name}"
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            # A machine that goes down must not leave the new name on half a file.
            os.fsync(file.fileno())
        partial.replace(self.path / name)
        self._publish(name)

    def _publish(self, name: str) -> None:
        if self._remote:
            try:
                files.upload_file(str(self.path / name), files.join(self._remote, name))
            except OSError as error:
                LOGGER.warning("%s is not kept, training goes on: %s", name, error)

    def _remove(self, name: str) -> None:
        (self.path / name).unlink()
        if self._remote:
            try:
                files.remove(files.join(self._remote, name))
            except OSError as error:
                LOGGER.warning("%s cannot be removed: %s", name, error)

    def _put(self, values: Sequence[np.ndarray], variables: Sequence[keras.Variable], file: Path) -> None:
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise CheckpointError(
                f"{self._remote or self.path}: {file.name} is of another network or optimiser; remove that folder, or "
                "give another train.checkpoints"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def clear_finished(place: str, but: str) -> None:
    """Removes the folders of trainings that have been exported, inside one of this machine or of an object store.

    Args:
        place: path or URI of the folder of such folders.
        but: name of the one that is not to be touched.
    """
    try:
        names = files.list_folders(place)
    except FileNotFoundError:
        return
    for name in names:
        folder = files.join(place, name)
        # Another run may be clearing, too.
        with contextlib.suppress(FileNotFoundError):
            if name != but and FINISHED in files.list_files(folder):
                if files.is_remote(folder):
                    files.remove(folder)
                else:
                    shutil.rmtree(folder)
