"""Shared by all tests: a small generated devkit, a job service of Beam's, and silence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

JOB_SERVICE_START_S = 120


@pytest.fixture(scope="session", autouse=True)
def no_arguments() -> Iterator[None]:
    """Hides pytest's command line: TFX's Beam executors read it for flags of theirs, where -v wants a number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv[:1])
        yield


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


class Silent:
    """A reporter that reports nothing."""

    def step_started(self, step: str) -> None:
        pass

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        pass


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()


@pytest.fixture
def job_service(tmp_path) -> Iterator[tuple[str, Path]]:
    """Address and log of a service of Beam's that takes jobs over gRPC, as Flink's and Spark's do."""
    port, log = tmp_path / "port", tmp_path / "log"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with log.open("w") as output:
        service = subprocess.Popen([*command, "--port_file", str(port)], stderr=output, stdout=output)
    try:
        waited_until = time.monotonic() + JOB_SERVICE_START_S
        while not (port.exists() and port.read_text()):
            assert service.poll() is None and time.monotonic() < waited_until, log.read_text()
            time.sleep(0.1)
        yield f"localhost:{port.read_text()}", log
    finally:
        service.terminate()
        service.wait()
