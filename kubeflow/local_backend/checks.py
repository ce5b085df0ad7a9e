"""Refuses a package before anything runs: what is wrong for a cluster, and what the local backend does not support.

A cluster finds some of it only while the pipeline runs, such as an unknown output in the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.driver import CONDITION, ParameterType, claims
from kubeflow.local_backend.records import BackendError
from kubeflow.local_backend.spec import Spec
from kubeflow.local_backend.store import Location, LocationError
from kubeflow.package import Package, PackageError

NOT_HERE = "the local backend cannot run it; it runs what deeplab compile writes"
SUPPORTED = """
    pipelineInfo sdkVersion schemaVersion defaultPipelineRoot deploymentSpec root name description
    inputDefinitions outputDefinitions executorLabel parameters parameterType defaultValue
    artifacts artifactType schemaTitle instanceSchema schemaVersion
    taskInfo componentRef inputs dependentTasks cachingOptions enableCache triggerPolicy condition
    retryPolicy maxRetryCount backoffDuration backoffFactor backoffMaxDuration
    componentInputParameter runtimeValue constant taskOutputParameter taskOutputArtifact
    producerTask outputParameterKey outputArtifactKey
    container image command args env value resources cpuLimit cpuRequest memoryLimit memoryRequest
    resourceCpuLimit resourceCpuRequest resourceMemoryLimit resourceMemoryRequest
    accelerator type count resourceType resourceCount
    activeDeadlineSeconds nodeSelector labels tolerations key operator effect tolerationSeconds
    pvcMount mountPath pvcNameParameter emptyDirMounts volumeName medium sizeLimit
    secretAsVolume secretAsEnv secretName secretNameParameter keyToEnv secretKey envVar
"""
"""The keys that `kubeflow.compiler` can write, and TFX's instanceSchema. Others are refused, not ignored."""
SCHEMA_VERSION = "2.1.0"
PIPELINE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
TASK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")


def check(spec: Spec, package: Package, parameters: Mapping[str, Any], *, own_root: bool) -> None:
    """Refuses a run.

    Args:
        spec: the pipeline.
        package: what it was read from.
        parameters: of the run.
        own_root: of the runner.

    Raises:
        BackendError: the first thing that is wrong.
    """
    _check_head(spec)
    try:
        package.check_parameters(parameters)
    except PackageError as error:
        raise BackendError("", str(error)) from error
    for name, task in sorted(spec.tasks.items()):
        _require(
            TASK_NAME.fullmatch(name) is not None,
            name,
            f"the task's name: found {name!r}; Argo takes up to 128 letters, digits and '-', with a letter first",
        )
        _refuse_unsupported(name, "", task)
        factor = task.retry_policy.backoff_factor
        _require(factor == int(factor), name, f"retryPolicy.backoffFactor: found {factor:g}; Argo wants a whole number")
        _check_component(spec, name, task)
        _check_condition(spec, name, task)
    for name, task in sorted(spec.tasks.items()):
        _check_inputs(spec, name, task)
    in_order(spec.tasks)
    for name, task in sorted(spec.tasks.items()):
        _check_mounts(name, spec.platform_of(spec.component(task)), own_root=own_root)


def dependencies(task: Any) -> set[str]:
    """What a task waits for: `addImplicitDependencies` in v2/compiler/argocompiler/dag.go, and what it says itself."""
    found = set(task.dependent_tasks)
    found |= {source.task_output_parameter.producer_task for source in task.inputs.parameters.values()}
    found |= {source.task_output_artifact.producer_task for source in task.inputs.artifacts.values()}
    return found - {""}  # of sources that are not outputs of tasks


def in_order(tasks: Mapping[str, Any]) -> list[str]:
    """Names of the tasks, each after its dependencies.

    Raises:
        BackendError: they wait for one another; Argo's validation finds the same.
    """
    waiting = {name: dependencies(tasks[name]) for name in sorted(tasks)}
    order: list[str] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if needed <= set(order)]
        if not ready:
            cycle = ", ".join(f"{name} (waits for {', '.join(sorted(waiting[name]))})" for name in waiting)
            raise BackendError("", f"tasks wait for one another: {cycle}")
        order.append(ready[0])
        del waiting[ready[0]]
    return order


def _require(condition: bool, step: str, otherwise: str) -> None:
    if not condition:
        raise BackendError(step, otherwise)


def _refuse_unsupported(step: str, place: str, message: Message) -> None:
    """Refuses every key that is not in `SUPPORTED`.

    Args:
        step: the task that the message belongs to.
        place: path of the message in the package, for the error; empty, or with a dot at the end.
        message: a part of the package.
    """
    for field, value in message.ListFields():
        path = f"{place}{field.json_name}"
        _require(field.json_name in SUPPORTED.split(), step, f"{path}: {NOT_HERE}")
        if isinstance(value, Message):
            parts = [(f"{path}.", value)]
        elif isinstance(value, Mapping):
            parts = [(f"{path}.{key}.", part) for key, part in value.items()]
        else:
            parts = [(f"{path}.", part) for part in value] if isinstance(value, Iterable) else []
        for below, part in parts:
            if isinstance(part, Message) and part.DESCRIPTOR.file.package != "google.protobuf":
                _refuse_unsupported(step, below, part)


def _check_head(spec: Spec) -> None:
    """`NewV2SpecTemplate` in apiserver/template/v2_template.go."""
    version, name = spec.pipeline.schema_version, spec.pipeline.pipeline_info.name
    _require(
        version == SCHEMA_VERSION,
        "",
        f"schemaVersion: found {version!r}, expected {SCHEMA_VERSION}; the backend knows no other",
    )
    # The server's pattern is not anchored. The name becomes a workflow's, and Kubernetes wants all of it to fit.
    _require(
        PIPELINE_NAME.fullmatch(name) is not None,
        "",
        f"pipelineInfo.name: found {name!r}; expected lower case letters, digits, '-' and '.', with a letter or digit "
        "first and last",
    )
    _require(bool(spec.tasks), "", "root.dag.tasks: the pipeline has no tasks")
    _require(not spec.pipeline.root.dag.HasField("outputs"), "", f"root.dag.outputs: {NOT_HERE}")
    head = pipeline_spec_pb2.PipelineSpec()
    head.CopyFrom(spec.pipeline)
    # They are checked task by task.
    head.ClearField("components")
    head.root.ClearField("dag")
    _refuse_unsupported("", "", head)
    try:
        Location.parse(spec.pipeline.default_pipeline_root)
    except LocationError as error:
        raise BackendError("", f"defaultPipelineRoot: {error}") from error


def _check_component(spec: Spec, step: str, task: Any) -> None:
    """`dfs` in v2/compiler/visitor.go. The configuration has checked images, resources, variables and secrets."""
    reference = task.component_ref.name
    _require(reference in spec.pipeline.components, step, f"componentRef.name: there is no component {reference!r}")
    component = spec.component(task)
    _refuse_unsupported(step, f"components.{reference}.", component)
    label = component.executor_label
    _require(label in spec.executors, step, f"executorLabel: deploymentSpec.executors has no {label!r}")
    container = spec.executors[label].container
    _refuse_unsupported(step, f"deploymentSpec.executors.{label}.", spec.executors[label])
    _refuse_unsupported(step, f"platforms.kubernetes.deploymentSpec.executors.{label}.", spec.platform_of(component))
    for text in (*container.command, *container.args):
        known = "{{$" not in text.replace("{{$}}", "") and not text.startswith(('{"IfPresent":', '{"Concat":'))
        _require(known, step, f"container.args: found {text[:80]!r}, a placeholder other than {{{{$}}}}; {NOT_HERE}")


def _check_condition(spec: Spec, step: str, task: Any) -> None:
    if condition := task.trigger_policy.condition:
        match = CONDITION.fullmatch(condition)
        tested = match and spec.component(task).input_definitions.parameters.get(match[1])
        known = tested is not None and tested.parameter_type == ParameterType.BOOLEAN
        expected = "expected inputs.parameter_values['NAME'] == true with a BOOLEAN input of the task"
        _require(known, step, f"triggerPolicy.condition: found {condition!r}, {expected}; {NOT_HERE}")


def _check_inputs(spec: Spec, step: str, task: Any) -> None:
    """What `resolveInputs` in v2/driver/resolve.go would not find."""
    for name in sorted(dependencies(task)):
        _require(name in spec.tasks, step, f"it depends on task {name!r}, which the pipeline does not have")
    definitions = spec.component(task).input_definitions
    for what in ("parameter", "artifact"):
        declared, given = getattr(definitions, f"{what}s"), getattr(task.inputs, f"{what}s")
        for key in sorted({*declared, *given}):
            place = f"input {what} {key}"
            _require(key in given, step, f"{place}: it is given no value")
            _require(key in declared, step, f"{place}: the task's component has no such input")
            kind = given[key].WhichOneof("kind")
            _require(kind is not None, step, f"{place}: its source is missing")
            source = getattr(given[key], kind)
            if kind == "runtime_value":
                # The driver replaces such values.
                known = source.HasField("constant") and "{{$." not in source.constant.string_value
                _require(known, step, f"{place}: a placeholder in a constant; {NOT_HERE}")
                continue
            if kind == "component_input_parameter":
                owner, name, names = (
                    "the pipeline has no input",
                    source,
                    spec.pipeline.root.input_definitions.parameters,
                )
            else:
                owner, name = f"task {source.producer_task} has no output", getattr(source, f"output_{what}_key")
                producer = spec.component(spec.tasks[source.producer_task])
                names = getattr(producer.output_definitions, f"{what}s")
            _require(name in names, step, f"{place}: {owner} {name!r}; it has: {', '.join(sorted(names)) or 'none'}")


def _check_mounts(step: str, config: Any, *, own_root: bool) -> None:
    """Refuses what a pod would mount and this machine does not have: without containers, paths must exist already."""
    for path, claim in claims(config).items():
        place = f"pvcMount: the claim {claim!r} is mounted at {path}"
        _require(bool(claim), step, f"{place}: it has no constant name; {NOT_HERE}")
        _require(not own_root, step, f"{place}: a container on this machine has no claims; run without --in-image")
        problem = f"{place}; programs see this machine's own folders, and {path} is not one of them"
        _require(Path(path).exists(), step, problem)
    for mount in config.secret_as_volume:
        there = not own_root and Path(mount.mount_path).exists()
        _require(there, step, f"secretAsVolume: files at {mount.mount_path} come from the cluster and are not here")
