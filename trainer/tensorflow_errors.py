"""Errors of TensorFlow's in words. Imports no TensorFlow, so that a command may use it before that is loaded."""

from __future__ import annotations

import re

_NODE = re.compile(r"\{\{[^}]*\}\}| \[Op:.*")


def in_words(message: str) -> str:
    """What an error of TensorFlow's says, without what is around it: names of nodes, and where they were made.

    Args:
        message: of the error.
    """
    lines = [line for line in message.partition("[[")[0].splitlines() if line.strip()] or ["it says no more"]
    told = _NODE.sub("", lines[-1]).strip()
    return told.removeprefix("assertion failed: [").removesuffix("]") if told.startswith("assertion") else told
