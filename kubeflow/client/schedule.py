"""Schedules: Kubeflow's recurring runs, told apart by name.

Kubeflow knows no change of a recurring run, so a changed one takes the place of the old one, in an order that never has
both of them enabled: the new one is made disabled, the old one is disabled, the new one enabled, the old one deleted.
Doing it again from any point in between leads to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kfp_server_api import (
    RecurringRunMode,
    V2beta1CronSchedule,
    V2beta1RecurringRun,
    V2beta1RuntimeConfig,
    V2beta1Trigger,
)

from kubeflow.client.connection import Connection, RequestError
from kubeflow.client.submit import experiment, reference, upload
from kubeflow.package import Package
from pipeline.commands.options import CommandError
from pipeline.config.config import ConfigError
from pipeline.config.kubeflow import Kubeflow
from pipeline.cron import Cron

_CONCURRENCY = 1
"""Two runs at once would compare themselves with the same last model."""


@dataclass(frozen=True)
class Schedule:
    """A recurring run as Kubeflow has it."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool
    pipeline_id: str
    version_id: str
    experiment_id: str
    created: datetime | None
    settings: Mapping[str, Any]
    """Everything that a new one may differ in."""
    service_account: str | None
    error: str

    def next_run(self, now: datetime) -> datetime | None:
        """When it runs next, if Kubeflow's controller keeps UTC; None if it does not, or if that is unknown."""
        try:
            return (
                Cron.parse(self.cron).next_after(now) if self.enabled and not self.cron.startswith("@every") else None
            )
        except ConfigError:
            return None


@dataclass(frozen=True)
class Outcome:
    """What `put` did."""

    schedule: Schedule
    version: str
    replaced: tuple[str, ...]
    """Ids of those whose place it took."""
    done: Literal["made", "enabled", "nothing"]


def schedules(connection: Connection) -> list[Schedule]:
    """All schedules of the namespace."""
    listing = connection.recurring_runs.recurring_run_service_list_recurring_runs
    return [
        _schedule(item)
        for item in connection.all("list the schedules", "recurring_runs", listing, namespace=connection.namespace)
    ]


def of_name(connection: Connection, name: str) -> list[Schedule]:
    """The schedules of this name: one, or several after a change that was cut short."""
    listing = connection.recurring_runs.recurring_run_service_list_recurring_runs
    found = connection.named("list the schedules", "recurring_runs", name, listing, namespace=connection.namespace)
    return [_schedule(item) for item in found]


def _schedule(item: Any) -> Schedule:
    version = item.pipeline_version_reference
    cron = item.trigger.cron_schedule.cron if item.trigger and item.trigger.cron_schedule else ""
    runtime = item.runtime_config
    return Schedule(
        schedule_id=item.recurring_run_id,
        name=item.display_name,
        cron=cron,
        enabled=item.mode == "ENABLE",
        pipeline_id=version.pipeline_id if version else "",
        version_id=version.pipeline_version_id if version else "",
        experiment_id=item.experiment_id,
        created=item.created_at,
        settings={
            "cron": cron,
            "version": version.pipeline_version_id if version else "",
            "experiment": item.experiment_id,
            "parameters": dict((runtime and runtime.parameters) or {}),
            "root": (runtime and runtime.pipeline_root) or "",
            "max_concurrency": str(item.max_concurrency),
            "no_catchup": bool(item.no_catchup),
        },
        service_account=item.service_account,
        error=item.error.message if item.error and item.error.message else "",
    )


def put(
    connection: Connection,
    package: Package,
    settings: Kubeflow,
    name: str,
    cron: Cron,
    parameters: Mapping[str, Any],
) -> Outcome:
    """Makes the schedule of this name be this one, enabled, and the only one of its name.

    Args:
        connection: where.
        package: what runs.
        settings: experiment, root and service account.
        name: of the schedule.
        cron: when it runs.
        parameters: the runtime parameters of every run.

    Raises:
        PackageError: the parameters do not fit the pipeline.
        CommandError: it could not be done; the message says which schedule is in force now.
    """
    package.check_parameters(parameters)
    version = upload(connection, package)
    wanted = {
        "cron": cron.text,
        "version": version.version_id,
        "experiment": experiment(connection, settings.experiment),
        "parameters": dict(parameters),
        "root": settings.root or "",
        "max_concurrency": str(_CONCURRENCY),
        "no_catchup": True,
    }
    before = of_name(connection, name)

    def found() -> Schedule | None:
        same = [
            one
            for one in of_name(connection, name)
            if one.settings == wanted and settings.service_account in (None, one.service_account)
        ]
        # If there are several, the enabled one.
        return max(same, key=lambda one: one.enabled, default=None)

    def made() -> Schedule:
        body = V2beta1RecurringRun(
            experiment_id=wanted["experiment"],
            display_name=name,
            trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=cron.text)),
            max_concurrency=_CONCURRENCY,
            # A model is wanted of today's data, not one for each Monday that was missed.
            no_catchup=True,
            runtime_config=V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=settings.root),
            pipeline_version_reference=reference(version),
            mode=RecurringRunMode.DISABLE if before else RecurringRunMode.ENABLE,
            service_account=settings.service_account,
        )
        with connection.to(f"make the schedule {name}"):
            created = connection.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=body)
        return _schedule(created)

    target = connection.once(found, made)
    others = [one for one in before if one.schedule_id != target.schedule_id]
    if not target.enabled:
        _switch(connection, target, [one for one in others if one.enabled])
    else:
        for one in others:
            _set_enabled(connection, one, enabled=False)
    for one in others:
        try:
            remove(connection, one)
        except RequestError as error:
            raise RequestError(
                f"{error}. Schedule {name}: the new one, {target.schedule_id}, is in force; the old one, "
                f"{one.schedule_id}, is disabled and still there. The same command again removes it",
                status=error.status,
                unknown=error.unknown,
            ) from None
    done: Literal["made", "enabled", "nothing"] = "nothing" if target.enabled else "enabled"
    if target.schedule_id not in [one.schedule_id for one in before]:
        done = "made"
    return Outcome(target, version.name, tuple(one.schedule_id for one in others), done)


def _switch(connection: Connection, new: Schedule, old: Sequence[Schedule]) -> None:
    """Disables the old ones and enables the new one; if that fails, the old ones are as they were."""
    done: list[Schedule] = []
    try:
        for one in old:
            done.append(one)
            _set_enabled(connection, one, enabled=False)
        _set_enabled(connection, new, enabled=True)
    except RequestError as error:
        raise RequestError(
            f"{error}. {_put_back(connection, new, done)}. The same command again puts the new one in force",
            status=error.status,
            unknown=error.unknown,
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted. {_put_back(connection, new, done)}. The same command again puts the new one in force"
        ) from None


def _put_back(connection: Connection, new: Schedule, old: Sequence[Schedule]) -> str:
    """Makes the old ones run again, and says how things stand."""
    try:
        # It may have been enabled, and only the answer was lost: then it stays disabled before the old ones run again.
        _set_enabled(connection, new, enabled=False)
        for one in old:
            _set_enabled(connection, one, enabled=True)
    except RequestError:
        return (
            f"Schedule {new.name}: Kubeflow could not be told to put the old one back either, so that none may be "
            "enabled; deeplab schedule list shows it"
        )
    if not old:
        return f"Schedule {new.name}: none is enabled"
    return f"Schedule {new.name}: the old one, {old[0].schedule_id}, is in force as before, the new one is disabled"


def _set_enabled(connection: Connection, schedule: Schedule, *, enabled: bool) -> None:
    """Enables or disables it. Twice does no harm, so it is tried again once when the answer is lost."""
    what = f"{'enable' if enabled else 'disable'} the schedule {schedule.name} ({schedule.schedule_id})"

    def attempt() -> None:
        api = connection.recurring_runs
        switch = (
            api.recurring_run_service_enable_recurring_run
            if enabled
            else api.recurring_run_service_disable_recurring_run
        )
        with connection.to(what):
            switch(schedule.schedule_id)

    _again_if_lost(attempt)


def _again_if_lost(attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except RequestError as error:
        if not error.unknown:
            raise
        attempt()


def remove(connection: Connection, schedule: Schedule) -> None:
    """Deletes a schedule; runs that it has started go on.

    Raises:
        RequestError: it could not be done.
    """

    def attempt() -> None:
        with connection.to(f"delete the schedule {schedule.name} ({schedule.schedule_id})"):
            connection.recurring_runs.recurring_run_service_delete_recurring_run(schedule.schedule_id)

    try:
        _again_if_lost(attempt)
    except RequestError as error:
        # The first attempt did it, or somebody else.
        if error.status != 404:
            raise


def existing(connection: Connection, name: str) -> list[Schedule]:
    """The schedules of a name.

    Raises:
        CommandError: there is none.
    """
    if found := of_name(connection, name):
        return found
    known = ", ".join(sorted({one.name for one in schedules(connection)})) or "none"
    raise CommandError(f"{connection.endpoint}: there is no schedule {name}; there is: {known}")


def pause(connection: Connection, name: str) -> list[Schedule]:
    """Disables the schedule; runs that it has started go on. Returns what was enabled.

    Raises:
        CommandError: there is none of this name, or it could not be done.
    """
    running = [one for one in existing(connection, name) if one.enabled]
    for one in running:
        _set_enabled(connection, one, enabled=False)
    return running


def resume(connection: Connection, name: str) -> Schedule:
    """Enables the schedule.

    Raises:
        CommandError: there is none of this name, or more than one, or it could not be done.
    """
    found = existing(connection, name)
    if len(found) > 1:
        ids = ", ".join(one.schedule_id for one in found)
        raise CommandError(
            f"{connection.endpoint}: there are {len(found)} schedules {name} ({ids}), left by a change that was cut "
            "short; deeplab schedule CONFIG --cron ... again leaves the right one"
        )
    _set_enabled(connection, found[0], enabled=True)
    return found[0]


def delete(connection: Connection, name: str) -> list[Schedule]:
    """Deletes the schedule.

    Raises:
        CommandError: there is none of this name, or it could not be done.
    """
    found = existing(connection, name)
    for one in found:
        remove(connection, one)
    return found


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    schedule: Schedule
    version: str
    next_run: datetime | None
    last_run: str


def rows(connection: Connection) -> list[Row]:
    """The schedules with what is to be looked up elsewhere: the versions' names and the last runs."""
    now = datetime.now(UTC).replace(tzinfo=None)
    found = sorted(schedules(connection), key=lambda one: (one.name, one.schedule_id))
    last = _last_runs(connection, {one.experiment_id for one in found})
    return [Row(one, _version_name(connection, one), one.next_run(now), last.get(one.schedule_id, "")) for one in found]


def _version_name(connection: Connection, schedule: Schedule) -> str:
    if not schedule.version_id:
        return "the latest"
    try:
        with connection.to("look up a version"):
            version = connection.pipelines.pipeline_service_get_pipeline_version(
                schedule.pipeline_id, schedule.version_id
            )
        return version.display_name
    except RequestError as error:
        if error.status != 404:
            raise
        return f"{schedule.version_id} (deleted)"


def _last_runs(connection: Connection, experiments: set[str]) -> dict[str, str]:
    """Time and state of the last run by schedule, from each experiment's latest hundred."""
    last: dict[str, str] = {}
    for experiment_id in sorted(experiments):
        with connection.to("list the runs"):
            page = connection.runs.run_service_list_runs(
                page_size=100, sort_by="created_at desc", experiment_id=experiment_id
            )
        for run in page.runs or ():
            if run.recurring_run_id:
                last.setdefault(run.recurring_run_id, f"{run.created_at:%Y-%m-%d %H:%M} {run.state}")
    return last
