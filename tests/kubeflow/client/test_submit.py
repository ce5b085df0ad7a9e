"""Uploads and runs at Kubeflow's stand-in; nothing is ever there twice."""

import pytest

from kubeflow.client.connection import RequestError, connect
from kubeflow.client.submit import RunFailedError, read_parameters, start, upload, watch
from kubeflow.package import Package, PackageError
from pipeline.commands.options import CommandError
from pipeline.config.kubeflow import Auth

DATA = {"data": "gs://bucket/voc"}
STEPS = ["read", "train"]


def test_a_run_of_the_uploaded_version_starts(stub, settings, package):
    settings = settings.model_copy(update={"service_account": "trainer"})
    run = start(connect(settings), package, settings, {**DATA, "steps": 100}, "first")
    (pipeline,), (version,), (experiment,), (started,) = stub.pipelines, stub.versions, stub.experiments, stub.runs
    assert (pipeline["name"], version["name"]) == ("demo", package.version)
    assert experiment["display_name"] == settings.experiment
    assert started["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert started["runtime_config"] == {
        "parameters": {"data": "gs://bucket/voc", "steps": 100, "run_name": "first"},
        "pipeline_root": "gs://bucket/pipelines",
    }
    assert started["service_account"] == "trainer"
    # With a version the specification is not sent again, and so nothing of it is overridden, caching for one.
    assert "pipeline_spec" not in started
    assert run.link == f"{stub.url}/#/runs/details/{started['run_id']}"


def test_what_is_there_is_not_uploaded_again(stub, settings, package):
    for _ in range(2):
        start(connect(settings), package, settings, DATA)
    assert [len(items) for items in (stub.pipelines, stub.versions, stub.experiments, stub.runs)] == [1, 1, 1, 2]
    assert stub.runs[0]["display_name"] != stub.runs[1]["display_name"]


def test_another_package_becomes_another_version_of_the_same_pipeline(stub, settings, package, newer_package):
    connection = connect(settings)
    assert upload(connection, package).version_id != upload(connection, newer_package).version_id
    assert (len(stub.pipelines), len(stub.versions)) == (1, 2)


def test_both_documents_of_a_package_arrive(stub, settings, package):
    upload(connect(settings), Package(package.text + "\n---\nplatforms: {kubernetes: {deploymentSpec: {}}}\n"))
    assert stub.versions[0]["pipeline_spec"]["platform_spec"] == {"platforms": {"kubernetes": {"deploymentSpec": {}}}}


def test_what_is_on_a_later_page_is_found(stub, settings, package):
    connection = connect(settings)
    upload(connection, package)
    template = stub.versions[0]
    # The server compares names without regard to case: all of these match, and only one is meant.
    assert package.version.upper() != package.version
    stub.versions[:0] = [
        {**template, "pipeline_version_id": str(number), "display_name": package.version.upper()}
        for number in range(150)
    ]
    assert upload(connection, package).version_id == template["pipeline_version_id"]
    assert len(stub.versions) == 151


def test_a_name_with_signs_of_urls_is_found_again(stub, settings, package):
    settings = settings.model_copy(update={"experiment": "100% C++ & more"})
    for _ in range(2):
        start(connect(settings), package, settings, DATA)
    assert [one["display_name"] for one in stub.experiments] == ["100% C++ & more"]


def test_a_name_of_a_run_is_taken_once(stub, settings, package):
    run = start(connect(settings), package, settings, DATA, "first")
    with pytest.raises(CommandError, match="there is a run first in the experiment") as caught:
        start(connect(settings), package, settings, DATA, "first")
    assert run.link in str(caught.value)
    assert len(stub.runs) == 1


def test_several_users_have_namespaces(stub, settings, package):
    stub.multi_user = True
    with pytest.raises(Exception, match=r"kubeflow\.namespace: missing; .* serves several users"):
        connect(settings)
    settings = settings.model_copy(update={"namespace": "ada"})
    start(connect(settings), package, settings, DATA)
    assert (stub.experiments[0]["namespace"], stub.pipelines[0]["namespace"]) == ("ada", "ada")


def test_parameters_are_read_by_their_declared_types(package):
    assert read_parameters(package, ["data=2012", "steps=100", "span=-1"]) == {"data": "2012", "steps": 100, "span": -1}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "parameter data: it has no default and is not given"),
        (
            {**DATA, "step": 1},
            "parameter step: the pipeline has no such parameter; it has: data, run_name, span, steps",
        ),
        ({**DATA, "steps": "many"}, "parameter steps: found 'many', wanted NUMBER_INTEGER"),
        ({**DATA, "steps": True}, "parameter steps: found True"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_sent(stub, settings, package, parameters, told):
    connection = connect(settings)
    sent = len(stub.requests)
    with pytest.raises(PackageError, match=told):
        start(connection, package, settings, parameters)
    assert len(stub.requests) == sent


@pytest.mark.parametrize("wrong", ["schemaVersion: 2.0.0", "resolver"])
def test_what_kubeflow_refuses_is_told_in_its_words(stub, settings, package, wrong):
    if wrong == "resolver":
        package = Package(package.text.replace("container:", "resolver: {}\n      container:", 1))
        told = "resolver is not implemented"
    else:
        package = Package(package.text.replace("schemaVersion: 2.1.0", wrong))
        told = "only supports schema version 2.1.0"
    with pytest.raises(RequestError, match=told):
        start(connect(settings), package, settings, DATA)
    assert not stub.runs


# Every request that makes something, and every way that it can go wrong.
MAKERS = ["/pipelines", "/pipelines/upload_version", "/experiments", "/runs"]


@pytest.mark.parametrize("path", MAKERS)
@pytest.mark.parametrize("fault", ["after", "late"])
def test_a_lost_answer_makes_nothing_twice(stub, settings, package, path, fault):
    connection = connect(settings)
    stub.fail("POST", path, fault)
    start(connection, package, settings, DATA)
    assert [len(items) for items in (stub.pipelines, stub.versions, stub.experiments, stub.runs)] == [1, 1, 1, 1]
    assert sum(request == f"POST {path}" for request in stub.requests) == 1


@pytest.mark.parametrize("path", MAKERS)
@pytest.mark.parametrize("fault", ["before", 500, 503, 403, 409])
def test_a_failure_is_told_and_the_same_command_again_makes_everything_once(stub, settings, package, path, fault):
    connection = connect(settings)
    stub.fail("POST", path, fault)
    with pytest.raises(RequestError, match=f"{stub.url}: cannot ") as caught:
        start(connection, package, settings, DATA, "first")
    assert caught.value.unknown == (fault in ("before", 500, 503))
    assert sum(request == f"POST {path}" for request in stub.requests) == 1
    start(connection, package, settings, DATA, "first")
    assert [len(items) for items in (stub.pipelines, stub.versions, stub.experiments, stub.runs)] == [1, 1, 1, 1]


def test_a_run_whose_start_is_unknown_can_be_asked_for_again_by_its_name(stub, settings, package):
    connection = connect(settings)
    stub.fail("POST", "/runs", "before")
    with pytest.raises(RequestError, match="To try again without starting it twice: --run-name demo-"):
        start(connection, package, settings, DATA)


def test_reading_is_repeated_when_the_connection_breaks(stub, settings, package):
    stub.fail("GET", "/healthz", "after")
    stub.fail("GET", "/pipelines", 503, times=2)
    start(connect(settings), package, settings, DATA)
    assert len(stub.runs) == 1


def _task(name, state, error=None):
    # Argo's helpers stand between: toModelTasks in apiserver/server/api_converter.go lists every node.
    return {"display_name": name, "state": state, **({"error": {"code": 2, "message": error}} if error else {})}


def _frame(state, *tasks, **more):
    return {"state": state, "run_details": {"task_details": list(tasks)}, **more}


def _watched(settings, run, **arguments):
    seen = []
    try:
        for step in watch(connect(settings), lambda: connect(settings), run, STEPS, pause=0.01, **arguments):
            seen.append(f"{step.name} {step.state}")
    except CommandError as error:
        return seen, error
    return seen, None


def test_a_run_is_watched_step_by_step(stub, settings, package):
    run = start(connect(settings), package, settings, DATA)
    stub.frames += [
        _frame("PENDING"),
        _frame("RUNNING", _task("demo-x7k", "RUNNING"), _task("read-driver", "RUNNING")),
        _frame("RUNNING", _task("read-driver", "SUCCEEDED"), _task("read", "RUNNING"), _task("executor", "RUNNING")),
        _frame("RUNNING", _task("read", "SUCCEEDED"), _task("train", "RUNNING")),
        _frame("SUCCEEDED", _task("read", "SUCCEEDED"), _task("train", "SUCCEEDED")),
    ]
    seen, error = _watched(settings, run)
    assert seen == ["read RUNNING", "read SUCCEEDED", "train RUNNING", "train SUCCEEDED"]
    assert error is None


def test_the_failed_step_and_its_error_are_named(stub, settings, package):
    run = start(connect(settings), package, settings, DATA)
    stub.frames += [_frame("FAILED", _task("read", "SUCCEEDED"), _task("train", "FAILED", "OOMKilled (exit code 137)"))]
    seen, error = _watched(settings, run)
    assert seen == ["read SUCCEEDED", "train FAILED"]
    assert isinstance(error, RunFailedError)
    assert "train failed: OOMKilled (exit code 137)" in str(error)
    assert run.link in str(error)


def test_a_step_that_never_began_is_named_by_its_driver(stub, settings, package):
    run = start(connect(settings), package, settings, DATA)
    stub.frames += [_frame("FAILED", _task("read-driver", "FAILED", "no such bucket"))]
    _, error = _watched(settings, run)
    assert "read failed: no such bucket" in str(error)


def test_a_cancelled_run_has_ended_as_well(stub, settings, package):
    # kfp's wait_for_run_completion would wait for ever.
    run = start(connect(settings), package, settings, DATA)
    stub.frames += [_frame("CANCELED", error={"code": 1, "message": "terminated by ada"})]
    _, error = _watched(settings, run)
    assert "ended as CANCELED" in str(error)
    assert "terminated by ada" in str(error)


def test_watching_outlives_outages_and_logins(stub, settings, package):
    run = start(connect(settings), package, settings, DATA)
    stub.fail("GET", f"/runs/{run.run_id}", 500)
    stub.fail("GET", f"/runs/{run.run_id}", 401)
    stub.frames += [_frame("SUCCEEDED", _task("read", "SUCCEEDED"))]
    assert _watched(settings, run) == (["read SUCCEEDED"], None)


def test_a_login_that_runs_out_is_renewed_while_watching(stub, settings, package, monkeypatch):
    monkeypatch.setenv("KFP_TOKEN", "first")
    stub.bearer = "first"
    settings = settings.model_copy(update={"auth": Auth(method="token")})
    run = start(connect(settings), package, settings, DATA)
    connection = connect(settings)
    monkeypatch.setenv("KFP_TOKEN", "second")
    stub.bearer = "second"
    stub.frames += [_frame("SUCCEEDED", _task("read", "SUCCEEDED"))]
    assert [step.name for step in watch(connection, lambda: connect(settings), run, STEPS, pause=0.01)] == ["read"]


def test_silence_ends_the_watching_and_not_the_run(stub, settings, package):
    run = start(connect(settings), package, settings, DATA)
    stub.fail("GET", f"/runs/{run.run_id}", 500, times=99)
    _, error = _watched(settings, run, silence=0.05)
    assert f"the run goes on by itself: {run.link}" in str(error)


def test_the_users_home_is_neither_read_nor_written(stub, settings, package, home):
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    stub.multi_user = True
    settings = settings.model_copy(update={"namespace": "ada"})
    start(connect(settings), package, settings, DATA)
    assert {file: file.read_bytes() for file in home.rglob("*") if file.is_file()} == before
    assert {one["namespace"] for one in stub.experiments} == {"ada"}
    assert stub.cookies == {""}
