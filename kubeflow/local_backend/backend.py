"""Runs a compiled pipeline on this machine, task by task, as Argo would with Kubeflow's driver and launcher."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend import driver, pods
from kubeflow.local_backend.cache import Cache, fingerprint, import_key
from kubeflow.local_backend.checks import check, dependencies, in_order
from kubeflow.local_backend.containers import ContainerRunner, Subprocesses
from kubeflow.local_backend.errors import BackendError
from kubeflow.local_backend.launcher import Attempt, Job, Launcher, LauncherError
from kubeflow.local_backend.metadata import published
from kubeflow.local_backend.records import Artifact, LocalRun, Task, TaskState
from kubeflow.local_backend.spec import Spec
from kubeflow.local_backend.store import Location, ObjectStore
from kubeflow.package import Package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.runs.local import Reporter

LOG_LINES = 20
"""How much of a failed task's log stands in the error."""


@dataclass(frozen=True)
class Options:
    """How tasks are run, apart from what the pipeline says."""

    keep: bool
    volumes: Mapping[str, Path]
    log_directory: Path
    backoff_scale: float
    publish_logs: bool


def run_package(
    package: Package,
    *,
    store: Path,
    root: str,
    parameters: Mapping[str, Any] | None = None,
    reporter: Reporter,
    runner: ContainerRunner | None = None,
    keep: bool = False,
    log_directory: Path,
    volumes: Mapping[str, Path] | None = None,
    backoff_scale: float = 0.0,
    publish_logs: bool = True,
) -> LocalRun:
    """Runs a compiled pipeline; tasks whose fingerprint is known come from the cache.

    Secrets and config maps of a cluster are not here: an environment variable that one of them would set is taken from
    this process if it is set, and left out otherwise.

    Args:
        package: the pipeline.
        store: folder in the place of the object store; it holds the cache and the runs' records too.
        root: pipeline root, a URI of gs, s3 or minio, for pipelines that name none themselves.
        parameters: the run's parameters; those that are left out have their defaults.
        reporter: is told of each task that runs or comes from the cache.
        runner: starts the tasks' programs; subprocesses of this one if it is not given.
        keep: leaves a failed attempt's files where they are.
        log_directory: receives a file for each attempt at a task.
        volumes: folders of this machine by the name of the persistent volume claim that they stand for.
        backoff_scale: the pauses before further attempts are multiplied by this.
        publish_logs: whether each task's log becomes an output artifact, which is the API server's default.

    Returns:
        What came out.

    Raises:
        BackendError: the pipeline is refused, or a task failed; those before it are kept, and come from the cache in
            the next run if they allow it.
    """
    spec = Spec.parse(package.text)
    root = spec.pipeline.default_pipeline_root or root
    check(spec, package, parameters or {}, root)
    runner = runner or Subprocesses()
    options = Options(keep, volumes or {}, log_directory, backoff_scale, publish_logs)
    pods.check_mounts(spec, options.volumes, own_root=runner.own_root)
    return _Run(spec, ObjectStore(store), root, parameters or {}, reporter, runner, options).run()


class _Run:
    """A run while it goes on."""

    def __init__(
        self,
        spec: Spec,
        store: ObjectStore,
        root: str,
        parameters: Mapping[str, Any],
        reporter: Reporter,
        runner: ContainerRunner,
        options: Options,
    ):
        self._spec = spec
        self._store = store
        self._reporter = reporter
        self._options = options
        pipeline = spec.pipeline.pipeline_info.name
        run_id = str(uuid.uuid4())
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        name = f"{pipeline}-{run_id[:5]}"
        self._names = driver.RunNames(run_id, name, display_name=name, created=created)
        base = Location.parse(root)
        # GenerateOutputURI in v2/metadata/client.go
        run_root = Location(base.scheme, base.bucket, f"{base.key}/{pipeline}/{run_id}".strip("/"))
        self._launcher = Launcher(store, run_root, runner)
        self._cache = Cache(store.folder, pipeline)
        self._record = LocalRun(run_id, pipeline, run_root.uri, dict(parameters), created)
        self._parameters = parameters

    def run(self) -> LocalRun:
        """Runs everything. See `run_package`."""
        self._options.log_directory.mkdir(parents=True, exist_ok=True)
        inputs = driver.root_inputs(self._spec, self._parameters)
        root = driver.Dag(self._spec.pipeline.root, inputs, self._store.next_id())
        try:
            self._graph("", root, None)
        except BaseException as error:
            self._record.state = "failed"
            self._record.error = str(error) or type(error).__name__
            if isinstance(error, BackendError):
                error.run = self._record
            raise
        else:
            self._record.state = "succeeded"
            return self._record
        finally:
            self._record.write(self._store.folder)

    def _graph(self, path: str, dag: driver.Dag, retries: Any) -> None:
        """Runs a graph's tasks in order.

        `depends` in argocompiler/dag.go has a task wait until all that it depends on have succeeded. If one was skipped
        Argo omits the task, and the graph succeeds nevertheless.
        """
        tasks = dag.component.dag.tasks
        for name in in_order(tasks):
            if all(dag.executions[other].succeeded for other in dependencies(tasks[name])):
                # dfs in v2/compiler/visitor.go: a task without a retry policy has that of the graph around it.
                policy = tasks[name].retry_policy if tasks[name].HasField("retry_policy") else retries
                dag.executions[name] = self._task(path + name, name, tasks[name], dag, policy)
            else:
                dag.executions[name] = self._leave_out(path + name, "omitted")

    def _leave_out(self, step: str, state: TaskState) -> driver.Execution:
        self._record.tasks[step] = Task(state)
        return driver.Execution(succeeded=False)

    def _task(self, step: str, name: str, task: Any, dag: driver.Dag, retries: Any) -> driver.Execution:
        component = self._spec.component(task)
        with _as_failure(step):
            inputs = driver.resolve_inputs(name, task, component, dag, self._names)
            triggers = driver.triggers(task, inputs)
        if not triggers:
            return self._leave_out(step, "skipped")
        number = self._store.next_id()
        if component.WhichOneof("implementation") == "dag":
            inner = driver.Dag(component, inputs, number)
            self._record.tasks[step] = Task("succeeded")
            started = time.monotonic()
            try:
                self._graph(f"{step}/", inner, retries)
            except BackendError:
                self._record.tasks[step].state = "failed"
                raise
            finally:
                self._record.tasks[step].seconds = time.monotonic() - started
            return driver.Execution(succeeded=True, dag=inner)
        record = self._record.tasks[step] = Task("failed")
        self._reporter.step_started(step)
        started = time.monotonic()
        try:
            executor = self._spec.executors[component.executor_label]
            if executor.WhichOneof("spec") == "importer":
                execution = self._import(step, component, executor.importer, inputs)
                record.state = "succeeded"
            else:
                execution = self._container(step, task, component, executor.container, inputs, retries)
        finally:
            record.seconds = time.monotonic() - started
            self._record.write(self._store.folder)
        record.parameters = {key: json_format.MessageToDict(value) for key, value in execution.parameters.items()}
        record.artifacts = {key: [_artifact(item) for item in items] for key, items in execution.artifacts.items()}
        self._reporter.step_finished(step, cached=record.state == "cached", seconds=record.seconds)
        return execution

    def _import(self, step: str, component: Any, importer: Any, inputs: Any) -> driver.Execution:
        """v2/component/importer_launcher.go: nothing is looked at, the artifact is only recorded.

        With `reimport: false` the launcher looks for an earlier record of the same URI, type and metadata, so that the
        tasks behind it come from the cache.
        """
        [key] = component.output_definitions.artifacts
        artifact = pipeline_spec_pb2.RuntimeArtifact(metadata=importer.metadata)
        if importer.artifact_uri.WhichOneof("value") == "constant":
            artifact.uri = importer.artifact_uri.constant.string_value
        else:
            artifact.uri = inputs.parameter_values[importer.artifact_uri.runtime_parameter].string_value
        if not artifact.uri:
            raise BackendError(step, "importer.artifactUri: it is empty")
        known = import_key(artifact, importer.type_schema)
        found = None if importer.reimport else self._cache.find(known)
        if found is None:
            with _as_failure(step):
                record = published(artifact, name=key, identity=str(self._store.next_id()))
            found = _results(driver.Execution(True, {}, {key: [record]}))
            self._cache.keep(known, found)
        return _execution(found)

    def _container(
        self, step: str, task: Any, component: Any, container: Any, inputs: Any, retries: Any
    ) -> driver.Execution:
        """`Container` in v2/driver/container.go, then the launcher."""
        record = self._record.tasks[step]
        folder = f"{self._record.root}/{task.task_info.name}/{uuid.uuid4()}"
        outputs = driver.provision_outputs(component, folder, publish_logs=self._options.publish_logs)
        executor_input = pipeline_spec_pb2.ExecutorInput(inputs=inputs, outputs=outputs)
        record.executor_input = json_format.MessageToDict(executor_input)
        config = self._spec.platform_of(component)
        key = None
        if task.caching_options.enable_cache:
            key = fingerprint(component, container, executor_input, pods.claims(config).values())
            # reuseCachedOutputs in v2/driver/cache.go: an entry that lacks an output is not used.
            found = self._cache.find(key)
            if found is not None and set(outputs.artifacts) <= set(found["artifacts"]):
                record.state = "cached"
                return _execution(found)
        job = Job(
            name=step,
            component=component,
            container=container,
            executor_input=executor_input,
            env=pods.environment(container, config),
            volumes=pods.mounts(config, self._options.volumes),
            timeout=float(config.active_deadline_seconds) or None,
        )
        attempt = self._attempts(job, record, retries)
        record.state = "succeeded"
        record.executor_output = json_format.MessageToDict(attempt.executor_output)
        execution = driver.Execution(True, attempt.parameters, attempt.artifacts)
        if key is not None:
            self._cache.keep(key, _results(execution))
        return execution

    def _attempts(self, job: Job, record: Task, retries: Any) -> Attempt:
        """Argo's retryStrategy, made by `getTaskRetryStrategyFromInput` in argocompiler/container.go.

        Every attempt is a new pod, with the same executor input. A policy without backoffMaxDuration gets "0" there,
        and Argo makes no further attempt when that has passed.
        """
        started = time.monotonic()
        waited = 0.0
        while True:
            record.attempts += 1
            log_file = self._log_file(job.name, record.attempts)
            record.log_file = str(log_file)
            attempt = Attempt()
            try:
                self._attempt(job, log_file, attempt)
            except LauncherError as error:
                if retries is None or record.attempts > retries.max_retry_count:
                    raise self._failure(job.name, record, error) from error
                pause = retries.backoff_duration.ToTimedelta().total_seconds()
                pause *= max(int(retries.backoff_factor), 1) ** (record.attempts - 1)
                passed = time.monotonic() - started + waited
                if passed > retries.backoff_max_duration.ToTimedelta().total_seconds():
                    raise self._failure(job.name, record, error) from error
                waited += pause * (1 - self._options.backoff_scale)
                time.sleep(pause * self._options.backoff_scale)
            else:
                return attempt
            finally:
                record.downloaded += attempt.downloaded
                record.uploaded += attempt.uploaded

    def _attempt(self, job: Job, log_file: Path, attempt: Attempt) -> None:
        root = Path(tempfile.mkdtemp(prefix=f"kfp-local-{job.name.replace('/', '.')}-"))
        try:
            self._launcher.launch(job, root, log_file, attempt)
        except LauncherError as error:
            if not self._options.keep:
                shutil.rmtree(root, ignore_errors=True)
                raise
            raise LauncherError(f"{error}; its files are kept in {root}") from error
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        else:
            shutil.rmtree(root, ignore_errors=True)

    def _log_file(self, step: str, attempt: int) -> Path:
        suffix = f".attempt-{attempt}" if attempt > 1 else ""
        file = (self._options.log_directory / f"{step.replace('/', '.')}{suffix}.log").absolute()
        file.unlink(missing_ok=True)
        return file

    def _failure(self, step: str, record: Task, error: LauncherError) -> BackendError:
        lines = [str(error) + (f", in each of {record.attempts} attempts" if record.attempts > 1 else "")]
        log = Path(record.log_file or "")
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.is_file() else []
        if tail:
            lines += ["the end of its log:", *(f"  {line}" for line in tail)]
        return BackendError(step, "\n".join([*lines, f"all of it: {log}"]))


@contextmanager
def _as_failure(step: str) -> Iterator[None]:
    """Names the task in what goes wrong around it."""
    try:
        yield
    except BackendError:
        raise
    except ValueError as error:
        raise BackendError(step, str(error)) from error


def _artifact(message: Any) -> Artifact:
    fields = json_format.MessageToDict(message)
    return Artifact(fields.get("uri", ""), fields.get("metadata", {}), fields["name"])


def _results(execution: driver.Execution) -> dict[str, Any]:
    """An execution as the cache keeps it."""
    return {
        "parameters": {key: json_format.MessageToDict(value) for key, value in execution.parameters.items()},
        "artifacts": {
            key: [json_format.MessageToDict(item) for item in items] for key, items in execution.artifacts.items()
        },
    }


def _execution(results: dict[str, Any]) -> driver.Execution:
    """What `_results` wrote."""
    output = pipeline_spec_pb2.ExecutorOutput()
    fields = {
        "parameterValues": results["parameters"],
        "artifacts": {key: {"artifacts": items} for key, items in results["artifacts"].items()},
    }
    json_format.ParseDict(fields, output)
    artifacts = {key: list(items.artifacts) for key, items in output.artifacts.items()}
    return driver.Execution(True, dict(output.parameter_values), artifacts)
