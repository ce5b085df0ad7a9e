"""A pushed SavedModel, found, loaded and called with nothing but TensorFlow."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.pusher.versions import SAVED_MODEL_FILE, current_version
from schema import features
from schema.labels import LABELS_FILE, Labels, read_labels
from trainer.common import files
from trainer.common.tensorflow_errors import in_words, picture_refusals

WANTED = "wanted is a SavedModel that this pipeline has pushed, such as runs/demo/serving_model/1790000000"


class ModelError(Exception):
    """There is no model that could be used; the message says why and what was wanted."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture."""

    mask: np.ndarray
    """uint8[H, W], class indices, at the picture's own size."""
    class_pixels: np.ndarray
    """int64[C], pixels of each class."""


class Model:
    """A loaded SavedModel; `open_model` makes it.

    Args:
        place: path or URI of the version.
        labels: what its classes mean.
        loaded: what TensorFlow has loaded.
    """

    def __init__(self, place: str, labels: Labels, loaded: Any):
        self.place = place
        self.labels = labels
        self._loaded = loaded

    def output_shapes(self, name: str) -> dict[str, tuple[int | None, ...]]:
        """The shapes of what a signature puts out, by name; None for what only a call decides.

        Raises:
            ModelError: it has no such signature.
        """
        signature: Any = self.signature(name)
        return {output: tuple(spec.shape) for output, spec in signature.structured_outputs.items()}

    def signature(self, name: str) -> Callable[..., dict[str, Any]]:
        """One of the signatures of `schema.features`: tensors in, a dictionary of tensors out.

        Raises:
            ModelError: it has no such signature.
        """
        signatures = self._loaded.signatures
        if name not in signatures:
            known = ", ".join(sorted(signatures)) or "none"
            raise ModelError(f"{self.place} has no signature {name!r}, its signatures: {known}; {WANTED}")
        return signatures[name]

    def serve(self, encoded: Sequence[bytes]) -> list[Prediction]:
        """Predicts whole JPEGs or PNGs.

        Args:
            encoded: their bytes. The model takes one after the other, so a batch is not faster.

        Raises:
            PictureRefusedError: one of them is no such picture, or takes more memory than there is.
            ModelError: the model has no signature that takes pictures.
        """
        import tensorflow as tf

        with picture_refusals():
            result = self.signature(features.SERVING_SIGNATURE)(tf.constant(encoded, tf.string))
        masks, pixels = result[features.MASK].numpy(), result[features.CLASS_PIXELS].numpy()
        return [
            Prediction(np.asarray(Image.open(io.BytesIO(mask))), counts)
            for mask, counts in zip(masks, pixels, strict=True)
        ]


def model_directory(place: str) -> str:
    """The SavedModel that a place stands for.

    Args:
        place: path or URI of a SavedModel, or of a folder of versions; of these the current one.

    Raises:
        ModelError: there is none.
    """
    try:
        if files.is_file(files.join(place, SAVED_MODEL_FILE)):
            return place
        files.list_folders(place)
        version = current_version(place)
        if version is not None:
            return files.join(place, version)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"{place}: there is no such folder; {WANTED}") from error
    except OSError as error:
        raise ModelError(f"{place}: cannot be read: {error.strerror or error}") from error
    raise ModelError(f"{place}: has neither a {SAVED_MODEL_FILE} nor versions that have one; {WANTED}")


@dataclass(frozen=True)
class FetchedModel:
    """A SavedModel on this machine."""

    place: str
    """Path or URI of the version."""
    folder: str
    """Where it is on this machine."""
    labels: Labels
    """What its classes mean."""


@contextmanager
def fetched_model(place: str) -> Iterator[FetchedModel]:
    """Brings a SavedModel to this machine, where it is until the end.

    Args:
        place: as for `model_directory`.

    Raises:
        ModelError: there is none, or it does not say what its classes mean.
    """
    directory = model_directory(place)
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = files.fetched(directory, folder)
            labels = read_labels(local)
        except OSError as error:
            raise ModelError(f"{directory}: cannot be read: {error.strerror or error}") from error
        if labels is None:
            raise ModelError(f"{directory}: has no sound {LABELS_FILE}, which says what its classes mean; {WANTED}")
        yield FetchedModel(directory, local, labels)


def loaded_model(fetched: FetchedModel, load: Callable[[], Any], signature: str) -> Model:
    """Loads a SavedModel, and makes sure that it can be used.

    Args:
        fetched: where it is.
        load: has TensorFlow load it.
        signature: that it must have.

    Raises:
        ModelError: TensorFlow cannot load it, or it lacks the signature.
    """
    # Only now: it takes seconds.
    import tensorflow as tf

    try:
        loaded = load()
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(f"{fetched.place}: TensorFlow cannot load it: {in_words(str(error))}; {WANTED}") from error
    model = Model(fetched.place, fetched.labels, loaded)
    model.signature(signature)
    return model


def open_model(place: str, signature: str = features.SERVING_SIGNATURE) -> Model:
    """Loads a SavedModel, and makes sure that it can be used.

    Args:
        place: as for `model_directory`.
        signature: that it must have.

    Raises:
        ModelError: there is none, TensorFlow cannot load it, it does not say what its classes mean, or it lacks the
            signature.
    """
    with fetched_model(place) as fetched:
        import tensorflow as tf

        return loaded_model(fetched, lambda: tf.saved_model.load(fetched.folder), signature)
