"""Runs a task's program: v2/component/launcher_v2.go in kubeflow/pipelines.

The launcher is the first process of a task's container, on a file system of its own: it downloads the input artifacts,
starts the program, reads its output file and uploads its output artifacts.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.launcher_paths import MOUNTS
from kubeflow.local_backend.containers import SEEN, TIMED_OUT, Container, ContainerRunner
from kubeflow.local_backend.driver import LOGS
from kubeflow.local_backend.records import Task
from kubeflow.local_backend.store import Location, LocationError, ObjectStore

SESSION = json.dumps({"Provider": "", "Params": {"fromEnv": "true"}}, separators=(",", ":"))
"""The value of `store_session_info`: SessionInfo in v2/objectstore/config.go, credentials from the environment."""


class LauncherError(ValueError):
    """An attempt failed: the program, or the launcher around it."""


@dataclass(frozen=True)
class Job:
    """What is launched. It is the same for every attempt, output URIs included."""

    name: str
    container: Any
    """PipelineContainerSpec."""
    executor_input: Any
    """ExecutorInput, with paths as they are in a container."""
    env: dict[str, str]
    """Of the specification and of secrets."""
    timeout: float | None


class Launcher:
    """Launches jobs of one run.

    Args:
        store: the object store.
        run_root: below which every output must stay.
        runner: starts the programs.
    """

    def __init__(self, store: ObjectStore, run_root: Location, runner: ContainerRunner):
        self._store = store
        self._run_root = run_root
        self._runner = runner

    def launch(self, job: Job, root: Path, record: Task) -> Any:
        """Makes one attempt: `Execute` in v2/component/launcher_v2.go.

        Args:
            job: what to do.
            root: an empty folder, the container's file system.
            record: names the log file, and receives what the attempt did, as far as it went.

        Returns:
            An ExecutorOutput with the output parameters, and the output artifacts as later tasks see them.

        Raises:
            LauncherError: it failed.
        """
        log_file, outputs = Path(str(record.log_file)), job.executor_input.outputs
        for folder in SEEN:
            _below(root, folder).mkdir()
        for items in job.executor_input.inputs.artifacts.values():
            for artifact in items.artifacts:
                # downloadArtifacts; an artifact without objects leaves nothing.
                target = _below(root, local_path(artifact.uri))
                record.downloaded += self._store.download(Location.parse(artifact.uri), target)
        # prepareOutputFolders: the parents of outputs, neither the outputs nor the parent of the output file.
        paths = [parameter.output_file for parameter in outputs.parameters.values()]
        paths += [local_path(items.artifacts[0].uri) for items in outputs.artifacts.values()]
        for path in paths:
            _below(root, path).parent.mkdir(parents=True, exist_ok=True)
        log_file.touch()
        self._run(job, root, log_file)
        shutil.copyfile(log_file, _below(root, local_path(outputs.artifacts[LOGS].artifacts[0].uri)))
        said = _executor_output(_below(root, outputs.output_file))
        record.executor_output = json_format.MessageToDict(said)
        for key in outputs.parameters:
            # collectOutputParameters: values are not checked. Files of single parameters are not read here.
            if key not in said.parameter_values:
                raise LauncherError(f"output parameter {key}: the program gave none in {outputs.output_file}")
        results = pipeline_spec_pb2.ExecutorOutput(parameter_values=said.parameter_values)
        for key, items in outputs.artifacts.items():
            artifact = pipeline_spec_pb2.RuntimeArtifact()
            artifact.CopyFrom(items.artifacts[0])
            for returned in said.artifacts[key].artifacts[:1]:
                # mergeRuntimeArtifacts: a URI that is not empty, and metadata key by key; nothing else.
                artifact.uri = returned.uri or artifact.uri
                artifact.metadata.MergeFrom(returned.metadata)
            record.uploaded += self._upload(key, artifact, root)
            try:
                seen = published(artifact, name=key, identity=str(self._store.next_id()))
            except ValueError as error:
                raise LauncherError(str(error)) from error
            results.artifacts[key].artifacts.append(seen)
        return results

    def _run(self, job: Job, root: Path, log_file: Path) -> None:
        executor_input = pipeline_spec_pb2.ExecutorInput()
        executor_input.CopyFrom(job.executor_input)
        if not self._runner.own_root:
            outputs = executor_input.outputs
            for output in (outputs, *outputs.parameters.values()):
                output.output_file = f"{root}{output.output_file}"
        text = to_json(executor_input)
        command = tuple(part.replace("{{$}}", text) for part in (*job.container.command, *job.container.args))
        container = Container(
            task=job.name,
            image=job.container.image,
            command=command,
            env=job.env,
            root=root,
            store=self._store.folder,
            log_file=log_file,
            timeout=job.timeout,
        )
        try:
            exit_code = self._runner.run(container)
        except OSError as error:
            raise LauncherError(f"the program {command[0]!r} could not be started: {error}") from error
        if exit_code == TIMED_OUT:
            raise LauncherError(f"it was ended after {job.timeout:g} seconds, its activeDeadlineSeconds")
        if exit_code:
            raise LauncherError(f"the program ended with exit code {exit_code}")

    def _upload(self, key: str, artifact: Any, root: Path) -> int:
        """`uploadOutputArtifacts`. Returns how many bytes were uploaded."""
        try:
            location = Location.parse(artifact.uri)
        except LocationError as error:
            raise LauncherError(f"output artifact {key}: {error}") from error
        if not self._run_root.holds(location) or location.key == self._run_root.key:
            expected = f"expected one below {self._run_root.uri}"
            raise LauncherError(f"output artifact {key}: the program returned the URI {artifact.uri}; {expected}")
        try:
            # "We allow components to not produce output files"
            return self._store.upload(_below(root, local_path(location.uri)), location)
        except OSError as error:
            raise LauncherError(f"output artifact {key} cannot be uploaded: {error}") from error


def local_path(uri: str) -> str:
    """The launcher's path of a URI in the container: `LocalPathForURI`."""
    scheme, _, rest = uri.partition("://")
    return f"{MOUNTS[scheme]}/{rest}"


def _below(root: Path, path: str) -> Path:
    """Where a path of the container lies on this machine."""
    return root / path.lstrip("/")


def _executor_output(file: Path) -> Any:
    """`getExecutorOutputFile`: protojson, without unknown fields, and no error if there is no file."""
    output = pipeline_spec_pb2.ExecutorOutput()
    if not file.exists():
        return output
    try:
        fields = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
        if not isinstance(fields, dict):
            raise ValueError(f"found {str(fields)[:80]}, expected a mapping")
        return json_format.ParseDict(fields, output)
    except (OSError, ValueError, json_format.ParseError) as error:
        problem = " ".join(str(error).split())
        raise LauncherError(f"the program's output file is not an ExecutorOutput: {problem}") from error


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def to_json(message: Any) -> str:
    """A message as Go's protojson writes it, on one line: whole numbers without a fraction, keys of maps sorted."""
    return json.dumps(
        _whole(json_format.MessageToDict(message)), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    )


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def published(artifact: Any, *, name: str, identity: str) -> Any:
    """An output artifact as later tasks see it.

    `RecordArtifact` in v2/metadata/client.go adds `display_name` and `store_session_info`; `StructValueToMLMDValue`
    and `toRuntimeArtifact` in v2/metadata/converter.go turn booleans into numbers, and put lists under `list` and
    structs under `struct`; the type is lost (`Schema: ""` in `GetOutputArtifactsByExecutionId`).

    Args:
        artifact: RuntimeArtifact.
        name: the output's key.
        identity: the number that ML Metadata gives it; it becomes the artifact's name.

    Raises:
        ValueError: its metadata contain a null, which ML Metadata cannot store.
    """
    result = pipeline_spec_pb2.RuntimeArtifact(name=identity, uri=artifact.uri)
    result.type.instance_schema = ""
    metadata = result.metadata.fields
    for key, value in artifact.metadata.fields.items():
        kind = value.WhichOneof("kind")
        if kind in (None, "null_value"):
            raise ValueError(f"output {name}: its metadata {key} is null, which ML Metadata cannot keep")
        if kind == "bool_value":
            metadata[key].number_value = float(value.bool_value)
        elif kind == "list_value":
            metadata[key].struct_value.fields["list"].CopyFrom(value)
        elif kind == "struct_value":
            metadata[key].struct_value.fields["struct"].CopyFrom(value)
        else:
            metadata[key].CopyFrom(value)
    if "display_name" not in metadata:
        metadata["display_name"].string_value = name
    if "store_session_info" not in metadata:
        metadata["store_session_info"].string_value = SESSION
    return result
