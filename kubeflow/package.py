"""A compiled pipeline: one YAML file of two documents, Kubeflow's PipelineSpec and its part for Kubernetes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

PARAMETER_TYPES: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class PackageError(ValueError):
    """A file is no compiled pipeline, or a run is given parameters that the pipeline does not have."""


@dataclass(frozen=True)
class Package:
    """A compiled pipeline."""

    text: str
    """The file's contents."""

    @classmethod
    def read(cls, file: Path) -> Package:
        """Reads a compiled pipeline.

        Raises:
            PackageError: it is none.
        """
        try:
            package = cls(file.read_text(encoding="utf-8"))
            _ = package.name, package.parameters, package.platform
        except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
            raise PackageError(f"{file}: not a compiled pipeline: {error}") from error
        return package

    @cached_property
    def _documents(self) -> list[dict[str, Any]]:
        return list(yaml.load_all(self.text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))

    @property
    def spec(self) -> dict[str, Any]:
        """The PipelineSpec."""
        return self._documents[0]

    @property
    def platform(self) -> dict[str, Any]:
        """The platform specification; empty if there is none."""
        return self._documents[1] if len(self._documents) > 1 else {}

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def version(self) -> str:
        """The name of this version: it changes with the file's contents and with nothing else."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The runtime parameters by name: `parameterType`, `defaultValue`, `description`, `isOptional`."""
        return self.spec["root"].get("inputDefinitions", {}).get("parameters", {})

    def check_parameters(self, values: Mapping[str, Any]) -> None:
        """Refuses what Kubeflow would refuse, before anything is sent.

        Raises:
            PackageError: a parameter is unknown, has the wrong type, or is missing.
        """
        for name, value in values.items():
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise PackageError(f"parameter {name}: the pipeline has no such parameter; it has: {known}")
            wanted = self.parameters[name]["parameterType"]
            fits = isinstance(value, PARAMETER_TYPES.get(wanted, object))
            if not fits or (isinstance(value, bool) and wanted != "BOOLEAN"):
                raise PackageError(f"parameter {name}: found {value!r}, wanted {wanted}")
        for name, definition in self.parameters.items():
            if name not in values and "defaultValue" not in definition and not definition.get("isOptional"):
                raise PackageError(f"parameter {name}: it has no default and is not given")
