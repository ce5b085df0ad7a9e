"""Errors of TensorFlow's in words. Imports no TensorFlow, so that a command may use it before that is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_NODE = re.compile(r"\{\{[^}]*\}\}| \[Op:.*")


class PictureRefusedError(ValueError):
    """The model cannot take a picture; the message says why."""

    @property
    def reason(self) -> str:
        """Of a picture that was the only one of its batch: the message without its number."""
        return str(self).removeprefix("entry 0 of the batch: ")


@contextmanager
def picture_refusals() -> Iterator[None]:
    """Inside, TensorFlow's errors of a picture are such errors.

    Raises:
        PictureRefusedError: it is no such picture, or takes more memory than there is.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        raise PictureRefusedError(in_words(error.message)) from error


def in_words(message: str) -> str:
    """What an error of TensorFlow's says, without what is around it: names of nodes, and where they were made.

    Args:
        message: of the error.
    """
    lines = [line for line in message.partition("[[")[0].splitlines() if line.strip()] or ["it says no more"]
    told = _NODE.sub("", lines[-1]).strip()
    return told.removeprefix("assertion failed: [").removesuffix("]") if told.startswith("assertion") else told
