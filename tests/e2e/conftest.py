"""Real pictures for whole runs. They may not be shipped: `VOC_DEVKIT` names a devkit that has some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_devkit() -> Path:
    """A devkit of real VOC pictures."""
    if "VOC_DEVKIT" not in os.environ:
        pytest.skip("VOC_DEVKIT names no devkit of real VOC pictures")
    return Path(os.environ["VOC_DEVKIT"])
