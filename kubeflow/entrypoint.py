"""What a step's container runs on Kubeflow: `python -m kubeflow.entrypoint`.

Kubeflow's launcher has put the input artifacts into local folders, calls this, and then copies the output artifacts to
the object store; this program turns what the launcher says into what a TFX executor is given, and back. It imports only
what its step needs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec

from components.artifacts.measurements import Watch, mark
from kubeflow import runtime_parameters
from kubeflow.launcher_paths import local_path
from kubeflow.run_record.record import ABSENT, LEARNT_FROM
from pipeline.code import code_of
from schema.section import Section

if TYPE_CHECKING:
    from tfx import types

NEW_DATA = "new_data"
"""Output parameter of SegmentationExampleGen: whether there is anything to be learnt that the last run has not."""
LAUNCHERS_OWN = ("display_name", "store_session_info")
"""Metadata that the launcher adds: the latter says how it reaches the object store."""


class Component(Section):
    """What the entrypoint has to know of a component, beside what the launcher tells it."""

    step: str
    """The step's name."""
    code: str
    """A hash of the code that the step runs, so that Kubeflow's cache does not answer for other code."""
    executor: str
    """Path of the executor's class."""
    driver: str | None
    """Path of the driver's class, if it has one of its own; Kubeflow runs none."""
    inputs: dict[str, str]
    """Paths of the classes of the input artifacts: they reach a step without their types."""
    outputs: dict[str, str]
    """The same of the output artifacts."""
    integers: tuple[str, ...]
    """Execution properties that are whole numbers: the launcher gives all numbers as floating-point."""
    output_parameters: dict[str, tuple[str, str]]
    """By name: the output artifact and its custom property that the value is taken from."""
    beam_pipeline_args: list[str]
    """Flags for the executors that use Beam."""


class EntrypointError(RuntimeError):
    """The launcher's input is not what this step needs, or the step did not leave what it should."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a step.

    Raises:
        EntrypointError: inputs or outputs are missing.
    """
    parser = argparse.ArgumentParser(prog="python -m kubeflow.entrypoint", description=__doc__.splitlines()[0])
    parser.add_argument("--component", required=True, help="JSON of kubeflow.entrypoint.Component.")
    parser.add_argument("--executor-input", required=True, help="JSON of Kubeflow's ExecutorInput.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    component = Component.model_validate_json(options.component)
    executor_input = json_format.Parse(options.executor_input, spec.ExecutorInput(), ignore_unknown_fields=True)
    if component.code != code_of(component.executor):
        logging.warning("The pipeline was compiled from other code than this image holds; was the image built anew?")
    output = run(component, executor_input)
    if not executor_input.outputs.output_file:
        raise EntrypointError("the launcher names no output file")
    file = Path(local_path(executor_input.outputs.output_file))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json_format.MessageToJson(output), encoding="utf-8")
    logging.info("the step took %.2f s on a processor, imports included", time.process_time())


def run(component: Component, executor_input: spec.ExecutorInput) -> spec.ExecutorOutput:
    """Runs a step's driver, if it has one of its own, and executor.

    Args:
        component: what the step is.
        executor_input: what the launcher says.

    Returns:
        What the launcher is to be told.

    Raises:
        EntrypointError: inputs or outputs are missing.
    """
    watch = Watch(component.step)
    from tfx.orchestration.portable import outputs_utils

    inputs = _artifacts(component.inputs, executor_input.inputs.artifacts, "input")
    outputs = _artifacts(component.outputs, executor_input.outputs.artifacts, "output")
    uris = {key: executor_input.outputs.artifacts[key].artifacts[0].uri for key in outputs}
    for (artifact,) in outputs.values():
        Path(artifact.uri).mkdir(parents=True, exist_ok=True)
    exec_properties, runtime = _exec_properties(component, executor_input)
    # Nothing stands for nothing: a channel that may be empty is.
    inputs = {
        key: [artifact for artifact in artifacts if not artifact.get_int_custom_property(ABSENT)]
        for key, artifacts in inputs.items()
    }
    if component.driver:
        exec_properties = _drive(component.driver, exec_properties, outputs)
    if not component.driver or _is_new(exec_properties, runtime, outputs):
        _execute(component, inputs, outputs, exec_properties)
    outputs_utils.tag_output_artifacts_with_version(outputs)
    mark((artifact for (artifact,) in outputs.values()), watch.measured())
    return _executor_output(component, outputs, uris)


def _artifacts(
    classes: Mapping[str, str], given: Mapping[str, spec.ArtifactList], direction: str
) -> dict[str, list[types.Artifact]]:
    """TFX's artifacts, with paths of this container, from Kubeflow's."""
    from tfx.utils import import_utils

    result = {}
    for key, path in classes.items():
        if not given[key].artifacts:
            raise EntrypointError(f"{direction} {key}: the launcher gives no artifact, wanted is one of {path}")
        artifact_class = import_utils.import_class_by_path(path)
        result[key] = [to_artifact(artifact_class, artifact) for artifact in given[key].artifacts]
    return result


def to_artifact(artifact_class: type[types.Artifact], given: spec.RuntimeArtifact) -> types.Artifact:
    """TFX's artifact, with a path of this container, from Kubeflow's."""
    artifact = artifact_class()
    artifact.uri = local_path(given.uri)
    for key, value in json_format.MessageToDict(given.metadata).items():
        if key in LAUNCHERS_OWN:
            continue
        # The metadata store gives structures back one level deeper.
        plain = value["struct"] if isinstance(value, dict) and set(value) == {"struct"} else value
        # All its numbers are floating-point.
        if isinstance(plain, float) and plain.is_integer():
            plain = int(plain)
        if key in (artifact_class.PROPERTIES or {}):
            setattr(artifact, key, plain)
        elif isinstance(plain, str):
            artifact.set_string_custom_property(key, plain)
        elif isinstance(plain, int):
            artifact.set_int_custom_property(key, plain)
        elif isinstance(plain, float):
            artifact.set_float_custom_property(key, plain)
        else:
            artifact.set_json_value_custom_property(key, plain)
    return artifact


def _exec_properties(component: Component, executor_input: spec.ExecutorInput) -> tuple[dict[str, Any], dict[str, Any]]:
    """The step's execution properties, and the runtime parameters among them."""
    properties, runtime = {}, {}
    for key, value in executor_input.inputs.parameter_values.items():
        plain = json_format.MessageToDict(value)
        if key.startswith(runtime_parameters.PREFIX):
            runtime[key.removeprefix(runtime_parameters.PREFIX)] = plain
        else:
            properties[key] = int(plain) if key in component.integers else plain
    return runtime_parameters.apply(properties, runtime), runtime


def _drive(path: str, exec_properties: dict[str, Any], outputs: Mapping[str, list[types.Artifact]]) -> dict[str, Any]:
    """Runs a driver: execution properties and output artifacts get what it has found."""
    from tfx.orchestration import data_types_utils
    from tfx.orchestration.portable import data_types
    from tfx.utils import import_utils

    driver = import_utils.import_class_by_path(path)(None)
    found = driver.run(data_types.ExecutionInfo(exec_properties=exec_properties, output_dict=dict(outputs)))
    for key, (artifact,) in outputs.items():
        artifact.set_mlmd_artifact(found.output_artifacts[key].artifacts[0])
    return data_types_utils.build_value_dict(found.exec_properties)


def _is_new(
    exec_properties: Mapping[str, Any], runtime: Mapping[str, Any], outputs: Mapping[str, list[types.Artifact]]
) -> bool:
    """Whether the examples would be others than those that the last run has learnt from; notes it in their metadata."""
    (examples,) = outputs["examples"]
    learnt_from = runtime_parameters.what_is_learnt_from(
        exec_properties["input_fingerprint"],
        runtime[runtime_parameters.SETTINGS],
        int(runtime[runtime_parameters.STEPS]),
    )
    is_new = runtime[runtime_parameters.FORCE] or learnt_from != runtime[LEARNT_FROM]
    examples.set_string_custom_property(LEARNT_FROM, learnt_from)
    examples.set_int_custom_property(NEW_DATA, int(is_new))
    if not is_new:
        logging.info("The last run has learnt from these data with these settings; nothing is done.")
    return is_new


def _execute(
    component: Component,
    inputs: dict[str, list[types.Artifact]],
    outputs: dict[str, list[types.Artifact]],
    exec_properties: dict[str, Any],
) -> None:
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.utils import import_utils

    executor_class = import_utils.import_class_by_path(component.executor)
    with tempfile.TemporaryDirectory() as folder:
        context: base_executor.BaseExecutor.Context
        if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
            context = base_beam_executor.BaseBeamExecutor.Context(
                beam_pipeline_args=component.beam_pipeline_args, tmp_dir=folder, unique_id="step"
            )
        else:
            context = base_executor.BaseExecutor.Context(tmp_dir=folder, unique_id="step")
        started, cpu = time.monotonic(), time.process_time()
        executor_class(context).Do(inputs, outputs, exec_properties)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        logging.info("the executor took %.2f s, and %.2f s on a processor", seconds, cpu_seconds)


def _executor_output(
    component: Component, outputs: Mapping[str, list[types.Artifact]], uris: Mapping[str, str]
) -> spec.ExecutorOutput:
    """What the launcher is to be told: artifacts with the URIs that it gave, and their metadata."""
    result = spec.ExecutorOutput()
    for key, (artifact,) in outputs.items():
        described = result.artifacts[key].artifacts.add(uri=uris[key])
        json_format.ParseDict(_metadata(artifact), described.metadata)
    for name, (key, custom_property) in component.output_parameters.items():
        value = _metadata(outputs[key][0]).get(custom_property)
        if value is None:
            raise EntrypointError(f"output parameter {name}: the step has left no property {custom_property} of {key}")
        # Metadata knows no truth values; the parameters that are numbers there are such.
        json_format.ParseDict(bool(value) if isinstance(value, float) else value, result.parameter_values[name])
    return result


def _metadata(artifact: types.Artifact) -> dict[str, Any]:
    from tfx.types import artifact as tfx_artifact

    result: dict[str, Any] = {}
    properties = artifact.mlmd_artifact
    for key, value in [*properties.properties.items(), *properties.custom_properties.items()]:
        kind = value.WhichOneof("value")
        plain = getattr(value, kind)
        if kind == "struct_value":
            plain = tfx_artifact._decode_struct_value(plain)
        result[key] = float(plain) if isinstance(plain, int) else plain
    return result


if __name__ == "__main__":
    main()
