"""What a task gets, what it is to make, and whether it runs: v2/driver in kubeflow/pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend import expressions
from kubeflow.local_backend.metadata import ParameterType, type_name, value_to_text
from kubeflow.local_backend.spec import Spec, value_of

OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"
"""`OutputMetadataFilepath` in v2/component/launcher_v2.go. Nobody makes its folder but the program."""
PARAMETER_FILE = "/tmp/kfp/outputs/{}"
"""`provisionOutputs` in v2/driver/driver.go."""
LOGS = "executor-logs"
"""An output artifact that every task gets, declared or not, where logs are published."""
KINDS = {
    "string_value": "string",
    "number_value": "number",
    "bool_value": "bool",
    "list_value": "list",
    "struct_value": "struct",
    "null_value": "null",
}
TYPES = {
    "number_value": (ParameterType.NUMBER_DOUBLE, ParameterType.NUMBER_INTEGER),
    "bool_value": (ParameterType.BOOLEAN,),
    "list_value": (ParameterType.LIST,),
    "struct_value": (ParameterType.STRUCT,),
}
"""Which parameters take which kinds of values: `resolveInputs` in v2/driver/resolve.go. A STRING takes all."""


class DriverError(ValueError):
    """The driver would fail."""


@dataclass
class Execution:
    """A task that was decided."""

    succeeded: bool
    """It ran, or came from the cache."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Output parameters: Value by name."""
    artifacts: Mapping[str, list[Any]] = field(default_factory=dict)
    """Output artifacts: RuntimeArtifact by name, as `metadata.published` leaves them."""
    dag: Dag | None = None
    """What is inside, if the task is a graph itself."""


@dataclass
class Dag:
    """A graph while it runs."""

    component: Any
    """ComponentSpec."""
    inputs: Any
    """ExecutorInput.Inputs that the graph itself was given."""
    number: int
    """Of its execution in ML Metadata."""
    executions: dict[str, Execution] = field(default_factory=dict)
    """Its tasks so far."""


@dataclass(frozen=True)
class RunNames:
    """What the placeholders for a whole run stand for."""

    run_id: str
    name: str
    """The workflow's."""
    display_name: str
    created: str


def root_inputs(spec: Spec, values: Mapping[str, Any]) -> Any:
    """What the pipeline's graph is given: `Compile` in v2/compiler/argocompiler/argo.go, `RootDAG` in v2/driver.

    An optional parameter without a default is null.

    Args:
        spec: the pipeline.
        values: the run's parameters.

    Returns:
        ExecutorInput.Inputs.
    """
    inputs = pipeline_spec_pb2.ExecutorInput.Inputs()
    definitions = spec.pipeline.root.input_definitions.parameters
    for name in definitions:
        if name in values:
            inputs.parameter_values[name].CopyFrom(value_of(values[name]))
        else:
            inputs.parameter_values[name].CopyFrom(_default_or_null(definitions[name]))
    return inputs


def resolve_inputs(name: str, task: Any, component: Any, dag: Dag, run: RunNames) -> Any:
    """What a task is given: `resolveInputs` in v2/driver/resolve.go.

    Args:
        name: the task's.
        task: PipelineTaskSpec.
        component: ComponentSpec.
        dag: the graph that the task is in.
        run: the run.

    Returns:
        ExecutorInput.Inputs.

    Raises:
        DriverError: an input cannot be found or has the wrong type.
    """
    inputs = pipeline_spec_pb2.ExecutorInput.Inputs()
    definitions = component.input_definitions.parameters
    nulls = set()
    if component.WhichOneof("implementation") == "dag":
        for key in definitions:
            if definitions[key].is_optional and key not in task.inputs.parameters:
                inputs.parameter_values[key].CopyFrom(_default_or_null(definitions[key]))
                if inputs.parameter_values[key].WhichOneof("kind") == "null_value":
                    nulls.add(key)
    for key in task.inputs.parameters:
        value = _parameter(key, task.inputs.parameters[key], name, dag, run)
        if value.WhichOneof("kind") == "null_value" and _is_component_input(task.inputs.parameters[key]):
            # ErrResolvedParameterNull: an optional parameter that the run was not given.
            if key in definitions and definitions[key].is_optional:
                continue
            raise DriverError(f"input parameter {key}: it is null, and the task's component does not call it optional")
        if key in definitions:
            _check_literals(key, value, definitions[key])
        inputs.parameter_values[key].CopyFrom(value)
    for key in task.inputs.artifacts:
        inputs.artifacts[key].artifacts.extend(_artifacts(key, task.inputs.artifacts[key], dag))
    _select(task, inputs)
    for key in definitions:
        if key not in nulls:
            _check_type(key, definitions[key], inputs)
    return inputs


def triggers(task: Any, inputs: Any) -> bool:
    """Whether a task's condition holds: `Container` and `DAG` in v2/driver, `Condition` in v2/expression.

    Raises:
        DriverError: the condition has no answer.
    """
    text = task.trigger_policy.condition
    if not text:
        return True
    variables = {
        "inputs": {"parameter_values": {key: _python(value) for key, value in inputs.parameter_values.items()}}
    }
    try:
        return expressions.condition(text, variables)
    except expressions.ExpressionError as error:
        raise DriverError(f"triggerPolicy.condition {text!r}: {error}") from error


def provision_outputs(component: Any, folder: str, *, publish_logs: bool) -> Any:
    """What a task is to make, and where: `provisionOutputs` in v2/driver/driver.go.

    Args:
        component: ComponentSpec.
        folder: URI below which the outputs lie, one key each: run root, task, and a name that is new for each task.
        publish_logs: whether there is an artifact for the task's log. PUBLISH_LOGS of the API server is true if unset.

    Returns:
        ExecutorInput.Outputs.
    """
    outputs = pipeline_spec_pb2.ExecutorInput.Outputs(output_file=OUTPUT_FILE)
    definitions = component.output_definitions
    for key in definitions.artifacts:
        definition = definitions.artifacts[key]
        artifact = outputs.artifacts[key].artifacts.add(uri=f"{folder}/{key}", type=definition.artifact_type)
        if definition.HasField("metadata"):
            artifact.metadata.CopyFrom(definition.metadata)
    if publish_logs:
        logs = outputs.artifacts[LOGS].artifacts.add(uri=f"{folder}/{LOGS}")
        logs.type.schema_title = "system.Artifact"
    for key in definitions.parameters:
        outputs.parameters[key].output_file = PARAMETER_FILE.format(key)
    return outputs


def output_parameter(execution: Execution, key: str) -> Any:
    """A task's output parameter: `resolveUpstreamParameters` and `GetProducerTask` in v2/driver/resolve.go.

    Raises:
        DriverError: there is none.
    """
    if execution.dag is None:
        if key not in execution.parameters:
            raise DriverError(f"it has not given the output parameter {key}")
        return execution.parameters[key]
    outputs = execution.dag.component.dag.outputs.parameters
    if key not in outputs:
        raise DriverError(f"its graph has no output parameter {key}")
    if outputs[key].WhichOneof("kind") == "value_from_parameter":
        selectors = [outputs[key].value_from_parameter]
    else:
        selectors = list(outputs[key].value_from_oneof.parameter_selectors)
    for selector in selectors:
        inner = execution.dag.executions.get(selector.producer_subtask)
        if inner is not None and inner.succeeded:
            return output_parameter(inner, selector.output_parameter_key)
    raise DriverError(f"output parameter {key}: no task inside that gives it has run")


def output_artifacts(execution: Execution, key: str) -> list[Any]:
    """A task's output artifacts: `resolveUpstreamArtifacts` in v2/driver/resolve.go.

    Of several selectors of a graph's output the last one counts, whichever has run.

    Raises:
        DriverError: there are none.
    """
    if execution.dag is None:
        if key not in execution.artifacts:
            raise DriverError(f"it has not given the output artifact {key}")
        return execution.artifacts[key]
    outputs = execution.dag.component.dag.outputs.artifacts
    if key not in outputs or not outputs[key].artifact_selectors:
        raise DriverError(f"its graph has no output artifact {key}")
    selector = outputs[key].artifact_selectors[-1]
    inner = execution.dag.executions.get(selector.producer_subtask)
    if inner is None or not inner.succeeded:
        raise DriverError(f"output artifact {key}: task {selector.producer_subtask} inside has not run")
    return output_artifacts(inner, selector.output_artifact_key)


def with_defaults(executor_input: Any, component: Any) -> Any:
    """A copy in which parameters that were not given have their defaults: `addDefaultParams` in launcher_v2.go.

    The driver does not fill them in, so that the cache's key does not hold them.
    """
    result = pipeline_spec_pb2.ExecutorInput()
    result.CopyFrom(executor_input)
    definitions = component.input_definitions.parameters
    for key in definitions:
        if definitions[key].HasField("default_value") and key not in result.inputs.parameter_values:
            result.inputs.parameter_values[key].CopyFrom(definitions[key].default_value)
    return result


def _default_or_null(definition: Any) -> Any:
    return definition.default_value if definition.HasField("default_value") else value_of(None)


def _is_component_input(source: Any) -> bool:
    return bool(source.WhichOneof("kind") == "component_input_parameter")


def _parameter(key: str, source: Any, task: str, dag: Dag, run: RunNames) -> Any:
    """`resolveInputParameter` in v2/driver/resolve.go."""
    kind = source.WhichOneof("kind")
    if kind == "component_input_parameter":
        name = source.component_input_parameter
        if name not in dag.inputs.parameter_values:
            raise DriverError(f"input parameter {key}: the graph around it has no input parameter {name!r}")
        return dag.inputs.parameter_values[name]
    if kind == "task_output_parameter":
        producer = source.task_output_parameter
        try:
            return output_parameter(_producer(producer.producer_task, dag), producer.output_parameter_key)
        except DriverError as error:
            raise DriverError(f"input parameter {key}, from task {producer.producer_task}: {error}") from error
    if kind == "runtime_value" and source.runtime_value.WhichOneof("value") == "constant":
        constant = source.runtime_value.constant
        # Whole values only: a placeholder inside a longer text stays as it is.
        known = {
            "{{$.pipeline_job_name}}": run.display_name,
            "{{$.pipeline_job_resource_name}}": run.name,
            "{{$.pipeline_job_uuid}}": run.run_id,
            "{{$.pipeline_task_name}}": task,
            "{{$.pipeline_task_uuid}}": str(dag.number),
            "{{$.pipeline_job_create_time_utc}}": run.created,
            "{{$.pipeline_job_schedule_time_utc}}": run.created,
        }
        return value_of(known[constant.string_value]) if constant.string_value in known else constant
    raise DriverError(f"input parameter {key}: its source {kind} is not one that the local backend knows")


def _artifacts(key: str, source: Any, dag: Dag) -> list[Any]:
    """`resolveInputArtifact` in v2/driver/resolve.go."""
    if source.WhichOneof("kind") == "component_input_artifact":
        name = source.component_input_artifact
        if name not in dag.inputs.artifacts:
            raise DriverError(f"input artifact {key}: the graph around it has no input artifact {name!r}")
        # GetInputArtifactsByExecutionID in v2/metadata/client.go leaves even the empty type out.
        return [_untyped(artifact) for artifact in dag.inputs.artifacts[name].artifacts]
    producer = source.task_output_artifact
    try:
        return output_artifacts(_producer(producer.producer_task, dag), producer.output_artifact_key)
    except DriverError as error:
        raise DriverError(f"input artifact {key}, from task {producer.producer_task}: {error}") from error


def _untyped(artifact: Any) -> Any:
    result = pipeline_spec_pb2.RuntimeArtifact()
    result.CopyFrom(artifact)
    result.ClearField("type")
    return result


def _producer(name: str, dag: Dag) -> Execution:
    execution = dag.executions.get(name)
    if execution is None or not execution.succeeded:
        raise DriverError("it has not run")
    return execution


def _select(task: Any, inputs: Any) -> None:
    """`handleParameterExpressionSelector` in v2/driver/resolve.go."""
    for key in task.inputs.parameters:
        selector = task.inputs.parameters[key].parameter_expression_selector
        if not selector:
            continue
        if key not in inputs.parameter_values:
            raise DriverError(f"input parameter {key}: it has a selector and no value")
        try:
            selected = expressions.select(selector, _python(inputs.parameter_values[key]))
        except expressions.ExpressionError as error:
            raise DriverError(f"input parameter {key}: selector {selector!r}: {error}") from error
        inputs.parameter_values[key].CopyFrom(value_of(selected))


def _check_literals(key: str, value: Any, definition: Any) -> None:
    """`ValidateLiteralParameter` in common/util, in late versions."""
    if definition.literals and value not in definition.literals:
        allowed = ", ".join(str(json_format.MessageToDict(literal)) for literal in definition.literals)
        raise DriverError(f"input parameter {key}: found {value_to_text(value)!r}, wanted one of {allowed}")


def _check_type(key: str, definition: Any, inputs: Any) -> None:
    """`handleParamTypeValidationAndConversion` in v2/driver/resolve.go.

    A default does not stand in for a missing value there unless the parameter is called optional as well.
    """
    if key not in inputs.parameter_values:
        if definition.is_optional:
            return
        raise DriverError(
            f"input parameter {key}: it is given no value; a default counts for parameters with isOptional only"
        )
    value = inputs.parameter_values[key]
    kind = value.WhichOneof("kind")
    wanted = definition.parameter_type
    if wanted == ParameterType.STRING:
        if kind != "string_value":
            value.string_value = value_to_text(value)
    elif wanted not in TYPES.get(kind, ()):
        raise DriverError(f"input parameter {key}: found a {KINDS.get(kind, 'nothing')}, wanted {type_name(wanted)}")


def _python(value: Any) -> Any:
    """A Value as Python's own, all numbers floats."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [_python(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {key: _python(item) for key, item in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)
