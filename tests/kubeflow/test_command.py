"""`deeplab submit` and `deeplab schedule` as a person uses them, against Kubeflow's stand-in."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from kubeflow import command

DATA = ["--data", "gs://bucket/voc"]


@pytest.fixture
def config(stub, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "name: demo\nbase_model: MobileNetV2\ntrain: {init_from: none}\n"
        f"kubeflow: {{endpoint: '{stub.url}', image: deeplab, root: 'gs://bucket/pipelines', request_timeout: 20}}\n"
    )
    return file


@pytest.fixture
def deeplab(package, monkeypatch, capsys):
    """Runs the command in this process, with the given package as what the configuration compiles to."""
    compiler = SimpleNamespace(compile_pipeline=lambda _: package)
    monkeypatch.setitem(sys.modules, "kubeflow.compiler", compiler)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["deeplab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        shown = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=shown.out, err=shown.err)

    run.compiler = compiler
    return run


def test_submit_prints_the_run_and_its_page(stub, config, deeplab, package):
    done = deeplab("submit", config, "--data", "gs://bucket/voc", "--parameter", "steps=5", "--run-name", "first")
    assert done.code == 0, done.err
    run = stub.runs[0]
    assert done.out == f"run first ({run['run_id']}) of {package.version}: {stub.url}/#/runs/details/{run['run_id']}\n"
    assert run["runtime_config"]["parameters"] == {"data": "gs://bucket/voc", "steps": 5, "run_name": "first"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/home/me/VOC2012"], "found '/home/me/VOC2012', a path that the step SegmentationExampleGen"),
        (["--parameter", "data=/home/me/VOC2012"], "found '/home/me/VOC2012', a path that the step"),
        (["--data", "gs://b/voc", "--parameter", "data=gs://b/voc"], "name the data twice"),
        (["--data", "gs://b/voc", "--parameter", "steps=-5"], "parameter steps: found -5"),
        (["--data", "gs://b/voc", "--parameter", "span=5"], "parameter span: found 5, but the data are no pattern"),
        (["--set", "kubeflow.image=null", "--data", "gs://b/voc"], "kubeflow.image: is not given"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_sent(stub, config, deeplab, arguments, message):
    done = deeplab("submit", config, *arguments)
    assert done.code == 2
    assert message in done.err
    assert stub.runs == []


def test_other_data_than_those_of_this_machine_can_be_given(stub, config, deeplab):
    done = deeplab("submit", config, "--set", "data={root: /home/me/VOC2012, window: 1}", "--data", "gs://b/voc")
    assert done.code == 0, done.err
    assert stub.runs[0]["runtime_config"]["parameters"]["data"] == "gs://b/voc"


def _end(state, train):
    tasks = [{"display_name": "read", "state": "SUCCEEDED"}, {"display_name": "train", "state": train}]
    if train == "FAILED":
        tasks[1]["error"] = {"code": 2, "message": "out of memory"}
    return {"state": state, "run_details": {"task_details": tasks}}


def test_submit_waits_for_the_end(stub, config, deeplab):
    stub.frames += [_end("SUCCEEDED", "SUCCEEDED")]
    done = deeplab("submit", config, "--data", "gs://bucket/voc", "--run-name", "first", "--wait")
    assert done.code == 0
    assert done.out.splitlines()[1:] == ["read: succeeded", "train: succeeded", "run first: succeeded"]


def test_submit_fails_with_the_run(stub, config, deeplab):
    stub.frames += [_end("FAILED", "FAILED")]
    done = deeplab("submit", config, "--data", "gs://bucket/voc", "--run-name", "first", "--wait")
    assert done.code == 1
    assert "error: the run first ended as FAILED\ntrain failed: out of memory\nIts logs: http" in done.err


def test_the_run_goes_on_when_watching_is_interrupted(stub, config, deeplab, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kubeflow.client.submit.watch", interrupted)
    done = deeplab("submit", config, "--data", "gs://bucket/voc", "--wait")
    assert done.code == 130
    assert "no longer watched; the run goes on: http" in done.out


@pytest.mark.parametrize("spelling", [["schedule"], ["schedule", "create"]])
def test_schedule_list_pause_resume_and_delete(stub, config, deeplab, package, spelling):
    made = deeplab(*spelling, config, "--cron", "0 3 * * 1", "--data", "gs://bucket/voc")
    assert made.code == 0, made.err
    identity = stub.schedules[0]["recurring_run_id"]
    assert made.out.splitlines() == [
        "cron '0 3 * * 1' has five fields; Kubeflow's begins with the seconds: '0 0 3 * * 1'",
        f"schedule demo ({identity}) is made: 0 0 3 * * 1 of {package.version}",
    ]
    listed = deeplab("schedule", "list", "--config", config)
    for shown in ("demo", identity, "0 0 3 * * 1", "yes", package.version, "03:00"):
        assert shown in listed.out
    assert deeplab("schedule", "pause", "demo", "--endpoint", stub.url).out == "schedule demo is paused\n"
    assert "no" in deeplab("schedule", "list", "--endpoint", stub.url).out.split()
    assert deeplab("schedule", "resume", "demo", "--config", config).out == "schedule demo runs again: 0 0 3 * * 1\n"
    assert deeplab("schedule", "delete", "demo", "--config", config).out == f"schedule demo ({identity}) is deleted\n"
    assert deeplab("schedule", "list", "--config", config).out == "nothing is scheduled\n"


def test_a_schedule_follows_the_configuration(stub, config, deeplab, newer_package):
    deeplab("schedule", config, "--cron", "@daily", "--data", "gs://bucket/voc")
    old = stub.schedules[0]["recurring_run_id"]
    deeplab.compiler.compile_pipeline = lambda _: newer_package
    changed = deeplab("schedule", config, "--cron", "@daily", "--data", "gs://bucket/voc")
    assert f"is made: @daily of {newer_package.version}" in changed.out
    assert f"it takes the place of {old}, which is deleted" in changed.out
    again = deeplab("schedule", config, "--cron", "@daily", "--data", "gs://bucket/voc")
    assert "is in force already" in again.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["submit", "CONFIG"], 2, "no data folder: give --data DIR, or data.root in the configuration"),
        (["submit", "CONFIG", *DATA, "--parameter", "steps"], 1, "--parameter steps: wanted name=value"),
        (["submit", "CONFIG", *DATA, "--set", "kubeflow.endpoint=null"], 2, "kubeflow.endpoint: missing"),
        (["schedule", "CONFIG", "--cron", "0 0 3 * * 7"], 2, "day of the week: found '7'; allowed: 0 to 6"),
        (["schedule", "CONFIG", "--cron", "@daily", "--time-zone", "Europe/Berlin"], 2, "Kubeflow takes no time zone"),
        (["schedule", "list"], 2, "Give --config CONFIG, or --endpoint URL"),
        (["schedule", "pause", "gone", "--config", "CONFIG"], 1, "there is no schedule gone; there is: none"),
        (["schedule", "list", "--endpoint", "localhost"], 2, "--endpoint localhost: String should match pattern"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(stub, config, deeplab, arguments, code, told):
    done = deeplab(*(config if argument == "CONFIG" else argument for argument in arguments))
    assert (done.code, told in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert not stub.runs + stub.schedules


def test_help_names_the_commands_and_imports_no_client():
    code = (
        "import sys; from kubeflow.command import main\n"
        "for arguments in ['--help'], ['schedule', '--help']:\n"
        "    sys.argv[:] = ['deeplab', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "heavy = {'tensorflow', 'tfx', 'kfp', 'kfp_server_api', 'google.auth'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for name in ("submit", "schedule", "create", "list", "pause", "resume", "delete"):
        assert name in shown.stdout
