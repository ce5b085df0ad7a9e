"""Hashes of the project's code: caches must not answer for code that has changed since."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def code_of(*packages: ModuleType) -> str:
    """A hash of the packages' sources, wherever they are installed."""
    digest = hashlib.blake2b(digest_size=16)
    for package in packages:
        assert package.__file__ is not None, "a package with an __init__.py has a file"
        folder = Path(package.__file__).parent
        for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.json")]):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
