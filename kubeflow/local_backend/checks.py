"""What the API server, the backend's compiler, Argo or Kubernetes would refuse, before anything runs.

Some of it a cluster finds out while the pipeline runs, such as a missing parameter in the driver: here it is found
first. What a cluster would run and the local backend cannot is refused at the end of each part, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from kubeflow.local_backend import expressions
from kubeflow.local_backend.errors import BackendError
from kubeflow.local_backend.metadata import ParameterType, type_name
from kubeflow.local_backend.spec import Spec
from kubeflow.local_backend.store import Location, LocationError
from kubeflow.package import Package, PackageError

SCHEMA_VERSION = "2.1.0"
PIPELINE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
ARGO_NAME_LENGTH = 128
QUANTITY = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]+)?")
ENVIRONMENT_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
TEMPLATES = ("entrypoint", "root", "system-dag-driver", "system-container-driver")
"""Names of Argo templates that the backend's compiler makes itself: v2/compiler/argocompiler."""
EXIT_TASK = "ALL_UPSTREAM_TASKS_COMPLETED"
NOT_HERE = "the local backend cannot run it, a cluster can"


def check(spec: Spec, package: Package, parameters: Mapping[str, Any], root: str) -> None:
    """Refuses a run.

    Args:
        spec: the pipeline.
        package: what it was read from.
        parameters: of the run.
        root: the pipeline root's URI.

    Raises:
        BackendError: the first thing that is wrong.
    """
    _check_head(spec)
    _check_root(root)
    _check_parameters(spec, package, parameters)
    if "root" in spec.pipeline.components:
        raise BackendError("", "a component is called root; the name is reserved")  # Accept in v2/compiler/visitor.go
    _check_graph(spec, "", spec.pipeline.root, set(spec.pipeline.root.input_definitions.parameters), set(), ())


def dependencies(task: Any) -> list[str]:
    """What a task waits for: `addImplicitDependencies` in v2/compiler/argocompiler/dag.go, and what it says itself."""
    found = dict.fromkeys(task.dependent_tasks)
    for inputs, field in (
        (task.inputs.parameters, "task_output_parameter"),
        (task.inputs.artifacts, "task_output_artifact"),
    ):
        for key in sorted(inputs):
            if inputs[key].WhichOneof("kind") == field:
                found[getattr(inputs[key], field).producer_task] = None
    return list(found)


def in_order(tasks: Any) -> list[str]:
    """Names of a graph's tasks, each after what it depends on.

    Raises:
        BackendError: they wait for one another; Argo's validation finds the same.
    """
    waiting = {name: set(dependencies(tasks[name])) for name in sorted(tasks)}
    order: list[str] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if needed <= set(order)]
        if not ready:
            cycle = ", ".join(f"{name} (waits for {', '.join(sorted(waiting[name]))})" for name in waiting)
            raise BackendError("", f"tasks wait for one another: {cycle}")
        order.append(ready[0])
        del waiting[ready[0]]
    return order


def _check_head(spec: Spec) -> None:
    """`NewV2SpecTemplate` in apiserver/template/v2_template.go."""
    pipeline = spec.pipeline
    if pipeline.schema_version != SCHEMA_VERSION:
        found = repr(pipeline.schema_version)
        raise BackendError("", f"schemaVersion: found {found}, wanted {SCHEMA_VERSION}; the backend knows no other")
    name = pipeline.pipeline_info.name
    # The server's pattern is not anchored. The name becomes a workflow's, where Kubernetes wants all of it to fit.
    if not PIPELINE_NAME.fullmatch(name):
        raise BackendError(
            "",
            f"pipelineInfo.name: found {name!r}; lower case letters, digits, '-' and '.' are wanted, a letter or digit "
            "first and last",
        )
    if not pipeline.HasField("root"):
        raise BackendError("", "root: the pipeline has no root component")


def _check_root(root: str) -> None:
    """`ParseBucketPathToConfig` in v2/objectstore/config.go."""
    try:
        Location.parse(root)
    except LocationError as error:
        raise BackendError("", f"pipeline root: {error}") from error


def _check_parameters(spec: Spec, package: Package, values: Mapping[str, Any]) -> None:
    """`validatePipelineJobInputs` in apiserver/template/v2_template.go."""
    definitions = spec.pipeline.root.input_definitions.parameters
    for name in values:
        if name in definitions and definitions[name].parameter_type in (
            ParameterType.PARAMETER_TYPE_ENUM_UNSPECIFIED,
            ParameterType.TASK_FINAL_STATUS,
            ParameterType.TASK_CONFIG,
        ):
            found = type_name(definitions[name].parameter_type)
            raise BackendError("", f"parameter {name}: a pipeline cannot have a parameter of type {found}")
    try:
        package.check_parameters(values)
    except PackageError as error:
        raise BackendError("", str(error)) from error


def _check_graph(
    spec: Spec,
    path: str,
    component: Any,
    parameters: set[str],
    artifacts: set[str],
    around: tuple[str, ...],
) -> None:
    """`dfs` in v2/compiler/visitor.go and `DAG` in v2/compiler/argocompiler/dag.go.

    Args:
        spec: the pipeline.
        path: of the task that the graph is, with a slash at the end; empty for the root.
        component: the graph.
        parameters: names of the parameters that the graph is given.
        artifacts: names of the artifacts that the graph is given.
        around: components that this graph is inside of.
    """
    if component.WhichOneof("implementation") != "dag":
        raise BackendError(path.rstrip("/"), "the component is neither a graph of tasks nor has it an executor")
    tasks = component.dag.tasks
    if not [name for name in tasks if not _is_exit(tasks[name])]:
        raise BackendError(path.rstrip("/"), "the graph has no tasks")
    for name in sorted(tasks):
        _check_name(path + name, name, tasks)
        _check_task(spec, path + name, tasks[name])
        _check_inputs(spec, path + name, tasks[name], tasks, parameters, artifacts)
    in_order(tasks)
    _check_graph_outputs(spec, path.rstrip("/"), component)
    for name in sorted(tasks):
        task = tasks[name]
        inner = spec.component(task)
        reference = task.component_ref.name
        if inner.WhichOneof("implementation") != "dag":
            continue
        if reference in around:
            raise BackendError(path + name, f"component {reference} is used inside itself")
        _check_argo_name(path + name, f"component {reference}", reference)
        if reference in TEMPLATES:
            raise BackendError(path + name, f"component {reference}: the backend has a template of this name")
        given = set(task.inputs.parameters) | set(inner.input_definitions.parameters)
        _check_graph(spec, f"{path}{name}/", inner, given, set(task.inputs.artifacts), (*around, reference))


def _check_name(step: str, name: str, tasks: Any) -> None:
    """Names of Argo's tasks: workflow/validate/validate.go in argoproj/argo-workflows.

    A container's task becomes two there, the second with `-driver` behind its name.
    """
    _check_argo_name(step, "the task's name", name)
    if name[0].isdigit():
        raise BackendError(step, "the task's name begins with a digit, which Argo forbids in what others depend on")
    if f"{name}-driver" in tasks:
        raise BackendError(step, f"there is a task {name}-driver; the backend gives this name to the task's driver")
    info = tasks[name].task_info.name
    if not info:
        # validateNonRoot in v2/driver/driver.go
        raise BackendError(step, "taskInfo.name is missing")
    if info != name and any(name in dependencies(tasks[other]) for other in tasks):
        # In early versions GetExecutionsInDAG in v2/metadata/client.go knows tasks by taskInfo.name.
        raise BackendError(
            step, f"taskInfo.name: found {info!r}, wanted {name!r}; under another name others do not find its outputs"
        )


def _check_argo_name(step: str, what: str, name: str) -> None:
    if not ARGO_NAME.fullmatch(name):
        raise BackendError(
            step, f"{what}: found {name!r}; letters, digits and '-' are wanted, a letter or digit first (Argo)"
        )
    if len(name) > ARGO_NAME_LENGTH:
        raise BackendError(step, f"{what}: it has {len(name)} characters, Argo takes {ARGO_NAME_LENGTH}")


def _check_task(spec: Spec, step: str, task: Any) -> None:
    """`dfs` in v2/compiler/visitor.go and `task` in v2/compiler/argocompiler/dag.go."""
    reference = task.component_ref.name
    if reference not in spec.pipeline.components:
        raise BackendError(step, f"componentRef.name: there is no component {reference!r}")
    if task.WhichOneof("iterator") == "artifact_iterator":
        raise BackendError(step, "artifactIterator: the backend has not implemented it")
    if task.WhichOneof("iterator") == "parameter_iterator":
        raise BackendError(step, f"parameterIterator: {NOT_HERE}")
    if _is_exit(task):
        raise BackendError(step, f"triggerPolicy.strategy {EXIT_TASK}: {NOT_HERE}")
    _check_condition(step, task.trigger_policy.condition)
    _check_retries(step, task)
    component = spec.component(task)
    _check_component(step, component)
    if component.WhichOneof("implementation") == "dag":
        return
    executor = _executor(spec, step, component)
    if executor.WhichOneof("spec") == "container":
        _check_container(step, executor.container)
        if component.executor_label in spec.platform:
            _check_platform(step, spec.platform[component.executor_label])
    else:
        _check_importer(step, task, component, executor.importer)


def _is_exit(task: Any) -> bool:
    strategies = type(task).TriggerPolicy.TriggerStrategy
    return bool(strategies.Name(task.trigger_policy.strategy) == EXIT_TASK)


def _check_condition(step: str, condition: str) -> None:
    try:
        if condition:
            expressions.parse(condition)
    except expressions.ExpressionError as error:
        raise BackendError(step, f"triggerPolicy.condition: {error}") from error


def _check_retries(step: str, task: Any) -> None:
    """`getTaskRetryStrategyFromInput` in argocompiler/container.go; Argo reads the factor as a whole number."""
    factor = task.retry_policy.backoff_factor
    if factor != int(factor):
        raise BackendError(step, f"retryPolicy.backoffFactor: found {factor:g}; Argo wants a whole number")


def _executor(spec: Spec, step: str, component: Any) -> Any:
    """`dfs` in v2/compiler/visitor.go: an executor is a container or an importer, nothing else."""
    label = component.executor_label
    if not label:
        raise BackendError(step, "its component is neither a graph of tasks nor has it an executor")
    if label not in spec.executors:
        raise BackendError(step, f"executorLabel: deploymentSpec has no executor {label!r}")
    kind = spec.executors[label].WhichOneof("spec")
    if kind not in ("container", "importer"):
        found = {"resolver": "a resolver", "custom_job": "a custom job"}.get(kind, "nothing that can be run")
        raise BackendError(step, f"executor {label}: found {found}, wanted a container or an importer")
    return spec.executors[label]


def _check_component(step: str, component: Any) -> None:
    """`getArtifactSchema` in v2/component/launcher_v2.go and `SchemaToArtifactType` in v2/metadata/client.go."""
    outputs = component.output_definitions.artifacts
    for key in outputs:
        schema = outputs[key].artifact_type
        kind = schema.WhichOneof("kind")
        try:
            document = yaml.safe_load(schema.instance_schema) if kind == "instance_schema" else None
        except yaml.YAMLError:
            document = None
        title = document.get("title") if isinstance(document, dict) else schema.schema_title
        if not title:
            raise BackendError(step, f"output artifact {key}: its type has no title; schemaTitle is wanted")
    definitions = component.input_definitions.parameters
    for key in definitions:
        if definitions[key].parameter_type == ParameterType.TASK_CONFIG:
            raise BackendError(step, f"input parameter {key}: {type_name(ParameterType.TASK_CONFIG)}: {NOT_HERE}")


def _check_container(step: str, container: Any) -> None:
    """`NewLauncherV2` in v2/component/launcher_v2.go, `initPodSpecPatch` in v2/driver/driver.go, Kubernetes."""
    if not container.image:
        raise BackendError(step, "container.image is empty")
    if not container.command and not container.args:
        raise BackendError(step, "container.command and container.args are empty; the launcher has nothing to start")
    if container.image in ("argostub/createpvc", "argostub/deletepvc"):
        raise BackendError(step, f"container.image {container.image}: {NOT_HERE}")
    for variable in container.env:
        if not ENVIRONMENT_NAME.fullmatch(variable.name):
            raise BackendError(step, f"container.env: {variable.name!r} cannot be the name of a variable")
    resources = container.resources
    for field, value in (
        ("resourceCpuLimit", resources.resource_cpu_limit),
        ("resourceCpuRequest", resources.resource_cpu_request),
        ("resourceMemoryLimit", resources.resource_memory_limit),
        ("resourceMemoryRequest", resources.resource_memory_request),
        ("accelerator.resourceCount", resources.accelerator.resource_count),
    ):
        _check_quantity(step, f"container.resources.{field}", value)


def _check_quantity(step: str, field: str, value: str) -> None:
    if value and "{{$" not in value and not QUANTITY.fullmatch(value):
        raise BackendError(step, f"{field}: found {value!r}; a quantity of Kubernetes is wanted, such as 500m or 32Gi")


def _check_platform(step: str, config: Any) -> None:
    """`extendPodSpecPatch` in v2/driver/k8s.go (driver.go in early versions)."""
    policy = config.image_pull_policy
    if policy not in ("", "Always", "Never", "IfNotPresent"):
        raise BackendError(step, f"imagePullPolicy: found {policy!r}, wanted Always, Never or IfNotPresent")
    for secret in (*config.secret_as_env, *config.secret_as_volume, *config.image_pull_secret):
        if not secret.secret_name and not secret.HasField("secret_name_parameter"):
            raise BackendError(step, "a secret is used without secretName or secretNameParameter")
    for configuration in (*config.config_map_as_env, *config.config_map_as_volume):
        if not configuration.config_map_name and not configuration.HasField("config_map_name_parameter"):
            raise BackendError(step, "a config map is used without configMapName or configMapNameParameter")
    for mount in config.empty_dir_mounts:
        _check_quantity(step, f"emptyDirMounts {mount.volume_name}: sizeLimit", mount.size_limit)
    for volume in config.generic_ephemeral_volume:
        _check_quantity(step, f"genericEphemeralVolume {volume.volume_name}: size", volume.size or "none")


def _check_importer(step: str, task: Any, component: Any, importer: Any) -> None:
    """`task` in argocompiler/dag.go and `ImportSpecToMLMDArtifact` in v2/component/importer_launcher.go."""
    if task.trigger_policy.condition:
        raise BackendError(step, "triggerPolicy.condition: an importer cannot have one")
    if len(component.output_definitions.artifacts) != 1:
        raise BackendError(step, "an importer has one output artifact")
    kind = importer.artifact_uri.WhichOneof("value")
    if kind == "constant":
        if not importer.artifact_uri.constant.string_value:
            raise BackendError(step, "importer.artifactUri: it is empty")
    elif kind != "runtime_parameter" or importer.artifact_uri.runtime_parameter not in task.inputs.parameters:
        raise BackendError(step, "importer.artifactUri: a constant or one of the task's parameters is wanted")
    if importer.download_to_workspace:
        raise BackendError(step, f"importer.downloadToWorkspace: {NOT_HERE}")


def _check_inputs(spec: Spec, step: str, task: Any, tasks: Any, parameters: set[str], artifacts: set[str]) -> None:
    """What `resolveInputs` in v2/driver/resolve.go would not find."""
    for name in dependencies(task):
        if name not in tasks:
            raise BackendError(step, f"it depends on task {name!r}, which the graph around it does not have")
    component = spec.component(task)
    definitions = component.input_definitions.parameters
    for key in sorted(definitions):
        if key not in task.inputs.parameters and not definitions[key].is_optional:
            raise BackendError(
                step,
                f"input parameter {key}: it is given no value; a default counts for parameters with isOptional only",
            )
    for key in sorted(task.inputs.parameters):
        source = task.inputs.parameters[key]
        kind = source.WhichOneof("kind")
        if kind == "component_input_parameter":
            _check_given(step, f"input parameter {key}", source.component_input_parameter, parameters)
        elif kind == "task_output_parameter":
            producer = source.task_output_parameter
            known = set(_component_of(spec, step, tasks[producer.producer_task]).output_definitions.parameters)
            _check_made(step, f"input parameter {key}", producer.producer_task, producer.output_parameter_key, known)
        elif kind != "runtime_value" or source.runtime_value.WhichOneof("value") != "constant":
            raise BackendError(step, f"input parameter {key}: its source is {kind or 'missing'}; {NOT_HERE}")
        elif "{{$.workspace_path}}" in source.runtime_value.constant.string_value:
            raise BackendError(step, f"input parameter {key}: a workspace: {NOT_HERE}")
        try:
            if source.parameter_expression_selector:
                expressions.parse(source.parameter_expression_selector)
        except expressions.ExpressionError as error:
            raise BackendError(step, f"input parameter {key}: selector: {error}") from error
    for key in sorted(task.inputs.artifacts):
        source = task.inputs.artifacts[key]
        kind = source.WhichOneof("kind")
        if kind == "component_input_artifact":
            _check_given(step, f"input artifact {key}", source.component_input_artifact, artifacts)
        elif kind == "task_output_artifact":
            producer = source.task_output_artifact
            known = set(_component_of(spec, step, tasks[producer.producer_task]).output_definitions.artifacts)
            _check_made(step, f"input artifact {key}", producer.producer_task, producer.output_artifact_key, known)
        else:
            raise BackendError(step, f"input artifact {key}: its source is missing")


def _component_of(spec: Spec, step: str, task: Any) -> Any:
    if task.component_ref.name not in spec.pipeline.components:
        raise BackendError(step, f"componentRef.name: there is no component {task.component_ref.name!r}")
    return spec.component(task)


def _check_given(step: str, what: str, name: str, given: set[str]) -> None:
    if name not in given:
        raise BackendError(step, f"{what}: the graph around it has no input {name!r}; it has: {_listed(given)}")


def _check_made(step: str, what: str, producer: str, key: str, made: set[str]) -> None:
    if key not in made:
        raise BackendError(step, f"{what}: task {producer} has no output {key!r}; it has: {_listed(made)}")


def _check_graph_outputs(spec: Spec, step: str, component: Any) -> None:
    """What `GetProducerTask` in v2/driver/resolve.go would not find."""
    tasks = component.dag.tasks
    for what, producer, key, field in _graph_outputs(component.dag.outputs):
        if producer not in tasks:
            raise BackendError(step, f"{what}: the graph has no task {producer!r}")
        made = getattr(_component_of(spec, step, tasks[producer]).output_definitions, field)
        _check_made(step, what, producer, key, set(made))


def _graph_outputs(outputs: Any) -> Iterator[tuple[str, str, str, str]]:
    for key in sorted(outputs.parameters):
        output = outputs.parameters[key]
        single = output.WhichOneof("kind") == "value_from_parameter"
        selectors = [output.value_from_parameter] if single else output.value_from_oneof.parameter_selectors
        for selector in selectors:
            yield f"output parameter {key}", selector.producer_subtask, selector.output_parameter_key, "parameters"
    for key in sorted(outputs.artifacts):
        for selector in outputs.artifacts[key].artifact_selectors:
            yield f"output artifact {key}", selector.producer_subtask, selector.output_artifact_key, "artifacts"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
