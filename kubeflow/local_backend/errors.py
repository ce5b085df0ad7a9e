"""The one exception of the local backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeflow.local_backend.records import LocalRun


class BackendError(RuntimeError):
    """A pipeline is refused, or a task of it failed.

    Args:
        step: the task, as `LocalRun.tasks` names it; empty if the pipeline itself is meant.
        message: what was found, what is wanted, and what to do.
    """

    def __init__(self, step: str, message: str):
        super().__init__(f"{step}: {message}" if step else message)
        self.step = step
        self.message = message
        self.run: LocalRun | None = None
        """The run as far as it went; none if nothing was started."""
