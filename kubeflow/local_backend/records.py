"""The record of a run, in memory and on disk, and the one exception of the local backend."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

TaskState = Literal["succeeded", "cached", "skipped", "omitted", "failed"]
RunState = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True)
class Artifact:
    """An output artifact, as later tasks see it."""

    uri: str
    metadata: dict[str, Any]
    name: str
    """The number that ML Metadata gave it."""


@dataclass
class Task:
    """A task of a run."""

    state: TaskState
    """`skipped`: its condition was false; `omitted`: something that it depends on did not succeed."""
    seconds: float = 0.0
    attempts: int = 0
    """How often its program was started."""
    downloaded: int = 0
    """Bytes of input artifacts, over all attempts."""
    uploaded: int = 0
    """Bytes of output artifacts, over all attempts."""
    log_file: str | None = None
    """Of the last attempt."""
    executor_input: dict[str, Any] = field(default_factory=dict)
    """ExecutorInput as JSON."""
    executor_output: dict[str, Any] = field(default_factory=dict)
    """ExecutorOutput as JSON."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Output parameters; numbers are floats."""
    artifacts: dict[str, list[Artifact]] = field(default_factory=dict)
    """Output artifacts."""


@dataclass
class LocalRun:
    """A run of a pipeline."""

    run_id: str
    pipeline: str
    root: str
    """Below which the run's artifacts lie: pipeline root, pipeline and run."""
    parameters: dict[str, Any]
    started: str
    """Date and time, UTC, ISO 8601."""
    state: RunState = "running"
    error: str | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    """By name, in the order in which they were decided."""

    def write(self, store: Path) -> None:
        """Keeps the run as `<store>/runs/<run_id>.json`."""
        file = store / "runs" / f"{self.run_id}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        partial.replace(file)

    @classmethod
    def read(cls, file: Path) -> LocalRun:
        """Reads what `write` kept."""
        fields = json.loads(file.read_text(encoding="utf-8"))
        for name, task in fields["tasks"].items():
            task["artifacts"] = {key: [Artifact(**item) for item in items] for key, items in task["artifacts"].items()}
            fields["tasks"][name] = Task(**task)
        return cls(**fields)


def runs(store: Path) -> list[LocalRun]:
    """The runs that a store has seen, the newest first."""
    return sorted(map(LocalRun.read, (store / "runs").glob("*.json")), key=lambda run: run.started, reverse=True)


class BackendError(RuntimeError):
    """A pipeline is refused, or a task of it failed.

    Args:
        step: the task, as `LocalRun.tasks` names it; empty for the pipeline itself.
        message: what was found, what was expected, and what to do.
    """

    def __init__(self, step: str, message: str):
        super().__init__(f"{step}: {message}" if step else message)
        self.step = step
        self.message = message
        self.run: LocalRun | None = None
        """The run as far as it went; None if nothing was started."""
