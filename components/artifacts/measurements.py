"""What a step took. TFX's steps do not tell, so whoever runs them writes it on the artifacts that they have made.

There it stays with what comes from the cache, and needs no place of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, ValidationError

from schema.section import Section

if TYPE_CHECKING:
    from tfx import types

MEASURED = "measured"
"""Custom property of an artifact: the `Measurement` of the step that made it, as JSON."""
# Linux's files on this process.
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class Measurement(Section):
    """What a step took when it worked."""

    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")

    step: str
    run: str = ""
    """The runner's name of the run; empty if it gives none."""
    seconds: float
    """On the clock."""
    peak_memory: int | None
    """Of its process, in bytes; None where the system does not tell."""


class Watch:
    """Measures a step; made as it begins.

    Args:
        step: the step's name.
        run: the runner's name of the run; empty if it gives none.
    """

    run = ""
    """The run whose step is measured last: what runs as a function is told of no context."""

    def __init__(self, step: str, run: str = "") -> None:
        Watch.run = run
        self._step = step
        self._started = time.monotonic()
        self._peak_is_its_own = _reset_peak_memory()

    def measured(self) -> Measurement:
        """What it has taken up to now."""
        return Measurement(
            step=self._step,
            run=self.run,
            seconds=round(time.monotonic() - self._started, 3),
            peak_memory=_peak_memory() if self._peak_is_its_own else None,
        )


def mark(artifacts: Iterable[types.Artifact], measurement: Measurement) -> None:
    """Writes on artifacts what the step took that has made them."""
    for artifact in artifacts:
        artifact.set_string_custom_property(MEASURED, measurement.model_dump_json())


def measurements_on(artifacts: Iterable[types.Artifact]) -> list[Measurement]:
    """What the steps took that have made these artifacts, once each; of some it may not be known."""
    found: dict[str, Measurement] = {}
    for artifact in artifacts:
        try:
            measurement = Measurement.model_validate_json(artifact.get_string_custom_property(MEASURED))
        except ValidationError:
            continue
        found[measurement.step] = measurement
    return list(found.values())


def _reset_peak_memory() -> bool:
    """Lets Linux count the peak anew (proc(5), clear_refs); whether it does."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_memory() -> int | None:
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
