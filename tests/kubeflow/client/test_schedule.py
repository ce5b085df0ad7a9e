"""Schedules at Kubeflow's stand-in: one of a name, replaced so that never two are enabled."""

from datetime import datetime

import pytest
from kfp_server_api import RecurringRunServiceApi

from kubeflow.client import schedule
from kubeflow.client.connection import RequestError, connect
from kubeflow.client.submit import experiment, start
from kubeflow.package import PackageError
from pipeline.commands.options import CommandError
from pipeline.cron import Cron

MONDAYS = Cron.parse("0 0 3 * * 1")
DATA = {"data": "gs://bucket/voc/{SPAN}"}


def put(settings, package, cron=MONDAYS, name="nightly", parameters=DATA):
    return schedule.put(connect(settings), package, settings, name, cron, parameters)


def test_a_schedule_is_made(stub, settings, package):
    outcome = put(settings, package)
    (made,) = stub.schedules
    assert made["recurring_run_id"] == outcome.schedule.schedule_id
    assert made["display_name"] == "nightly"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("1", True, "ENABLE")
    assert made["runtime_config"] == {"parameters": DATA, "pipeline_root": "gs://bucket/pipelines"}
    assert made["pipeline_version_reference"]["pipeline_version_id"] == stub.versions[0]["pipeline_version_id"]
    assert outcome.version == package.version


def test_the_same_again_changes_nothing(stub, settings, package):
    first = put(settings, package)
    again = put(settings, package)
    assert (again.done, again.replaced, again.schedule.schedule_id) == ("nothing", (), first.schedule.schedule_id)
    assert stub.requests.count("POST /recurringruns") == 1


@pytest.mark.parametrize("what", ["version", "cron", "parameters", "root", "service_account"])
def test_a_change_takes_the_place_of_what_was_there(stub, settings, package, newer_package, what):
    old = put(settings, package)
    if what in ("root", "service_account"):
        settings = settings.model_copy(update={"root": "gs://other", "service_account": "other"})
    outcome = put(
        settings,
        newer_package if what == "version" else package,
        Cron.parse("@daily") if what == "cron" else MONDAYS,
        parameters={**DATA, "steps": 5} if what == "parameters" else DATA,
    )
    assert outcome.done == "made"
    assert outcome.replaced == (old.schedule.schedule_id,)
    assert [one["recurring_run_id"] for one in stub.enabled] == [outcome.schedule.schedule_id]
    assert len(stub.schedules) == 1
    assert max(stub.enabled_counts) == 1


def test_other_schedules_are_left_alone(stub, settings, package, newer_package):
    put(settings, package, name="weekly")
    put(settings, package)
    put(settings, newer_package)
    assert sorted(one["display_name"] for one in stub.enabled) == ["nightly", "weekly"]


REQUESTS = [("POST", "/recurringruns"), ("POST", ":disable"), ("POST", ":enable"), ("DELETE", "/recurringruns/[^/]+")]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("fault", ["before", "after", "late", 500, 403])
def test_one_failure_in_a_change_leaves_one_enabled_and_again_mends(
    stub, settings, package, newer_package, method, path, fault
):
    put(settings, package)
    stub.enabled_counts.clear()
    stub.fail(method, path, fault)
    try:
        put(settings, newer_package)
    except RequestError as error:
        assert str(error).startswith(f"{stub.url}: cannot ")
        assert path == "/recurringruns" or "is in force" in str(error)
    assert len(stub.enabled) == 1
    assert len(stub.schedules) <= 2
    put(settings, newer_package)
    assert len(stub.schedules) == len(stub.enabled) == 1
    latest = stub.versions[-1]["pipeline_version_id"]
    assert stub.enabled[0]["pipeline_version_reference"]["pipeline_version_id"] == latest
    assert max(stub.enabled_counts) == 1


def test_an_outage_in_the_middle_is_told_and_again_mends(stub, settings, package, newer_package):
    put(settings, package)
    stub.fail("POST", ":enable", "before", times=9)
    with pytest.raises(RequestError, match=r"none may be enabled; .* The same command again puts the new one in force"):
        put(settings, newer_package)
    stub.faults.clear()
    put(settings, newer_package)
    assert len(stub.schedules) == len(stub.enabled) == 1
    assert max(stub.enabled_counts) == 1


def test_one_that_was_enabled_unheard_is_disabled_before_the_old_one_runs_again(stub, settings, package, newer_package):
    old = put(settings, package)
    stub.fail("POST", ":enable", "after", times=2)
    with pytest.raises(RequestError, match="is in force as before, the new one is disabled"):
        put(settings, newer_package)
    assert [one["recurring_run_id"] for one in stub.enabled] == [old.schedule.schedule_id]
    assert max(stub.enabled_counts) == 1


@pytest.mark.parametrize("fault", ["after", "late"])
def test_the_first_one_is_made_once_though_the_answer_is_lost(stub, settings, package, fault):
    stub.fail("POST", "/recurringruns", fault)
    put(settings, package)
    assert len(stub.schedules) == len(stub.enabled) == 1


def test_an_interruption_in_the_middle_puts_the_old_one_back(stub, settings, package, newer_package, monkeypatch):
    old = put(settings, package)
    enable = RecurringRunServiceApi.recurring_run_service_enable_recurring_run

    def interrupted(client, identity):
        if identity != old.schedule.schedule_id:
            raise KeyboardInterrupt
        return enable(client, identity)

    monkeypatch.setattr(RecurringRunServiceApi, "recurring_run_service_enable_recurring_run", interrupted)
    with pytest.raises(CommandError, match=r"interrupted\. Schedule nightly: the old one, .*, is in force as before"):
        put(settings, newer_package)
    assert [one["recurring_run_id"] for one in stub.enabled] == [old.schedule.schedule_id]


def test_a_paused_one_runs_again_when_it_is_put(stub, settings, package, newer_package):
    put(settings, package)
    schedule.pause(connect(settings), "nightly")
    assert put(settings, package).done == "enabled"
    schedule.pause(connect(settings), "nightly")
    put(settings, newer_package)
    assert len(stub.schedules) == len(stub.enabled) == 1


def test_pause_resume_and_delete(stub, settings, package):
    put(settings, package)
    connection = connect(settings)
    assert schedule.pause(connection, "nightly")
    assert not stub.enabled
    assert not schedule.pause(connection, "nightly")
    assert schedule.resume(connection, "nightly").cron == "0 0 3 * * 1"
    assert stub.enabled
    schedule.delete(connection, "nightly")
    assert not stub.schedules


@pytest.mark.parametrize("verb", [schedule.pause, schedule.resume, schedule.delete])
def test_an_unknown_name_is_told_with_the_known_ones(stub, settings, package, verb):
    put(settings, package)
    with pytest.raises(CommandError, match="there is no schedule weekly; there is: nightly"):
        verb(connect(settings), "weekly")


@pytest.mark.parametrize("fault", ["before", "after", "late", 500])
def test_a_deletion_whose_answer_is_lost_is_a_deletion(stub, settings, package, fault):
    put(settings, package)
    stub.fail("DELETE", "/recurringruns/[^/]+", fault)
    schedule.delete(connect(settings), "nightly")
    assert not stub.schedules


def test_what_a_cut_change_left_is_not_resumed_by_guesswork(stub, settings, package):
    put(settings, package)
    stub.schedules.append({**stub.schedules[0], "recurring_run_id": "left-over", "mode": "DISABLE"})
    with pytest.raises(CommandError, match=r"2 schedules nightly .*left-over.* CONFIG --cron \.\.\. again"):
        schedule.resume(connect(settings), "nightly")


def test_the_list_shows_version_next_and_last_run(stub, settings, package):
    put(settings, package)
    put(settings, package, Cron.parse("@every 2h"), "often")
    connection = connect(settings)
    run = start(connection, package, settings, DATA)
    identity = experiment(connection, settings.experiment)
    stub.runs[0].update(recurring_run_id=stub.schedules[0]["recurring_run_id"], state="FAILED", experiment_id=identity)
    assert run.run_id == stub.runs[0]["run_id"]
    nightly, often = schedule.rows(connection)
    assert (nightly.schedule.name, nightly.version, nightly.schedule.enabled) == ("nightly", package.version, True)
    assert nightly.next_run > datetime(2026, 1, 1)
    assert nightly.next_run.isoweekday() == 1
    assert nightly.last_run == "2026-01-01 00:00 FAILED"
    # Kubeflow counts these from the last run.
    assert often.next_run is None


def test_a_version_that_was_deleted_is_listed_as_such(stub, settings, package):
    put(settings, package)
    stub.versions.clear()
    (row,) = schedule.rows(connect(settings))
    assert row.version.endswith("(deleted)")


def test_more_schedules_than_a_page_holds_are_listed(stub, settings, package):
    put(settings, package)
    stub.schedules += [{**stub.schedules[0], "recurring_run_id": str(number)} for number in range(230)]
    assert len(schedule.schedules(connect(settings))) == 231


def test_several_users_see_their_namespace(stub, settings, package):
    stub.multi_user = True
    settings = settings.model_copy(update={"namespace": "ada"})
    put(settings, package)
    assert len(schedule.rows(connect(settings))) == 1


def test_parameters_are_checked_before_anything_is_sent(stub, settings, package):
    with pytest.raises(PackageError, match="parameter data"):
        put(settings, package, parameters={})
    assert stub.requests == ["GET /healthz"]
