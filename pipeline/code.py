"""A hash of the code that a step runs, without which the cache would answer for old code. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
"""Where the packages lie, wherever they are installed."""
_SHARED = ("components/*", "components/artifacts", "components/pages", "schema", "trainer/common")
"""What every component may import; the import rules in pyproject.toml say so."""
_TRAINER = ("schema", "trainer")
_FOLDERS = {
    "components/model_export": (*_SHARED, "components/model_export", "trainer"),
    # These run our code through functions.
    "tfx/components/trainer": _TRAINER,
    "tfx/components/transform": _TRAINER,
    "tfx/components/statistics_gen": (),
    "trainer": _TRAINER,
}
_SUFFIXES = {".py", ".json", ".html", ".js"}


@cache
def code_of(module: str) -> str:
    """A hash of the sources of a step: its own folder, and those that it may import.

    Args:
        module: dotted path of the step's executor, or `trainer`.
    """
    parts = module.split(".")
    package = "/".join(parts[: 3 if parts[0] == "tfx" else 2])
    files = {
        file
        for folder in _FOLDERS.get(package, (*_SHARED, package))
        for file in (_ROOT.glob(folder) if folder.endswith("*") else (_ROOT / folder).rglob("*"))
        if file.suffix in _SUFFIXES
    }
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
