"""Runs of compiled pipelines."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kubeflow.launcher_paths import LOCAL_ROOT
from kubeflow.local_backend.containers import TIMED_OUT, Container
from kubeflow.local_backend.records import BackendError, LocalRun, runs
from kubeflow.package import Package

Documents = list[dict[str, Any]]
Program = Callable[..., Package]


def failure(backend: Any, package: Package, **options: Any) -> BackendError:
    with pytest.raises(BackendError) as failed:
        backend.run(package, **options)
    return failed.value


def printed(run: LocalRun, task: str) -> Any:
    """The last line of a task's log, as JSON."""
    return json.loads(Path(run.tasks[task].log_file or "").read_text().splitlines()[-1])


SHOW = "print(json.dumps({}))"


class TestGraph:
    def test_from_the_first_task_to_the_last(self, backend: Any, two_steps_package: Package) -> None:
        run = backend.run(two_steps_package, {"number": 3})
        assert run.state == "succeeded"
        assert backend.reports.started == ["make", "use"]
        assert backend.reports.finished == {"make": False, "use": False}
        make, use = run.tasks["make"], run.tasks["use"]
        assert make.parameters == {"flag": True}
        assert use.parameters == {"size": 9}
        assert (make.state, make.attempts, make.downloaded, make.uploaded) == ("succeeded", 1, 0, 9)
        assert (use.state, use.attempts, use.downloaded, use.uploaded) == ("succeeded", 1, 9, 0)
        assert make.seconds > 0
        [data] = make.artifacts["data"]
        folder, key = data.uri.rsplit("/", 1)
        assert folder.rsplit("/", 1)[0] == f"minio://bucket/pipelines/two-steps/{run.run_id}/make"
        assert key == "data"
        assert backend.object(data.uri).read_text() == "abcabcabc"

    def test_the_pipelines_own_root_comes_first(self, backend: Any, as_package: Any, documents: Documents) -> None:
        documents[0]["defaultPipelineRoot"] = "gs://other/"
        run = backend.run(as_package(*documents))
        assert run.root == f"gs://other/two-steps/{run.run_id}"
        assert backend.object(run.tasks["make"].artifacts["data"][0].uri).is_file()

    def test_runs_are_kept_on_disk(self, backend: Any, two_steps_package: Package, program: Program) -> None:
        first = backend.run(two_steps_package)
        failed = failure(backend, program(use="sys.exit(3)"), parameters={"number": 5}).run
        assert failed is not None
        assert runs(backend.store) == [failed, first]
        assert (failed.state, failed.parameters) == ("failed", {"number": 5})
        assert "exit code 3" in (failed.error or "")
        assert [task.state for task in failed.tasks.values()] == ["succeeded", "failed"]

    def test_parameters_have_types(self, backend: Any, as_package: Any, documents: Documents, program: Program) -> None:
        parameters = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
        program(make=SHOW.format("given['inputs']['parameterValues']") + ";" + WRITE)
        run = backend.run(as_package(*documents), {"number": 3})
        assert printed(run, "make") == {"number": 3, "text": "abc"}
        parameters["number"] = {"runtimeValue": {"constant": "3"}}
        failed = failure(backend, as_package(*documents))
        assert failed.message == "input parameter number: found a string, expected NUMBER_INTEGER"


WRITE = "path.write_text('x'); say(flag=True)"
"""What `make` owes."""
COUNT = "say(size=1)"
"""What `use` owes."""


class TestFileSystem:
    def test_a_task_sees_its_inputs_only(self, backend: Any, program: Program) -> None:
        show = (
            "root = pathlib.Path(os.environ['DEEPLAB_LAUNCHER_ROOT']); print(json.dumps({'root': str(root), "
            "'files': sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file()),"
            "'work': os.listdir(), 'cwd': os.getcwd(), 'home': os.path.expanduser('~'), 'path': str(path),"
            "'tmp': __import__('tempfile').gettempdir()}))"
        )
        left = "(pathlib.Path.home() / 'left').write_text(''); pathlib.Path('left').write_text('')"
        run = backend.run(program(make=f"{WRITE}; {left}; print(json.dumps(str(path)))", use=f"{COUNT}; {show}"))
        seen = printed(run, "use")
        uri = run.tasks["make"].artifacts["data"][0].uri
        logs = [name for name in seen["files"] if name.endswith("executor-logs")]
        assert [name for name in seen["files"] if name not in logs] == [
            "minio/" + uri.removeprefix("minio://"),
            "tmp/kfp_outputs/output_metadata.json",
        ]
        assert seen["path"] == f"{seen['root']}/minio/" + uri.removeprefix("minio://")
        assert seen["work"] == []
        for name in ("cwd", "home", "tmp"):
            assert seen[name].startswith(seen["root"])
        assert not Path(seen["root"]).exists()
        assert not Path(printed(run, "make")).exists()

    def test_only_the_parents_of_outputs_are_made(self, backend: Any, program: Program) -> None:
        show = (
            "outputs = given['outputs']; paths = [path, path.parent, os.path.dirname(outputs['parameters']['flag']"
            "['outputFile']), os.path.dirname(outputs['outputFile'])]; "
            "print(json.dumps([os.path.exists(p) for p in paths]))"
        )
        run = backend.run(program(make=f"{show}; {WRITE}"))
        log = Path(run.tasks["make"].log_file or "").read_text()
        assert json.loads(log) == [False, True, True, False]

    def test_what_is_not_made_is_not_there_later(self, backend: Any, program: Program) -> None:
        make = "os.makedirs(path / 'empty'); say(flag=True)"
        run = backend.run(program(make=make, use=f"{COUNT}; print(json.dumps(path.exists()))"))
        assert run.tasks["make"].uploaded == 0
        assert printed(run, "use") is False

    def test_folders_travel(self, backend: Any, program: Program) -> None:
        make = f"os.makedirs(path / 'deep'); path = path / 'deep/file'; {WRITE}"
        run = backend.run(program(make=make, use=f"{COUNT}; print(json.dumps(os.listdir(path / 'deep')))"))
        assert printed(run, "use") == ["file"]

    def test_environment(
        self, backend: Any, program: Program, documents: Documents, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("SECRET", "OTHER"):
            monkeypatch.setenv(name, name.lower())
        container = documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"]
        container["env"] = [{"name": "SPEC", "value": "spec"}]
        documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"].update(
            secretAsEnv=[{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "SECRET"}]}],
        )
        names = "('SPEC', 'SECRET', 'OTHER')"
        run = backend.run(program(use=f"{COUNT}; print(json.dumps([os.environ.get(name) for name in {names}]))"))
        assert printed(run, "use") == ["spec", "secret", None]

    def test_steps_reach_the_object_store(self, backend: Any, program: Program) -> None:
        make = f"import fsspec; fsspec.open('gs://data/key', 'w').open().close(); {WRITE}"
        use = f"import fsspec; {COUNT}; print(json.dumps(fsspec.filesystem('gs').find('gs://data')))"
        run = backend.run(program(make=make, use=use))
        assert printed(run, "use") == ["data/key"]
        assert (backend.store / "gs/data/key").is_file()

    def test_steps_find_the_launchers_uploads_there(self, backend: Any, program: Program) -> None:
        uri = "given['inputs']['artifacts']['data']['artifacts'][0]['uri']"
        run = backend.run(
            program(use=f"import fsspec; {COUNT}; print(json.dumps(fsspec.open({uri}, 'r').open().read()))")
        )
        assert printed(run, "use") == "abcabc"

    def test_claims(self, backend: Any, program: Program, documents: Documents, tmp_path: Path) -> None:
        claim = tmp_path / "claim"
        mount = {"constant": "data", "mountPath": str(claim)}
        documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"]["pvcMount"] = [mount]
        package = program(use=f"{COUNT}; print(json.dumps(os.listdir({str(claim)!r})))")
        assert f"{claim} is not one of them" in str(failure(backend, package))
        claim.mkdir()
        (claim / "photo").touch()
        assert printed(backend.run(package), "use") == ["photo"]


class Recorded(NamedTuple):
    container: Container
    files: list[str]


class FakeImages:
    """Runs nothing, but leaves behind what the tasks of `two-steps` would, as a container with a root of its own."""

    own_root = True

    def __init__(self) -> None:
        self.seen: dict[str, Recorded] = {}

    def run(self, container: Container) -> int:
        files = [path.relative_to(container.root).as_posix() for path in container.root.rglob("*") if path.is_file()]
        self.seen[container.task] = Recorded(container, files)
        outputs = json.loads(container.command[-1])["outputs"]
        values = {"flag": True} if container.task == "make" else {"size": 3}
        file = container.root / outputs["outputFile"].lstrip("/")
        file.parent.mkdir()
        file.write_text(json.dumps({"parameterValues": values}))
        if container.task == "make":
            uri = outputs["artifacts"]["data"]["artifacts"][0]["uri"]
            (container.root / uri.replace("minio://", "minio/")).write_text("abc")
        return 0


def test_a_runner_with_a_root_of_its_own_sees_the_real_paths(
    backend: Any, as_package: Any, documents: Documents
) -> None:
    images = FakeImages()
    package = as_package(*documents)
    documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"]["pvcMount"] = [
        {"pvcNameParameter": {"runtimeValue": {"constant": "data"}}, "mountPath": "/mnt/data"}
    ]
    assert "use: pvcMount: the claim 'data' is mounted at /mnt/data" in str(
        failure(backend, as_package(*documents), runner=images)
    )
    run = backend.run(package, runner=images)
    local = run.tasks["make"].artifacts["data"][0].uri.replace("minio://", "/minio/")
    make, use = images.seen["make"].container, images.seen["use"].container
    assert make.command[0] == "python"
    outputs = json.loads(make.command[-1])["outputs"]
    assert outputs["parameters"]["flag"] == {"outputFile": "/tmp/kfp/outputs/flag"}
    assert outputs["outputFile"] == "/tmp/kfp_outputs/output_metadata.json"
    assert (make.image, make.timeout, use.timeout) == ("image:1", None, 60)
    assert local.lstrip("/") in images.seen["use"].files
    assert LOCAL_ROOT not in make.env
    assert run.tasks["use"].parameters == {"size": 3}


class TestWhatATaskIsGiven:
    def test_inputs_and_outputs(self, backend: Any, program: Program) -> None:
        artifacts = "{'data': {'artifacts': [{'metadata': {'kind': {'a': 1}, 'good': True, 'n': 2}}]}}"
        make = f"{WRITE}; say(json.dumps({{'parameterValues': {{'flag': True}}, 'artifacts': {artifacts}}}))"
        run = backend.run(program(make=make, use=f"{COUNT}; {SHOW.format('given')}"))
        given = printed(run, "use")
        [data] = run.tasks["make"].artifacts["data"]
        assert given["inputs"]["artifacts"]["data"]["artifacts"] == [
            {
                "name": data.name,
                "uri": data.uri,
                "type": {"instanceSchema": ""},
                "metadata": {
                    "kind": {"struct": {"a": 1}},
                    "good": 1,
                    "n": 2,
                    "display_name": "data",
                    "store_session_info": '{"Provider":"","Params":{"fromEnv":"true"}}',
                },
            }
        ]
        outputs = run.tasks["use"].executor_input["outputs"]
        assert outputs["outputFile"] == "/tmp/kfp_outputs/output_metadata.json"
        assert outputs["parameters"] == {"size": {"outputFile": "/tmp/kfp/outputs/size"}}
        made = run.tasks["make"].executor_input["outputs"]["artifacts"]["data"]["artifacts"][0]
        assert made == {"uri": data.uri, "type": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}

    def test_logs_are_an_output(self, backend: Any, program: Program) -> None:
        package = program(use=f"{COUNT}; print('hello')")
        run = backend.run(package)
        assert backend.object(run.tasks["use"].artifacts["executor-logs"][0].uri).read_text() == "hello\n"
        assert run.tasks["use"].uploaded == 6
        given = run.tasks["use"].executor_input["outputs"]["artifacts"]["executor-logs"]["artifacts"][0]
        assert given["type"] == {"schemaTitle": "system.Artifact"}


class TestWhatATaskSays:
    """The output file."""

    @pytest.fixture
    def says(self, program: Program) -> Callable[[str], Package]:
        def package(text: str) -> Package:
            if text.startswith('{"artifacts"'):
                text = text.replace("{", '{"parameterValues": {"flag": true}, ', 1)
            return program(make=f"{WRITE}; say({text!r}.replace('DATA', uri))")

        return package

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "not an ExecutorOutput: Expecting value"),
            ("[]", "not an ExecutorOutput"),
            ('{"surprise": 1}', 'not an ExecutorOutput: .*"surprise"'),
            ('{"artifacts": {"data": {"artifacts": [{"surprise": 1}]}}}', "not an ExecutorOutput: .*surprise"),
            ('{"parameterValues": {"flag": NaN}}', "NaN is not JSON"),
            (
                '{"artifacts": {"data": {"artifacts": [{"metadata": {"a": null}}]}}}',
                "output data: its metadata a is null",
            ),
            (
                '{"artifacts": {"data": {"artifacts": [{"uri": "minio://bucket/elsewhere"}]}}}',
                "returned the URI minio://bucket/elsewhere; expected one below minio://bucket/pipelines/two-steps/",
            ),
            ('{"artifacts": {"data": {"artifacts": [{"uri": "gs://bucket/pipelines"}]}}}', "returned the URI gs://"),
            ('{"artifacts": {"data": {"artifacts": [{"uri": "DATA/../../../../x"}]}}}', "expected a URI without '..'"),
        ],
    )
    def test_what_is_refused(self, backend: Any, says: Callable[[str], Package], text: str, problem: str) -> None:
        with pytest.raises(BackendError, match=problem) as failed:
            backend.run(says(text))
        assert failed.value.step == "make"
        assert failed.value.run is not None

    def test_it_may_move_an_output_within_the_run(self, backend: Any, says: Callable[[str], Package]) -> None:
        moved = says('{"artifacts": {"data": {"artifacts": [{"uri": "DATA-2", "name": "mine"}]}, "unknown": {}}}')
        with pytest.raises(BackendError) as failed:
            backend.run(moved)
        assert failed.value.step == "use"  # nothing was made there, and nothing is downloaded
        assert failed.value.run is not None
        [data] = failed.value.run.tasks["make"].artifacts["data"]
        assert data.uri.endswith("/data-2")
        assert data.name != "mine"

    def test_a_uri_of_another_kind_is_refused(self, backend: Any, says: Callable[[str], Package]) -> None:
        failed = failure(backend, says('{"artifacts": {"data": {"artifacts": [{"uri": "/local/file"}]}}}'))
        assert failed.step == "make"
        assert "output artifact data: found '/local/file'" in failed.message

    def test_parameters_come_from_it_first(self, backend: Any, says: Callable[[str], Package]) -> None:
        run = backend.run(says('{"parameterValues": {"flag": "not even a boolean", "more": 1}}'))
        assert run.tasks["make"].parameters == {"flag": "not even a boolean", "more": 1}
        assert run.tasks["make"].executor_output["parameterValues"] == run.tasks["make"].parameters

    def test_a_parameter_is_missing(self, backend: Any, program: Program) -> None:
        failed = failure(backend, program(use="pass"))
        assert "output parameter size: the program gave none in /tmp/kfp_outputs/output_metadata.json" in failed.message

    def test_an_output_cannot_be_uploaded(self, backend: Any, program: Program) -> None:
        link = "os.makedirs(path); os.symlink('/tmp', path / 'link')"
        failed = failure(backend, program(make=f"{link}; say(flag=True)"))
        assert "output artifact data cannot be uploaded" in failed.message


class TestFailures:
    def test_the_error_says_where_to_look(self, backend: Any, program: Program) -> None:
        failed = failure(
            backend, program(use="print('\\n'.join(map(str, range(99))), flush=True); sys.exit('it broke')")
        )
        log = backend.logs / "use.log"
        lines = str(failed).splitlines()
        assert lines[0] == "use: the program ended with exit code 1"
        assert lines[1] == "the end of its log:"
        assert lines[2:-1] == [f"  {number}" for number in range(80, 99)] + ["  it broke"]
        assert lines[-1] == f"all of it: {log}"
        assert log.read_text().startswith("0\n")
        assert backend.reports.finished == {"make": False}

    def test_later_tasks_do_not_run(self, backend: Any, program: Program) -> None:
        failed = failure(backend, program(make="sys.exit(1)"))
        assert failed.run is not None
        assert list(failed.run.tasks) == ["make"]

    def test_the_files_of_an_attempt_are_removed(
        self, backend: Any, program: Program, monkeypatch: Any, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        failure(backend, program(use="pathlib.Path('half-done').touch(); sys.exit(1)"))
        assert not list(tmp_path.glob("kfp-local-*"))

    def test_a_program_that_is_not_there(self, backend: Any, as_package: Any, documents: Documents) -> None:
        documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"]["command"] = ["no-such-program"]
        failed = failure(backend, as_package(*documents))
        assert "the program 'no-such-program' could not be started" in failed.message

    def test_a_deadline_ends_all_of_it(
        self, backend: Any, program: Program, documents: Documents, tmp_path: Path
    ) -> None:
        config = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"]
        config["activeDeadlineSeconds"] = "1"
        child = f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(tmp_path / 'late')!r}).touch()"
        package = program(use=f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {child!r}])")
        failed = failure(backend, package)
        assert "it was ended after 1 seconds, its activeDeadlineSeconds" in failed.message
        time.sleep(0.8)
        assert not (tmp_path / "late").exists()

    def test_somebody_stops_the_run(self, backend: Any, two_steps_package: Package) -> None:
        class Stopped:
            own_root = False

            def run(self, container: Container) -> int:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backend.run(two_steps_package, runner=Stopped())
        [run] = runs(backend.store)
        assert (run.state, run.error, run.tasks["make"].state) == ("failed", "KeyboardInterrupt", "failed")


class TestRetries:
    @pytest.fixture
    def retried(self, program: Program, documents: Documents) -> Program:
        documents[0]["root"]["dag"]["tasks"]["make"]["retryPolicy"] = {
            "maxRetryCount": 2,
            "backoffDuration": "1s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "60s",
        }
        return program

    FAIL_TWICE = (
        "tries = pathlib.Path(os.environ['DEEPLAB_OBJECT_STORE']) / 'tries'; tries.mkdir(exist_ok=True)\n"
        "count = len(os.listdir(tries)); (tries / str(count)).touch()\n"
        f"if count < 2: print(count); sys.exit(1)\n{WRITE}"
    )

    def test_it_is_tried_again(self, backend: Any, retried: Program) -> None:
        run = backend.run(retried(make=self.FAIL_TWICE))
        assert run.tasks["make"].attempts == 3
        assert [(backend.logs / name).read_text() for name in ("make.log", "make.attempt-2.log")] == ["0\n", "1\n"]
        assert run.tasks["make"].log_file == str(backend.logs / "make.attempt-3.log")

    def test_it_is_tried_so_often(self, backend: Any, retried: Program, documents: Documents) -> None:
        documents[0]["root"]["dag"]["tasks"]["make"]["retryPolicy"]["maxRetryCount"] = 1
        failed = failure(backend, retried(make=self.FAIL_TWICE))
        assert "exit code 1, in each of 2 attempts" in failed.message

    def test_failures_of_the_launcher_are_the_pods(self, backend: Any, retried: Program) -> None:
        failed = failure(backend, retried(make="pass"))
        assert "output parameter flag: the program gave none" in failed.message
        assert "in each of 3 attempts" in failed.message

    def test_without_a_policy_it_is_tried_once(self, backend: Any, program: Program) -> None:
        failed = failure(backend, program(make=self.FAIL_TWICE))
        assert failed.run is not None
        assert failed.run.tasks["make"].attempts == 1

    @pytest.mark.parametrize(("longest", "attempts"), [(None, 1), ("2s", 2), ("3600s", 3)])
    def test_pauses_count_as_passed_without_being_waited_for(
        self, backend: Any, retried: Program, documents: Documents, longest: str | None, attempts: int
    ) -> None:
        policy = documents[0]["root"]["dag"]["tasks"]["make"]["retryPolicy"]
        policy.update(backoffDuration="10s", backoffMaxDuration=longest)
        if longest is None:
            del policy["backoffMaxDuration"]
        started = time.monotonic()
        failed = failure(backend, retried(make="sys.exit(1)"))
        assert failed.run is not None
        assert failed.run.tasks["make"].attempts == attempts
        assert time.monotonic() - started < 8


class TestCache:
    def states(self, run: LocalRun) -> list[str]:
        return [task.state for task in run.tasks.values()]

    def test_the_same_again(self, backend: Any, two_steps_package: Package) -> None:
        first = backend.run(two_steps_package)
        second = backend.run(two_steps_package)
        assert self.states(second) == ["cached", "cached"]
        assert backend.reports.finished == {"make": True, "use": True}
        assert second.tasks["make"].artifacts == first.tasks["make"].artifacts
        assert second.tasks["use"].parameters == {"size": 6}
        assert second.tasks["use"].attempts == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"image": "image:2"},
            {"env": [{"name": "A", "value": "b"}]},
            {"command": [sys.executable, "-c"]},
        ],
    )
    def test_another_container(
        self, backend: Any, as_package: Any, documents: Documents, change: dict[str, Any]
    ) -> None:
        backend.run(as_package(*documents))
        documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"].update(change)
        assert self.states(backend.run(as_package(*documents))) == ["cached", "succeeded"]

    def test_another_parameter(self, backend: Any, two_steps_package: Package) -> None:
        backend.run(two_steps_package, {"number": 1})
        assert self.states(backend.run(two_steps_package, {"number": 2})) == ["succeeded", "succeeded"]
        assert self.states(backend.run(two_steps_package, {"number": 1})) == ["cached", "cached"]

    def test_the_contents_of_files_do_not_count(self, backend: Any, two_steps_package: Package) -> None:
        run = backend.run(two_steps_package)
        backend.object(run.tasks["make"].artifacts["data"][0].uri).write_text("something else")
        assert self.states(backend.run(two_steps_package)) == ["cached", "cached"]

    def test_a_task_that_is_never_cached_renews_those_behind_it(
        self, backend: Any, as_package: Any, documents: Documents
    ) -> None:
        documents[0]["root"]["dag"]["tasks"]["make"]["cachingOptions"] = {}
        for _ in range(2):
            assert self.states(backend.run(as_package(*documents))) == ["succeeded", "succeeded"]
        assert len(list((backend.store / "cache/two-steps").iterdir())) == 2  # of `use`, whose input was new twice

    def test_a_failed_task_is_not_cached(self, backend: Any, program: Program) -> None:
        package = program(use="sys.exit(1)")
        failure(backend, package)
        run = failure(backend, package).run
        assert run is not None
        assert self.states(run) == ["cached", "failed"]

    def test_other_pipelines_have_their_own(self, backend: Any, as_package: Any, documents: Documents) -> None:
        backend.run(as_package(*documents))
        documents[0]["pipelineInfo"]["name"] = "others"
        assert self.states(backend.run(as_package(*documents))) == ["succeeded", "succeeded"]


class TestConditions:
    @pytest.fixture
    def conditional(self, documents: Documents) -> Documents:
        """`two-steps` with a parameter `go`, without which make is skipped."""
        boolean = {"parameterType": "BOOLEAN"}
        documents[0]["root"]["inputDefinitions"]["parameters"]["go"] = {**boolean, "defaultValue": True}
        documents[0]["components"]["comp-make"]["inputDefinitions"]["parameters"]["runtime_go"] = boolean
        task = documents[0]["root"]["dag"]["tasks"]["make"]
        task["inputs"]["parameters"]["runtime_go"] = {"componentInputParameter": "go"}
        task["triggerPolicy"] = {"condition": "inputs.parameter_values['runtime_go'] == true"}
        return documents

    def test_what_waits_for_a_skipped_task_is_omitted(
        self, backend: Any, as_package: Any, conditional: Documents
    ) -> None:
        package = as_package(*conditional)
        run = backend.run(package, {"go": False})
        assert run.state == "succeeded"
        assert {name: task.state for name, task in run.tasks.items()} == {"make": "skipped", "use": "omitted"}
        assert backend.reports.started == []
        assert [task.state for task in backend.run(package, {"go": True}).tasks.values()] == ["succeeded"] * 2

    def test_a_condition_without_an_answer(self, backend: Any, as_package: Any, conditional: Documents) -> None:
        conditional[0]["root"]["dag"]["tasks"]["make"]["triggerPolicy"] = {
            "condition": "inputs.parameter_values['number'] == true"
        }
        failed = failure(backend, as_package(*conditional))
        assert failed.step == "make"
        assert "with a BOOLEAN input of the task" in failed.message


def test_a_runner_may_say_that_time_is_up(backend: Any, two_steps_package: Package) -> None:
    class Slow(FakeImages):
        def run(self, container: Container) -> int:
            return super().run(container) if container.task == "make" else TIMED_OUT

    assert "ended after 60 seconds" in failure(backend, two_steps_package, runner=Slow()).message
