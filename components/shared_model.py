"""A SavedModel for the steps of Beam."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from apache_beam.utils import shared


class SharedModel:
    """A SavedModel that a process loads once, however many of Beam's threads run it. It can be pickled.

    Args:
        folder: of the SavedModel.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._shared = shared.Shared()

    def load(self) -> Any:
        """What TensorFlow has loaded. It must be kept as long as its signatures are called: they die with it."""
        return self._shared.acquire(lambda: tf.saved_model.load(self.folder))
