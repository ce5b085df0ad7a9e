"""Around a task's program: v2/component/launcher_v2.go in kubeflow/pipelines.

The launcher is the first process of a task's container, on a file system of its own: it downloads the input artifacts,
starts the program, reads what it says and uploads what it made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.launcher_paths import MOUNTS
from kubeflow.local_backend.containers import SEEN, TIMED_OUT, Container, ContainerRunner
from kubeflow.local_backend.driver import LOGS, with_defaults
from kubeflow.local_backend.metadata import published, text_to_value
from kubeflow.local_backend.placeholders import command_line
from kubeflow.local_backend.store import Location, LocationError, ObjectStore


class LauncherError(ValueError):
    """An attempt failed: the program, or the launcher around it."""


@dataclass(frozen=True)
class Job:
    """What is launched. It is the same for every attempt, output URIs included."""

    name: str
    component: Any
    """ComponentSpec."""
    container: Any
    """PipelineContainerSpec."""
    executor_input: Any
    """ExecutorInput, with paths as they are in a container."""
    env: dict[str, str]
    """Of the specification and of secrets."""
    volumes: dict[str, Path]
    """By mount path, for runners with a root of their own."""
    timeout: float | None


@dataclass
class Attempt:
    """What an attempt did."""

    downloaded: int = 0
    uploaded: int = 0
    executor_output: Any = field(default_factory=pipeline_spec_pb2.ExecutorOutput)
    parameters: dict[str, Any] = field(default_factory=dict)
    """Output parameters: Value by name."""
    artifacts: dict[str, list[Any]] = field(default_factory=dict)
    """Output artifacts: RuntimeArtifact by name, as later tasks see them."""


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

    def launch(self, job: Job, root: Path, log_file: Path, attempt: Attempt) -> None:
        """Makes one attempt: `Execute` in v2/component/launcher_v2.go.

        Args:
            job: what to do.
            root: an empty folder, the container's file system.
            log_file: receives what the program prints.
            attempt: receives what came of it, as far as it went.

        Raises:
            LauncherError: it failed.
        """
        for folder in SEEN:
            _below(root, folder).mkdir()
        self._download(job, root, attempt)
        _make_folders(job.executor_input, root)
        log_file.touch()
        self._run(job, root, log_file)
        if LOGS in job.executor_input.outputs.artifacts:
            uri = job.executor_input.outputs.artifacts[LOGS].artifacts[0].uri
            shutil.copyfile(log_file, _below(root, local_path(uri)))
        attempt.executor_output = _executor_output(_below(root, job.executor_input.outputs.output_file))
        _collect_parameters(job, root, attempt)
        self._upload(job, root, attempt)

    def _download(self, job: Job, root: Path, attempt: Attempt) -> None:
        """`downloadArtifacts`. A URI of another kind fails in `fetchNonDefaultBuckets` before any download."""
        lists = job.executor_input.inputs.artifacts
        locations = []
        for key in lists:
            for artifact in lists[key].artifacts:
                try:
                    location = Location.parse(artifact.uri)
                    _require_key(location)
                except LocationError as error:
                    raise LauncherError(f"input artifact {key} cannot be downloaded: {error}") from error
                locations.append(location)
        for location in locations:
            attempt.downloaded += self._store.download(location, _below(root, local_path(location.uri)))

    def _run(self, job: Job, root: Path, log_file: Path) -> None:
        executor_input = with_defaults(job.executor_input, job.component)
        seen: Callable[[str], str] = (lambda path: path) if self._runner.own_root else (lambda path: f"{root}{path}")
        executor_input.outputs.output_file = seen(executor_input.outputs.output_file)
        for parameter in executor_input.outputs.parameters.values():
            parameter.output_file = seen(parameter.output_file)
        command = [*job.container.command, *job.container.args]
        try:
            exit_code = self._runner.run(
                Container(
                    task=job.name,
                    image=job.container.image,
                    command=tuple(command_line(command, executor_input, lambda uri: seen(local_path(uri)))),
                    env=job.env,
                    root=root,
                    store=self._store.folder,
                    log_file=log_file,
                    volumes=job.volumes,
                    timeout=job.timeout,
                )
            )
        except ValueError as error:
            raise LauncherError(str(error)) from error
        except OSError as error:
            raise LauncherError(f"the program {command[0]!r} could not be started: {error}") from error
        if exit_code == TIMED_OUT:
            raise LauncherError(f"it was ended after {job.timeout:g} seconds, its activeDeadlineSeconds")
        if exit_code:
            raise LauncherError(f"the program ended with exit code {exit_code}")

    def _upload(self, job: Job, root: Path, attempt: Attempt) -> None:
        """`uploadOutputArtifacts`: takes the program's word on URI and metadata, then uploads and records."""
        lists = job.executor_input.outputs.artifacts
        returned = attempt.executor_output.artifacts
        for key in lists:
            artifact = pipeline_spec_pb2.RuntimeArtifact()
            artifact.CopyFrom(lists[key].artifacts[0])
            if key in returned and returned[key].artifacts:
                _merge(returned[key].artifacts[0], artifact)
            attempt.uploaded += self._upload_artifact(key, artifact, root)
            identity = str(self._store.next_id())
            try:
                record = published(artifact, name=key, identity=identity)
            except ValueError as error:
                raise LauncherError(str(error)) from error
            attempt.artifacts[key] = [record]

    def _upload_artifact(self, key: str, artifact: Any, root: Path) -> int:
        if not artifact.uri.startswith(tuple(f"{scheme}://" for scheme in MOUNTS)):
            # A warning in the launcher; the task that reads the artifact fails.
            return 0
        try:
            location = Location.parse(artifact.uri)
        except LocationError as error:
            raise LauncherError(f"output artifact {key}: {error}") from error
        if not self._run_root.holds(location) or location.key == self._run_root.key:
            raise LauncherError(
                f"output artifact {key}: the program returned the URI {artifact.uri}; one below {self._run_root.uri} "
                "is wanted"
            )
        source = _below(root, local_path(location.uri))
        try:
            return self._store.upload(source, location)
        except FileNotFoundError:
            return 0  # "We allow components to not produce output files"
        except OSError as error:
            raise LauncherError(f"output artifact {key} cannot be uploaded: {error}") from error


def local_path(uri: str) -> str:
    """The launcher's path of a URI in the container: `LocalPathForURI`."""
    scheme, _, rest = uri.partition("://")
    return f"{MOUNTS[scheme]}/{rest}"


def _below(root: Path, path: str) -> Path:
    """Where a path of the container lies on this machine."""
    return root / path.lstrip("/")


def _require_key(location: Location) -> None:
    """`KeyFromURI` in v2/objectstore/config.go."""
    if not location.key:
        raise LocationError(f"found {location.uri!r}; a URI below the bucket is wanted")


def _make_folders(executor_input: Any, root: Path) -> None:
    """`prepareOutputFolders`: the parents of outputs, neither the outputs nor the parent of the output file."""
    outputs = executor_input.outputs
    paths = [parameter.output_file for parameter in outputs.parameters.values()]
    paths += [local_path(artifact.uri) for items in outputs.artifacts.values() for artifact in items.artifacts]
    for path in paths:
        _below(root, path).parent.mkdir(parents=True, exist_ok=True)


def _executor_output(file: Path) -> Any:
    """`getExecutorOutputFile`: protojson, without unknown fields, and no error if there is no file."""
    output = pipeline_spec_pb2.ExecutorOutput()
    if not file.exists():
        return output
    try:
        fields = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if not isinstance(fields, dict):
            raise ValueError(f"found {str(fields)[:80]}, wanted a mapping")
        return json_format.ParseDict(fields, output)
    except (OSError, ValueError, json_format.ParseError) as error:
        problem = " ".join(str(error).split())
        raise LauncherError(f"the program's output file is no ExecutorOutput: {problem}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"a field is given twice among {', '.join(key for key, _ in pairs)}")
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _collect_parameters(job: Job, root: Path, attempt: Attempt) -> None:
    """`collectOutputParameters`: what the output file says counts, unchecked; otherwise the parameter's own file."""
    given = attempt.executor_output.parameter_values
    parameters = job.executor_input.outputs.parameters
    for key in parameters:
        if key in given:
            continue
        definition = job.component.output_definitions.parameters[key]
        path = parameters[key].output_file
        try:
            text = _below(root, path).read_text(encoding="utf-8")
            given[key].CopyFrom(text_to_value(text, definition.parameter_type))
        except FileNotFoundError as error:
            raise LauncherError(f"output parameter {key}: the program gave none; {path} is missing") from error
        except (OSError, ValueError) as error:
            raise LauncherError(f"output parameter {key}: {error}") from error
    attempt.parameters = dict(given)


def _merge(source: Any, target: Any) -> None:
    """`mergeRuntimeArtifacts`: a URI that is not empty, and metadata key by key; nothing else."""
    if source.uri:
        target.uri = source.uri
    if source.HasField("metadata"):
        for key, value in source.metadata.fields.items():
            target.metadata.fields[key].CopyFrom(value)
