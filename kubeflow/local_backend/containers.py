"""How a task's program is started.

The launcher puts a task's files into a fresh folder, `Container.root`, that stands for the container's `/`: below it
lie `gcs`, `s3`, `minio` and `tmp`, and nothing else of earlier tasks. A `ContainerRunner` starts the program so that it
finds them. There are two ways:

* The program has a root of its own (`own_root` is true): an image, with the folders in `SEEN` mounted from
  `Container.root` to the places of the same names, writable for the program's user. Paths on the command line are the
  real ones, such as `/minio/...`.
* It runs in this machine's file system (`own_root` is false): paths on the command line lead into `Container.root`, and
  the environment variable `kubeflow.launcher_paths.LOCAL_ROOT` names it, so that the program can make such paths.

Steps may use the object store themselves, through fsspec. A runner sees to it that `OBJECT_STORE_PACKAGE` is on the
program's PYTHONPATH and that the environment variable `OBJECT_STORE` names `Container.store`, both where the program
sees them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubeflow.launcher_paths import LOCAL_ROOT, MOUNTS

SEEN = (*MOUNTS.values(), "/tmp")
"""Folders of a container that the launcher and the program share."""
OBJECT_STORE_PACKAGE = Path(__file__).with_name("object_store")
"""Goes on the program's PYTHONPATH: fsspec then finds gs, s3 and minio in the store's folder."""
OBJECT_STORE = "DEEPLAB_OBJECT_STORE"
"""Environment variable with the store's folder."""
TIMED_OUT = -1
"""What `run` returns when the program was ended at its deadline."""

_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Container:
    """One attempt at a task."""

    task: str
    """Its name, for messages."""
    image: str
    command: tuple[str, ...]
    """The program and its arguments, filled in."""
    env: Mapping[str, str]
    """Environment variables of the specification and of secrets."""
    root: Path
    """Stands for the container's `/`."""
    store: Path
    """The object store's folder."""
    log_file: Path
    """Receives what the program prints."""
    timeout: float | None
    """Seconds until the program is ended."""


class ContainerRunner(Protocol):
    """Starts programs."""

    own_root: bool
    """Whether `Container.root` is the program's `/`, as far as `SEEN` goes."""

    def run(self, container: Container) -> int:
        """Runs a program to its end.

        Returns:
            Its exit code, or `TIMED_OUT`.

        Raises:
            OSError: it cannot be started.
        """


class Subprocesses:
    """Runs a task's program in this machine's file system, with this Python and what is installed for it.

    The image does not count, and a task's program could read this machine's other files; everything that it is given
    is below its own folder. A leading `python` is this interpreter.
    """

    own_root = False

    def run(self, container: Container) -> int:
        """See `ContainerRunner.run`."""
        program, *arguments = container.command
        if program in ("python", "python3"):
            program = sys.executable
        work, home = container.root / "work", container.root / "home"
        work.mkdir()
        home.mkdir()
        env = self._environment(container, home)
        return run_process([program, *arguments], container, env=env, work_folder=work)

    def _environment(self, container: Container, home: Path) -> dict[str, str]:
        code = Path(__file__).parents[2]
        paths = [str(OBJECT_STORE_PACKAGE), str(code), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "HOME": str(home),
            "TMPDIR": str(container.root / "tmp"),
            "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths if path),
            LOCAL_ROOT: str(container.root),
            OBJECT_STORE: str(container.store),
            **container.env,
        }


def run_process(
    command: Sequence[str], container: Container, *, env: Mapping[str, str], work_folder: Path | None = None
) -> int:
    """Runs a command to its end, or to the container's deadline, with the container's log file.

    Args:
        command: the command and its arguments, as this machine starts it.
        container: what is run.
        env: the environment, all of it.
        work_folder: the current folder; otherwise this process's.

    Returns:
        The exit code, or `TIMED_OUT`.
    """
    with container.log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=work_folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that it can be ended with all that it started
        )
        try:
            return process.wait(container.timeout)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program and what it left running, as the end of a pod does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
