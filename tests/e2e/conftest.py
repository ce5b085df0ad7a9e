"""Real pictures for whole runs, where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_devkit() -> Path:
    """A devkit of real VOC pictures; the project has none of its own."""
    beside = PROJECT.parent / "shared" / "data" / "voc-mini" / "VOCdevkit" / "VOC2012"
    devkit = Path(os.environ.get("VOC_DEVKIT", beside))
    if not devkit.is_dir():
        pytest.skip("no real VOC pictures here; VOC_DEVKIT can name a devkit")
    return devkit
