"""Uploads a compiled pipeline, starts runs of it and watches them."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api import (
    PipelineUploadServiceApi,
    V2beta1Experiment,
    V2beta1Pipeline,
    V2beta1PipelineVersionReference,
    V2beta1Run,
    V2beta1RuntimeConfig,
)

from kubeflow.client.connection import Connection, RequestError
from kubeflow.package import Package, PackageError
from pipeline.commands.options import CommandError
from pipeline.config.kubeflow import Kubeflow

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States that a run does not leave."""
SECONDS_BETWEEN_LOOKS = 10.0
SECONDS_OF_SILENCE = 600.0
"""How long a run is still waited for while Kubeflow does not answer."""


@dataclass(frozen=True)
class Version:
    """An uploaded version of a pipeline."""

    pipeline_id: str
    version_id: str
    name: str


@dataclass(frozen=True)
class SubmittedRun:
    """A run that was started."""

    run_id: str
    name: str
    link: str


@dataclass(frozen=True)
class Step:
    """A step of a run that goes on."""

    name: str
    state: str


class RunFailedError(CommandError):
    """A run ended otherwise than well."""


def read_parameters(package: Package, texts: Sequence[str]) -> dict[str, Any]:
    """Reads `name=value` by the types that the pipeline declares: text as it is, anything else as YAML.

    Raises:
        PackageError: one cannot be read. Whether they fit the pipeline is for `Package.check_parameters`.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise PackageError(f"--parameter {text}: wanted name=value, such as steps=100")
        declared = package.parameters.get(name, {}).get("parameterType")
        try:
            values[name] = value if declared == "STRING" else yaml.safe_load(value)
            if declared == "NUMBER_DOUBLE" and isinstance(values[name], str):
                # YAML 1.1 takes 1e-3 for text.
                values[name] = float(value)
        except (yaml.YAMLError, ValueError):
            raise PackageError(f"parameter {name}: found {value!r}, wanted {declared}") from None
    return values


def upload(connection: Connection, package: Package) -> Version:
    """Uploads the package under its own name, unless it is there already; the version is named by the contents.

    Raises:
        RequestError: it could not be done.
    """
    name, pipelines = package.name, connection.pipelines

    def pipeline_found() -> str | None:
        listing = pipelines.pipeline_service_list_pipelines
        found = connection.named("list the pipelines", "pipelines", name, listing, namespace=connection.namespace)
        return found[0].pipeline_id if found else None

    def pipeline_made() -> str:
        # Not upload_pipeline: it would make a version of the pipeline's own name along with it.
        with connection.to(f"make the pipeline {name}"):
            body = V2beta1Pipeline(display_name=name, namespace=connection.namespace)
            return pipelines.pipeline_service_create_pipeline(pipeline=body).pipeline_id

    pipeline_id = connection.once(pipeline_found, pipeline_made)

    def version_found() -> str | None:
        found = connection.named(
            f"list the versions of {name}",
            "pipeline_versions",
            package.version,
            pipelines.pipeline_service_list_pipeline_versions,
            pipeline_id=pipeline_id,
        )
        return found[0].pipeline_version_id if found else None

    def version_made() -> str:
        with tempfile.TemporaryDirectory() as folder, connection.to(f"upload the version {package.version}"):
            file = Path(folder, "pipeline.yaml")
            file.write_text(package.text, encoding="utf-8")
            uploaded = PipelineUploadServiceApi(connection.client).upload_pipeline_version(
                str(file), name=package.version, pipelineid=pipeline_id
            )
            return uploaded.pipeline_version_id

    return Version(pipeline_id, connection.once(version_found, version_made), package.version)


def reference(version: Version) -> V2beta1PipelineVersionReference:
    """The version, as runs and schedules refer to it."""
    return V2beta1PipelineVersionReference(pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id)


def experiment(connection: Connection, name: str) -> str:
    """The id of the experiment, which is made when it is not there.

    Raises:
        RequestError: it could not be done.
    """
    experiments = connection.experiments

    def found() -> str | None:
        listing = experiments.experiment_service_list_experiments
        there = connection.named("list the experiments", "experiments", name, listing, namespace=connection.namespace)
        return there[0].experiment_id if there else None

    def made() -> str:
        with connection.to(f"make the experiment {name}"):
            body = V2beta1Experiment(display_name=name, namespace=connection.namespace)
            return experiments.experiment_service_create_experiment(experiment=body).experiment_id

    return connection.once(found, made)


def start(
    connection: Connection,
    package: Package,
    settings: Kubeflow,
    parameters: Mapping[str, Any],
    name: str | None = None,
) -> SubmittedRun:
    """Uploads what is not there yet and starts a run.

    Args:
        connection: where.
        package: what.
        settings: experiment, root and service account.
        parameters: the runtime parameters.
        name: of the run; it must not be there yet in the experiment. None makes one up.

    Raises:
        PackageError: the parameters do not fit the pipeline.
        CommandError: there is a run of this name.
        RequestError: it could not be done.
    """
    if name is not None and "run_name" in package.parameters:
        parameters = {"run_name": name, **parameters}
    package.check_parameters(parameters)
    version = upload(connection, package)
    experiment_id = experiment(connection, settings.experiment)
    # Kubeflow lets runs share a name. Ours do not, so that a run whose start was not confirmed can be looked for.
    run_name = name or f"{package.name}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"

    def found() -> SubmittedRun | None:
        listing = connection.runs.run_service_list_runs
        there = connection.named("list the runs", "runs", run_name, listing, experiment_id=experiment_id)
        return _run(connection, there[0]) if there else None

    def started() -> SubmittedRun:
        body = V2beta1Run(
            experiment_id=experiment_id,
            display_name=run_name,
            pipeline_version_reference=reference(version),
            runtime_config=V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=settings.root),
            service_account=settings.service_account,
        )
        with connection.to(f"start the run {run_name}"):
            return _run(connection, connection.runs.run_service_create_run(run=body))

    if name is not None and (there := found()) is not None:
        raise CommandError(
            f"there is a run {name} in the experiment {settings.experiment} already: {there.link}; "
            "give another --run-name"
        )
    try:
        return connection.once(found, started)
    except RequestError as error:
        if not error.unknown:
            raise
        raise RequestError(
            f"{error}; the run {run_name} is not there so far. To try again without starting it twice: "
            f"--run-name {run_name}",
            status=error.status,
            unknown=True,
        ) from None


def _run(connection: Connection, answer: Any) -> SubmittedRun:
    return SubmittedRun(answer.run_id, answer.display_name, connection.link("runs", answer.run_id))


def watch(
    connection: Connection,
    reconnect: Callable[[], Connection],
    run: SubmittedRun,
    steps: Sequence[str],
    *,
    pause: float = SECONDS_BETWEEN_LOOKS,
    silence: float = SECONDS_OF_SILENCE,
) -> Iterator[Step]:
    """Yields each step whose state changes, until the run has ended.

    Args:
        connection: where it runs.
        reconnect: logs in again, when the login has run out.
        run: the run.
        steps: their names; what else Kubeflow lists are its own helpers.
        pause: seconds between two looks.
        silence: seconds of failing looks after which it is given up.

    Raises:
        RunFailedError: the run ended otherwise than well.
        RequestError: Kubeflow does not answer any more; the run goes on.
    """
    known, last_answer, login_ran_out = dict[str, str](), time.monotonic(), False
    while True:
        try:
            if login_ran_out:
                connection, login_ran_out = reconnect(), False
            with connection.to(f"look at the run {run.name}"):
                answer = connection.runs.run_service_get_run(run.run_id)
            last_answer = time.monotonic()
        except CommandError as error:
            status = getattr(error, "status", None)
            if status == 404 or time.monotonic() - last_answer > silence:
                raise RequestError(f"{error}; the run goes on by itself: {run.link}", status=status) from None
            login_ran_out = login_ran_out or status in (301, 302, 303, 307, 401, 403)
            time.sleep(pause)
            continue
        found = _states(answer, steps)
        for name, (state, _) in found.items():
            if known.get(name) != state:
                known[name] = state
                yield Step(name, state)
        if answer.state in ENDED:
            if answer.state != "SUCCEEDED":
                raise RunFailedError(_failure(answer, found, run))
            return
        time.sleep(pause)


def _states(answer: Any, steps: Sequence[str]) -> dict[str, tuple[str, str]]:
    """State and error by step. What Argo runs for a step X is called X-driver before it is called X."""
    found: dict[str, tuple[str, str]] = {}
    for task in (answer.run_details and answer.run_details.task_details) or ():
        shown = task.display_name or ""
        name = shown.removesuffix("-driver")
        if name in steps and task.state and (name == shown or task.state == "FAILED"):
            errors = [task.error, *(moment.error for moment in reversed(task.state_history or ()))]
            found[name] = (task.state, next((error.message for error in errors if error and error.message), ""))
    return found


def _failure(answer: Any, found: Mapping[str, tuple[str, str]], run: SubmittedRun) -> str:
    failed = [
        f"{name} failed{f': {error}' if error else ''}" for name, (state, error) in found.items() if state == "FAILED"
    ]
    if not failed and answer.error and answer.error.message:
        failed = [answer.error.message]
    return "\n".join([f"the run {run.name} ended as {answer.state}", *failed, f"Its logs: {run.link}"])
