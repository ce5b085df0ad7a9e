"""CuratedSchema brings the text of a schema into the pipeline."""

# TFX reads annotations as objects, so they are not postponed here.

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from trainer.common import files

SCHEMA_FILE = "schema.pbtxt"
"""TFX's name of the file."""


@component
def CuratedSchema(schema_text: Parameter[str], schema: OutputArtifact[standard_artifacts.Schema]) -> None:
    """Writes the schema to a file.

    TFX's ImportSchemaGen takes a path, so the cache answers even if the file has changed since. This component takes
    the contents.

    Args:
        schema_text: the schema in protobuf's text format; see `components.curated_schema.schema.schema_for`.
        schema: the `Schema` artifact that is written.
    """
    files.write_bytes(files.join(schema.uri, SCHEMA_FILE), schema_text.encode())
