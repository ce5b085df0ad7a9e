"""The InfraValidator's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.infra_validator import executor


class InfraValidatorSpec(types.ComponentSpec):
    """What the InfraValidator is given and gives."""

    PARAMETERS = {
        executor.PICTURES: component_spec.ExecutionParameter(type=int),
        executor.MAX_MEMORY_MIB: component_spec.ExecutionParameter(type=int),
        executor.MAX_SECONDS: component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraValidator(base_component.BaseComponent):
    """Runs a model in a fresh process with nothing but TensorFlow, and blesses it if it answers as it should.

    TFX's wants Docker, or a cluster whose metadata say where it runs, which open-source Kubeflow does not give it.
    """

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        pictures: int,
        max_memory_mib: int,
        max_seconds: int,
    ):
        """Configures the component.

        Args:
            model: `Model` that is tried out.
            examples: `Examples`; the pictures are those of the split `eval`.
            pictures: how many are taken.
            max_memory_mib: that the process may take.
            max_seconds: that it may take.
        """
        super().__init__(
            spec=InfraValidatorSpec(
                **{
                    executor.MODEL: model,
                    executor.EXAMPLES: examples,
                    executor.PICTURES: pictures,
                    executor.MAX_MEMORY_MIB: max_memory_mib,
                    executor.MAX_SECONDS: max_seconds,
                    executor.BLESSING: types.Channel(type=standard_artifacts.InfraBlessing),
                }
            )
        )
