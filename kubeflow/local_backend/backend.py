"""Runs a compiled pipeline on this machine, task by task, as Argo would with Kubeflow's driver and launcher."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend import driver
from kubeflow.local_backend.cache import Cache, fingerprint
from kubeflow.local_backend.checks import check, dependencies, in_order
from kubeflow.local_backend.containers import ContainerRunner, Subprocesses
from kubeflow.local_backend.launcher import Job, Launcher, LauncherError
from kubeflow.local_backend.records import Artifact, BackendError, LocalRun, Task
from kubeflow.local_backend.spec import Spec
from kubeflow.local_backend.store import Location, ObjectStore
from kubeflow.package import Package

if TYPE_CHECKING:
    from pipeline.runs.local import Reporter

LOG_LINES = 20
"""How many lines of a failed task's log the error shows."""


def run_package(
    package: Package,
    *,
    store: Path,
    parameters: Mapping[str, Any] | None = None,
    reporter: Reporter,
    runner: ContainerRunner | None = None,
    log_directory: Path,
) -> LocalRun:
    """Runs a compiled pipeline; tasks whose fingerprint is known come from the cache.

    A cluster's secrets are not here: an environment variable that one of them would set is taken from this process if
    it is set, and left out otherwise.

    Args:
        package: the pipeline.
        store: folder in place of the object store; it holds the cache and the runs' records too.
        parameters: the run's parameters; those that are left out have their defaults.
        reporter: is told of each task that runs or comes from the cache.
        runner: starts the tasks' programs; by default as subprocesses of this one.
        log_directory: receives a file for each attempt at a task.

    Returns:
        The record of the run.

    Raises:
        BackendError: the pipeline is refused, or a task failed; those before it are kept, and come from the cache in
            the next run if they allow it.
    """
    spec, values, runner = Spec.parse(package.text), parameters or {}, runner or Subprocesses()
    check(spec, package, values, own_root=runner.own_root)
    pipeline, run_id = spec.pipeline.pipeline_info.name, str(uuid.uuid4())
    base = Location.parse(spec.pipeline.default_pipeline_root)
    # GenerateOutputURI in v2/metadata/client.go
    run_root = Location(base.scheme, base.bucket, f"{base.key}/{pipeline}/{run_id}".strip("/"))
    objects = ObjectStore(store)
    log_directory.mkdir(parents=True, exist_ok=True)
    return _Run(
        spec,
        driver.root_parameters(spec, values),
        objects.folder,
        Launcher(objects, run_root, runner),
        Cache(objects.folder, pipeline),
        LocalRun(
            run_id, pipeline, run_root.uri, dict(values), started=datetime.now(UTC).isoformat(timespec="milliseconds")
        ),
        reporter,
        log_directory.absolute(),
    ).run()


@dataclass(frozen=True)
class _Run:
    """A run in progress."""

    spec: Spec
    parameters: Mapping[str, Any]
    """The pipeline's parameters as Values."""
    folder: Path
    """Of the store."""
    launcher: Launcher
    cache: Cache
    record: LocalRun
    reporter: Reporter
    log_directory: Path
    results: dict[str, Any] = field(default_factory=dict)
    """ExecutorOutput of the tasks that succeeded."""

    def run(self) -> LocalRun:
        """Runs the tasks in order.

        `depends` in argocompiler/dag.go has a task wait until all that it depends on have succeeded. If one was skipped
        Argo omits the task, and the run succeeds nevertheless.
        """
        try:
            for name in in_order(self.spec.tasks):
                if dependencies(self.spec.tasks[name]) <= set(self.results):
                    self._task(name)
                else:
                    self.record.tasks[name] = Task("omitted")
        except BaseException as error:
            self.record.state = "failed"
            self.record.error = str(error) or type(error).__name__
            if isinstance(error, BackendError):
                error.run = self.record
            raise
        else:
            self.record.state = "succeeded"
            return self.record
        finally:
            self.record.write(self.folder)

    def _task(self, name: str) -> None:
        task = self.spec.tasks[name]
        component = self.spec.component(task)
        inputs = driver.resolve_inputs(name, task, component, self.parameters, self.results)
        if not driver.holds(task, inputs):
            self.record.tasks[name] = Task("skipped")
            return
        record = self.record.tasks[name] = Task("failed")
        self.reporter.step_started(name)
        started = time.monotonic()
        try:
            results = self._container(name, task, component, inputs)
        finally:
            record.seconds = time.monotonic() - started
            self.record.write(self.folder)
        self.results[name] = results
        fields = json_format.MessageToDict(results)
        record.parameters = fields.get("parameterValues", {})
        record.artifacts = {
            key: [Artifact(item.get("uri", ""), item["metadata"], item["name"]) for item in items["artifacts"]]
            for key, items in fields.get("artifacts", {}).items()
        }
        self.reporter.step_finished(name, cached=record.state == "cached", seconds=record.seconds)

    def _container(self, name: str, task: Any, component: Any, inputs: Any) -> Any:
        """`Container` in v2/driver/container.go, then the launcher. Returns the task's results, an ExecutorOutput."""
        record = self.record.tasks[name]
        container = self.spec.executors[component.executor_label].container
        config = self.spec.platform_of(component)
        outputs = driver.provision_outputs(component, f"{self.record.root}/{name}/{uuid.uuid4()}")
        executor_input = pipeline_spec_pb2.ExecutorInput(inputs=inputs, outputs=outputs)
        record.executor_input = json_format.MessageToDict(executor_input)
        key = fingerprint(component, container, executor_input, driver.claims(config).values())
        if task.caching_options.enable_cache:
            found = self.cache.find(key)
            if found is not None:
                record.state = "cached"
                return found
        env, timeout = driver.environment(container, config), float(config.active_deadline_seconds) or None
        results = self._attempts(Job(name, container, executor_input, env, timeout), record, task.retry_policy)
        record.state = "succeeded"
        if task.caching_options.enable_cache:
            self.cache.keep(key, results)
        return results

    def _attempts(self, job: Job, record: Task, policy: Any) -> Any:
        """Argo's retryStrategy, made by `getTaskRetryStrategyFromInput` in argocompiler/container.go.

        Every attempt is a new pod, with the same executor input. A policy without backoffMaxDuration gets "0" there,
        and Argo makes no further attempt when that has passed. Pauses count as passed, without being waited for.
        """
        started = time.monotonic()
        waited = 0.0
        while True:
            record.attempts += 1
            attempt = f".attempt-{record.attempts}" if record.attempts > 1 else ""
            log_file = self.log_directory / f"{job.name}{attempt}.log"
            log_file.unlink(missing_ok=True)
            record.log_file = str(log_file)
            folder = Path(tempfile.mkdtemp(prefix=f"kfp-local-{job.name}-"))
            try:
                return self.launcher.launch(job, folder, record)
            except LauncherError as error:
                passed = time.monotonic() - started + waited
                longest = policy.backoff_max_duration.ToTimedelta().total_seconds()
                if record.attempts > policy.max_retry_count or passed > longest:
                    raise self._failure(job.name, record, error) from error
                pause = policy.backoff_duration.ToTimedelta().total_seconds()
                waited += pause * max(int(policy.backoff_factor), 1) ** (record.attempts - 1)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _failure(self, name: str, record: Task, error: LauncherError) -> BackendError:
        lines = [str(error) + (f", in each of {record.attempts} attempts" if record.attempts > 1 else "")]
        log = Path(record.log_file or "")
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.is_file() else []
        if tail:
            lines += ["the end of its log:", *(f"  {line}" for line in tail)]
        return BackendError(name, "\n".join([*lines, f"all of it: {log}"]))
