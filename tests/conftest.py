"""Shared by all tests: a small generated devkit, and silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session")
def devkit_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devkit of 12 train and 4 val pictures. Read it only; `devkit_copy` may be changed."""
    from pipeline.synthetic_voc import write_devkit

    return write_devkit(tmp_path_factory.mktemp("data"), train=12, val=4)


@pytest.fixture
def devkit_copy(tmp_path: Path) -> Path:
    """A devkit of 6 train and 2 val pictures that a test may damage."""
    from pipeline.synthetic_voc import write_devkit

    return write_devkit(tmp_path / "data", train=6, val=2)
