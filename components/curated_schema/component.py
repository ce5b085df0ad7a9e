"""CuratedSchema's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.curated_schema import executor


class CuratedSchemaSpec(types.ComponentSpec):
    """What CuratedSchema is given and gives."""

    PARAMETERS = {executor.TEXT: component_spec.ExecutionParameter(type=str)}
    INPUTS: dict = {}
    OUTPUTS = {executor.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """Brings a schema into the pipeline.

    TFX's ImportSchemaGen is given a path, so that the cache answers for a file that has changed since. This component
    is given the contents.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema: str):
        """Configures the component.

        Args:
            schema: in protobuf's text format; see `components.curated_schema.schema.schema_for`.
        """
        super().__init__(
            spec=CuratedSchemaSpec(
                **{
                    executor.TEXT: schema,
                    executor.SCHEMA: types.Channel(type=standard_artifacts.Schema),
                }
            )
        )
