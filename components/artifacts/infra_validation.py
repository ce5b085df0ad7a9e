"""The document that an infra validation leaves in the `InfraBlessing` artifact."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict

from schema.section import Section
from trainer.common import files

VALIDATION_FILE = "infra_validation.json"


class InfraValidationResult(Section):
    """Whether a model can be served, and why not."""

    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")

    blessed: bool
    reason: str | None
    """Why not, in words; None if it can."""
    pictures: int
    """That it was tried out on."""
    seconds: Mapping[str, float] = {}
    """For loading it, `load`, and for each signature on all pictures, as far as it was come to."""
    peak_memory_mib: float | None = None
    """The most that the process held; None if it was not started."""
    model_server: bool = False
    """Whether TensorFlow Serving was there, and was tried out as well."""

    @property
    def sentence(self) -> str:
        """All of this in words."""
        if not self.blessed:
            return self.reason or ""
        server = ", also in tensorflow_model_server" if self.model_server else ""
        return (
            f"every signature answers for {self.pictures} pictures in a fresh process{server}: "
            f"{sum(self.seconds.values()):.1f} s, {self.peak_memory_mib or 0:.0f} MiB"
        )


def read_validation(folder: str) -> InfraValidationResult:
    """Reads the document in the folder of an `InfraBlessing` artifact, path or URI.

    Raises:
        OSError: it cannot be read.
    """
    return InfraValidationResult.model_validate_json(files.read_bytes(files.join(folder, VALIDATION_FILE)))
