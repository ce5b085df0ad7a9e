"""CuratedSchema's executor: the schema's text to a file."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

SCHEMA = "schema"
TEXT = "schema_text"
SCHEMA_FILE = "schema.pbtxt"
"""The name that TFX's own schemas have."""


class Executor(base_executor.BaseExecutor):
    """Writes `<schema>/schema.pbtxt`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the text that the component was given."""
        self._log_startup(input_dict, output_dict, exec_properties)
        folder = artifact_utils.get_single_uri(output_dict[SCHEMA])
        with fileio.open(f"{folder}/{SCHEMA_FILE}", "w") as file:
            file.write(exec_properties[TEXT])
