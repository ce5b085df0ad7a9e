"""Decides a task: its inputs, its outputs, and whether it runs. Stands for v2/driver in kubeflow/pipelines."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.records import BackendError
from kubeflow.local_backend.spec import Spec

ParameterType = pipeline_spec_pb2.ParameterType
OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"
"""`OutputMetadataFilepath` in v2/component/launcher_v2.go. Only the program itself makes its folder."""
PARAMETER_FILE = "/tmp/kfp/outputs/{}"
"""`provisionOutputs` in v2/driver/driver.go."""
LOGS = "executor-logs"
"""An output artifact that every task gets, declared or not: PUBLISH_LOGS of the API server is true if unset."""
CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == true")
"""The only form of condition that `kubeflow.compiler` writes; the parameter is a BOOLEAN."""
_TYPES = {
    "string_value": (ParameterType.STRING,),
    "number_value": (ParameterType.NUMBER_DOUBLE, ParameterType.NUMBER_INTEGER),
    "bool_value": (ParameterType.BOOLEAN,),
    "list_value": (ParameterType.LIST,),
    "struct_value": (ParameterType.STRUCT,),
}
"""Which parameters take which kinds of values. `resolveInputs` in v2/driver/resolve.go also turns all into a STRING."""


def root_parameters(spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's parameters as Values: `Compile` in v2/compiler/argocompiler/argo.go, `RootDAG` in v2/driver.

    Args:
        spec: the pipeline.
        values: the run's parameters; the defaults stand for the others.
    """
    definitions = spec.pipeline.root.input_definitions.parameters
    return {
        name: json_format.ParseDict(values[name], struct_pb2.Value()) if name in values else definition.default_value
        for name, definition in definitions.items()
    }


def resolve_inputs(step: str, task: Any, component: Any, root: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
    """A task's inputs: `resolveInputs` in v2/driver/resolve.go.

    Args:
        step: the task's name.
        task: PipelineTaskSpec.
        component: ComponentSpec.
        root: the pipeline's parameters.
        results: ExecutorOutput of the tasks that it depends on, by name.

    Returns:
        ExecutorInput.Inputs.

    Raises:
        BackendError: an input has the wrong type.
    """
    inputs = pipeline_spec_pb2.ExecutorInput.Inputs()
    for key, definition in component.input_definitions.parameters.items():
        source = task.inputs.parameters[key]
        match source.WhichOneof("kind"):
            case "component_input_parameter":
                value = root[source.component_input_parameter]
            case "task_output_parameter":
                output = source.task_output_parameter
                value = results[output.producer_task].parameter_values[output.output_parameter_key]
            case _:
                value = source.runtime_value.constant
        kind = value.WhichOneof("kind")
        if definition.parameter_type not in _TYPES.get(kind, ()):
            expected = ParameterType.ParameterTypeEnum.Name(definition.parameter_type)
            found = (kind or "nothing").removesuffix("_value")
            raise BackendError(step, f"input parameter {key}: found a {found}, expected {expected}")
        inputs.parameter_values[key].CopyFrom(value)
    for key in task.inputs.artifacts:
        made = task.inputs.artifacts[key].task_output_artifact
        inputs.artifacts[key].CopyFrom(results[made.producer_task].artifacts[made.output_artifact_key])
    return inputs


def holds(task: Any, inputs: Any) -> bool:
    """Whether a task's condition holds; `checks` has made sure that it has the form of `CONDITION`."""
    match = CONDITION.fullmatch(task.trigger_policy.condition)
    return match is None or inputs.parameter_values[match[1]].bool_value


def provision_outputs(component: Any, folder: str) -> Any:
    """A task's outputs and their places: `provisionOutputs` in v2/driver/driver.go.

    Args:
        component: ComponentSpec.
        folder: URI of the folder of the outputs, one key each: run root, task, and a name that is new for each task.

    Returns:
        ExecutorInput.Outputs.
    """
    outputs = pipeline_spec_pb2.ExecutorInput.Outputs(output_file=OUTPUT_FILE)
    definitions = component.output_definitions
    for key, definition in definitions.artifacts.items():
        outputs.artifacts[key].artifacts.add(uri=f"{folder}/{key}", type=definition.artifact_type)
    logs = outputs.artifacts[LOGS].artifacts.add(uri=f"{folder}/{LOGS}")
    logs.type.schema_title = "system.Artifact"
    for key in definitions.parameters:
        outputs.parameters[key].output_file = PARAMETER_FILE.format(key)
    return outputs


def environment(container: Any, config: Any) -> dict[str, str]:
    """A program's variables: those of the specification, then those of secrets.

    A cluster's secrets are not here. A variable that a secret would set is taken from this process, or left out.

    Args:
        container: PipelineContainerSpec.
        config: KubernetesExecutorConfig.
    """
    result = {variable.name: variable.value for variable in container.env}
    names = [pair.env_var for source in config.secret_as_env for pair in source.key_to_env]
    return result | {name: os.environ[name] for name in names if name in os.environ}


def claims(config: Any) -> dict[str, str]:
    """Names of the persistent volume claims by mount path."""
    return {
        mount.mount_path: mount.pvc_name_parameter.runtime_value.constant.string_value or mount.constant
        for mount in config.pvc_mount
    }
