"""Compiles the graph to what Kubeflow Pipelines 2.x takes: PipelineSpec 2.1.0 and its part for Kubernetes, as YAML.

TFX's own KubeflowV2DagRunner writes for Vertex AI: what it writes needs a resolver, artifact types and metadata that
open-source Kubeflow does not have. The steps are run by `kubeflow.entrypoint`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2 as spec
from tfx.dsl.components.base import base_driver
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Artifact, standard_artifacts

from components.artifacts import names
from components.artifacts.names import LAST_PUSHED
from components.segmentation_example_gen import driver
from kubeflow import entrypoint, runtime_parameters
from kubeflow.earlier_runs import EarlierRunsInBucket
from kubeflow.package import Package
from kubeflow.run_record.record import LEARNT_FROM, RUN_NAME, SPANS
from kubeflow.storage import EXAMPLE_GEN, PREVIOUS_RUN, check_places, pipeline_name, places_of, records_of
from pipeline.code import code_of
from pipeline.config.config import Config
from pipeline.config.kubeflow import Step
from pipeline.pipeline import create_pipeline, run_options

SCHEMA_VERSION = "2.1.0"
RUN_RECORD = "RunRecord"
TRAINER = "Trainer"
ARTIFACT_TYPES: Mapping[type[Artifact], str] = {
    standard_artifacts.Examples: "system.Dataset",
    standard_artifacts.Model: "system.Model",
    standard_artifacts.PushedModel: "system.Model",
}
"""Kubeflow's types of artifacts, for its pages; TFX's own are told to the entrypoint."""
UNCACHED = (PREVIOUS_RUN, EXAMPLE_GEN, RUN_RECORD)
"""Steps that look at the world outside: Kubeflow's cache knows parameters and artifacts, no contents of files."""
SHARED_MEMORY = "/dev/shm"
LONGEST_STEP_S = 30 * 24 * 3600
"""A step that takes longer with all its attempts is ended."""

P = spec.ParameterType


def compile_pipeline(config: Config, *, visible: Sequence[str] = ()) -> Package:
    """Compiles a pipeline.

    Args:
        config: the experiment, with its `kubeflow` section.
        visible: folders of this machine that the steps see as they are, beside the mounted volumes.

    Returns:
        One file of two documents. The same configuration and code give the same file.

    Raises:
        ConfigError: the configuration lacks what Kubeflow needs, or names what a step on a cluster cannot see.
    """
    check_places(config, visible)
    places = places_of(config)
    history = EarlierRunsInBucket(config, records_of(config), places.pushed_models)
    graph = create_pipeline(config, places, history)
    graph.finalize()
    return Package(_yaml(_pipeline_spec(config, graph), _platform_spec(config, graph)))


def _pipeline_spec(config: Config, graph: Pipeline) -> spec.PipelineSpec:
    result = spec.PipelineSpec(
        pipeline_info=spec.PipelineInfo(
            name=pipeline_name(config), description="Trains DeepLabV3+, judges it by mean IoU and pushes it."
        ),
        sdk_version="deeplabv3plus-tfx",
        schema_version=SCHEMA_VERSION,
        default_pipeline_root=config.kubeflow.root,
    )
    deployment = spec.PipelineDeploymentConfig()
    for node in graph.components:
        result.components[f"comp-{node.id}"].CopyFrom(_component(node))
        deployment.executors[f"exec-{node.id}"].container.CopyFrom(_container(config, node))
        result.root.dag.tasks[node.id].CopyFrom(_task(node, config.kubeflow.step(node.id)))
    result.deployment_spec.update(json_format.MessageToDict(deployment))
    settings = hashlib.sha256(result.SerializeToString(deterministic=True)).hexdigest()[:16]
    # Only now: what changes nothing about the model makes no new run worth training.
    for name, value in run_options(config, places_of(config)).items():
        deployment.executors[f"exec-{TRAINER}"].container.env.add(name=name, value=value)
    result.deployment_spec.update(json_format.MessageToDict(deployment))
    _add_runtime_parameters(result, config, settings)
    return result


def _component(node: BaseComponent) -> spec.ComponentSpec:
    component = spec.ComponentSpec(executor_label=f"exec-{node.id}")
    for definitions, channels in (
        (component.input_definitions, node.inputs),
        (component.output_definitions, node.outputs),
    ):
        for key, channel in channels.items():
            definitions.artifacts[key].artifact_type.schema_title = ARTIFACT_TYPES.get(channel.type, "system.Artifact")
            definitions.artifacts[key].artifact_type.schema_version = "0.0.1"
    for key, value in _given(node):
        parameter = compiler_utils.build_parameter_type_spec(value)
        component.input_definitions.parameters[key].CopyFrom(parameter)
    return component


def _given(node: BaseComponent) -> Iterable[tuple[str, Any]]:
    return ((key, value) for key, value in sorted(node.exec_properties.items()) if value is not None)


def _task(node: BaseComponent, step: Step) -> spec.PipelineTaskSpec:
    task = spec.PipelineTaskSpec()
    task.task_info.name = node.id
    task.component_ref.name = f"comp-{node.id}"
    for key, channel in node.inputs.items():
        source = task.inputs.artifacts[key].task_output_artifact
        source.producer_task = channel.producer_component_id
        source.output_artifact_key = channel.output_key
    for key, value in _given(node):
        constant = compiler_utils.value_converter(value)
        task.inputs.parameters[key].runtime_value.CopyFrom(constant)
    task.dependent_tasks.extend(sorted(upstream.id for upstream in node.upstream_nodes))
    task.caching_options.enable_cache = node.id not in UNCACHED
    if step.retries:
        task.retry_policy.max_retry_count = step.retries
        task.retry_policy.backoff_duration.seconds = 30
        task.retry_policy.backoff_factor = 2.0
        # Argo's maxDuration is no longest pause: it ends all attempts so long after the first began, those at work too.
        # It cannot be left out, for Kubeflow then says 0.
        task.retry_policy.backoff_max_duration.seconds = LONGEST_STEP_S
    return task


def _container(config: Config, node: BaseComponent) -> spec.PipelineDeploymentConfig.PipelineContainerSpec:
    step = config.kubeflow.step(node.id)
    assert isinstance(node.executor_spec, ExecutorClassSpec), "all steps are Python classes"
    component = entrypoint.Component(
        step=node.id,
        code=code_of(node.executor_spec.class_path),
        executor=node.executor_spec.class_path,
        driver=None if node.driver_class is base_driver.BaseDriver else _path(node.driver_class),
        inputs={key: _path(channel.type) for key, channel in node.inputs.items()},
        outputs={key: _path(channel.type) for key, channel in node.outputs.items()},
        integers=tuple(key for key, value in _given(node) if isinstance(value, int)),
        output_parameters=OUTPUT_PARAMETERS.get(node.id, {}),
        beam_pipeline_args=(
            list(node.executor_spec.beam_pipeline_args) if isinstance(node.executor_spec, BeamExecutorSpec) else []
        ),
    )
    container = spec.PipelineDeploymentConfig.PipelineContainerSpec(
        image=config.kubeflow.image,
        command=["python", "-m", entrypoint.__name__],
        args=["--component", component.model_dump_json(), "--executor-input", "{{$}}"],
    )
    # Kubeflow's own switch for steps: without it, the package of its protocol buffers imports its compiler and clients.
    for name, value in sorted({"_KFP_RUNTIME": "true", **step.env}.items()):
        container.env.add(name=name, value=value)
    if step.cpu:
        container.resources.resource_cpu_limit = container.resources.resource_cpu_request = step.cpu
        # Servers before 2.4 read numbers, gigabytes for memory.
        container.resources.cpu_limit = container.resources.cpu_request = quantity(step.cpu)
    if step.memory:
        container.resources.resource_memory_limit = container.resources.resource_memory_request = step.memory
        container.resources.memory_limit = container.resources.memory_request = quantity(step.memory) / 1e9
    if step.gpu:
        accelerator = container.resources.accelerator
        accelerator.type = accelerator.resource_type = step.gpu.type
        accelerator.count = step.gpu.count
        accelerator.resource_count = str(step.gpu.count)
    return container


OUTPUT_PARAMETERS = {
    PREVIOUS_RUN: {LEARNT_FROM: ("statistics", LEARNT_FROM), LAST_PUSHED: ("model", LAST_PUSHED)},
    EXAMPLE_GEN: {
        entrypoint.NEW_DATA: (driver.EXAMPLES, entrypoint.NEW_DATA),
        LEARNT_FROM: (driver.EXAMPLES, LEARNT_FROM),
        SPANS: (driver.EXAMPLES, names.SPANS),
    },
}
"""By step and name: the output artifact and its custom property that the parameter's value is taken from."""


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def quantity(text: str) -> float:
    """A quantity as Kubernetes writes it, as a number: 500m is 0.5, 2Gi is 2147483648."""
    number, suffix = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    powers = {"": 1.0, "m": 1e-3}
    powers |= {letter: 1000.0**power for power, letter in enumerate("kMGTPE", 1)}
    powers |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}
    return float(number) * powers[suffix]


def _add_runtime_parameters(result: spec.PipelineSpec, config: Config, settings: str) -> None:
    """Adds what can be changed from run to run, and what the steps tell one another beside artifacts."""
    tasks = result.root.dag.tasks
    root = result.root.input_definitions.parameters

    def runtime(name: str, kind: int, default: Any, description: str, steps: Sequence[str]) -> None:
        root[name].parameter_type = kind
        json_format.ParseDict(default, root[name].default_value)
        root[name].description = description
        for step in steps:
            key = runtime_parameters.PREFIX + name
            result.components[f"comp-{step}"].input_definitions.parameters[key].parameter_type = kind
            tasks[step].inputs.parameters[key].component_input_parameter = name

    def handed_on(name: str, kind: int, producer: str, consumer: str) -> None:
        key = runtime_parameters.PREFIX + name
        result.components[f"comp-{producer}"].output_definitions.parameters[name].parameter_type = kind
        result.components[f"comp-{consumer}"].input_definitions.parameters[key].parameter_type = kind
        source = tasks[consumer].inputs.parameters[key].task_output_parameter
        source.producer_task, source.output_parameter_key = producer, name
        if producer not in tasks[consumer].dependent_tasks:
            tasks[consumer].dependent_tasks.append(producer)

    # A number that is given holds for a warm start as well, so a default must not be one where that has its own.
    configured = None if config.train.warm_start.has_length else config.hps.steps
    steps = configured or runtime_parameters.AS_CONFIGURED
    runtime(
        runtime_parameters.DATA,
        P.STRING,
        config.data_source.place,
        "The data set's folder or URI, or with {SPAN} in it a pattern of spans.",
        [EXAMPLE_GEN],
    )
    newest = runtime_parameters.NEWEST if config.data.span is None else config.data.span
    runtime(
        runtime_parameters.SPAN,
        P.NUMBER_INTEGER,
        newest,
        f"With a pattern: the newest span to be read; {runtime_parameters.NEWEST} stands for the newest that is there.",
        [EXAMPLE_GEN],
    )
    runtime(
        runtime_parameters.STEPS,
        P.NUMBER_INTEGER,
        steps,
        f"Optimisation steps; {runtime_parameters.AS_CONFIGURED} stands for what the configuration says.",
        [EXAMPLE_GEN, TRAINER],
    )
    runtime(RUN_NAME, P.STRING, "", "Is written into the record of the run.", [RUN_RECORD])
    runtime(
        runtime_parameters.FORCE,
        P.BOOLEAN,
        False,
        "Train even if the last run has learnt from the same data with the same settings.",
        [EXAMPLE_GEN],
    )
    key = runtime_parameters.PREFIX + runtime_parameters.SETTINGS
    result.components[f"comp-{EXAMPLE_GEN}"].input_definitions.parameters[key].parameter_type = P.STRING
    tasks[EXAMPLE_GEN].inputs.parameters[key].runtime_value.constant.string_value = settings
    handed_on(LEARNT_FROM, P.STRING, PREVIOUS_RUN, EXAMPLE_GEN)
    handed_on(LAST_PUSHED, P.STRING, PREVIOUS_RUN, RUN_RECORD)
    handed_on(LEARNT_FROM, P.STRING, EXAMPLE_GEN, RUN_RECORD)
    handed_on(SPANS, P.STRING, EXAMPLE_GEN, RUN_RECORD)
    # Without new data this step is left out, and with it all others, which depend on it.
    handed_on(entrypoint.NEW_DATA, P.BOOLEAN, EXAMPLE_GEN, "StatisticsGen")
    condition = f"inputs.parameter_values['{runtime_parameters.PREFIX}{entrypoint.NEW_DATA}'] == true"
    tasks["StatisticsGen"].trigger_policy.condition = condition


def _platform_spec(config: Config, graph: Pipeline) -> dict[str, Any]:
    executors = {}
    for node in graph.components:
        executor = json_format.MessageToDict(_kubernetes(config.kubeflow.step(node.id)))
        if executor:
            executors[f"exec-{node.id}"] = executor
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else {}


def _kubernetes(step: Step) -> kubernetes.KubernetesExecutorConfig:
    result = kubernetes.KubernetesExecutorConfig()
    for label, value in sorted(step.node_selector.items()):
        result.node_selector.labels[label] = value
    for toleration in step.tolerations:
        result.tolerations.add(
            key=toleration.key or "",
            operator=toleration.operator,
            value=toleration.value or "",
            effect=toleration.effect or "",
            toleration_seconds=toleration.seconds,
        )
    # The field `constant` and the like are for servers before 2.4, those that end in _parameter for later ones.
    for volume in step.volumes:
        mount = result.pvc_mount.add(mount_path=volume.path, constant=volume.claim)
        mount.pvc_name_parameter.runtime_value.constant.string_value = volume.claim
    for secret in step.secrets:
        if secret.path is not None:
            volume_of = result.secret_as_volume.add(secret_name=secret.name, mount_path=secret.path)
            volume_of.secret_name_parameter.runtime_value.constant.string_value = secret.name
            continue
        environment = result.secret_as_env.add(secret_name=secret.name)
        environment.secret_name_parameter.runtime_value.constant.string_value = secret.name
        for key, variable in sorted(secret.env.items()):
            environment.key_to_env.add(secret_key=key, env_var=variable)
    if step.shared_memory:
        result.empty_dir_mounts.add(
            volume_name="shm", mount_path=SHARED_MEMORY, medium="Memory", size_limit=step.shared_memory
        )
    if step.timeout:
        result.active_deadline_seconds = step.timeout
    return result


class _Dumper(yaml.SafeDumper):
    """Writes long texts as they are, and nothing as a reference to something before."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(pipeline_spec: spec.PipelineSpec, platform_spec: Mapping[str, Any]) -> str:
    documents = [json_format.MessageToDict(pipeline_spec)]
    if platform_spec:
        documents.append(dict(platform_spec))
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=10**6, allow_unicode=True)
