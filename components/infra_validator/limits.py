"""A process of its own, with limits of time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

POLL_S = 0.1


@dataclass(frozen=True)
class Limits:
    """What a process may take."""

    seconds: float
    memory_mib: int


class LimitError(RuntimeError):
    """A process went beyond a limit; the message says which, and what to set."""


class LimitedProcess:
    """Starts a command, watches over it, and ends it with all its children at the end of the `with`.

    Memory is looked at from the outside: a limit of the address space, RLIMIT_AS, would stop TensorFlow, which reserves
    far more than it uses. The kernel keeps the largest amount that a process held, so that none is overlooked between
    two looks.

    Args:
        command: program and arguments.
        limits: that hold for it.
        folder: where it is run; its output goes into `output.txt` there.
    """

    def __init__(self, command: Sequence[str], limits: Limits, folder: Path):
        self._limits = limits
        self._output = folder / "output.txt"
        self.peak_memory_mib = 0.0
        """The most that the process has held, as far as is known."""
        self._started = time.monotonic()
        # Not on a GPU: this process, or one beside it, may hold all of its memory.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text(errors="replace")

    @property
    def seconds_left(self) -> float:
        """Until its time is over."""
        return self._started + self._limits.seconds - time.monotonic()

    def is_running(self) -> bool:
        """Looks at the process.

        Raises:
            LimitError: it has taken more than it may.
        """
        running = self._process.poll() is None
        self.look_at_memory(_peak_memory_mib(self._process.pid))
        if running and self.seconds_left < 0:
            raise LimitError(f"it took more than the {self._limits.seconds:g} s of infra_validation.max_seconds")
        return running

    def look_at_memory(self, peak_mib: float) -> None:
        """Takes note of the memory that the process has held.

        Raises:
            LimitError: it is more than it may hold.
        """
        self.peak_memory_mib = max(self.peak_memory_mib, peak_mib)
        if self.peak_memory_mib > self._limits.memory_mib:
            raise LimitError(
                f"it took {self.peak_memory_mib:.0f} MiB of memory, more than the {self._limits.memory_mib} MiB of "
                "infra_validation.max_memory_mib"
            )

    def wait(self) -> str | None:
        """Waits for the end.

        Returns:
            How the process has ended, in words; None if it ended well.

        Raises:
            LimitError: it has taken more than it may.
        """
        while self.is_running():
            time.sleep(POLL_S)
        code = self._process.returncode
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}" if code else None


def _peak_memory_mib(process: int) -> float:
    """The most memory that a process has held; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
