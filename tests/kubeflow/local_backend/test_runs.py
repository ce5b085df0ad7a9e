"""Runs of compiled pipelines."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kfp import dsl

from kubeflow.launcher_paths import LOCAL_ROOT
from kubeflow.local_backend.containers import TIMED_OUT, Container
from kubeflow.local_backend.errors import BackendError
from kubeflow.local_backend.records import LocalRun, runs
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


SHOW = "import json; print(json.dumps({}))"


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
        """A STRING takes everything as text; nothing else is converted."""
        parameters = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
        program(make=SHOW.format("given['inputs']['parameterValues']") + ";" + WRITE)
        parameters["text"] = {"componentInputParameter": "number"}
        run = backend.run(as_package(*documents), {"number": 3})
        assert printed(run, "make") == {"number": 3, "text": "3"}
        parameters["number"] = {"runtimeValue": {"constant": "3"}}
        failed = failure(backend, as_package(*documents))
        assert failed.message == "input parameter number: found a string, wanted NUMBER_INTEGER"

    def test_optional_parameters(self, backend: Any, as_package: Any, documents: Documents, program: Program) -> None:
        """One that is not given is null in the graph and missing in the task, where defaults are filled in late."""
        parameters = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
        program(make=SHOW.format("given['inputs']['parameterValues']") + ";" + WRITE)
        parameters["text"] = {"componentInputParameter": "note"}
        run = backend.run(as_package(*documents), {"number": 1})
        assert printed(run, "make") == {"number": 1, "text": "abc"}
        assert run.tasks["make"].executor_input["inputs"]["parameterValues"] == {"number": 1}
        parameters["number"] = {"componentInputParameter": "note"}
        assert "input parameter number: it is null" in failure(backend, as_package(*documents)).message

    def test_names_of_the_run(self, backend: Any, as_package: Any, documents: Documents) -> None:
        text = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
        text["number"] = {"runtimeValue": {"constant": 1}}
        for placeholder, expected in (
            ("{{$.pipeline_job_uuid}}", lambda run: run.run_id),
            ("in {{$.pipeline_job_uuid}}", lambda run: "in {{$.pipeline_job_uuid}}"),
        ):
            text["text"] = {"runtimeValue": {"constant": placeholder}}
            run = backend.run(as_package(*documents))
            assert backend.object(run.tasks["make"].artifacts["data"][0].uri).read_text() == expected(run)

    def test_literals(self, backend: Any, as_package: Any, documents: Documents) -> None:
        documents[0]["components"]["comp-make"]["inputDefinitions"]["parameters"]["text"]["literals"] = ["a", "abc"]
        backend.run(as_package(*documents))
        assert "found 'b', wanted one of a, abc" in str(
            failure(backend, as_package(*documents), parameters={"text": "b"})
        )

    def test_a_selector(self, backend: Any, as_package: Any, documents: Documents) -> None:
        text = documents[0]["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]["text"]
        text["parameterExpressionSelector"] = 'parseJson(string_value)["a"]'
        run = backend.run(as_package(*documents), {"number": 1, "text": '{"a": "chosen"}'})
        assert backend.object(run.tasks["make"].artifacts["data"][0].uri).read_text() == "chosen"
        assert "no such key: 'a'" in str(failure(backend, as_package(*documents), parameters={"text": "{}"}))


WRITE = "pathlib.Path(sys.argv[2]).write_text('x'); pathlib.Path(sys.argv[3]).write_text('true')"
"""What `make` owes."""
COUNT = "pathlib.Path(sys.argv[3]).write_text('1')"
"""What `use` owes."""


class TestFileSystem:
    def test_a_task_sees_its_inputs_only(self, backend: Any, program: Program) -> None:
        show = (
            "root = pathlib.Path(os.environ['DEEPLAB_LAUNCHER_ROOT']); print(json.dumps({'root': str(root), "
            "'files': sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file()),"
            "'work': os.listdir(), 'cwd': os.getcwd(), 'home': os.path.expanduser('~'), 'path': sys.argv[2],"
            "'tmp': __import__('tempfile').gettempdir()}))"
        )
        left = "(pathlib.Path.home() / 'left').write_text(''); pathlib.Path('left').write_text('')"
        run = backend.run(program(make=f"{WRITE}; {left}; print(json.dumps(sys.argv[2]))", use=f"{COUNT}; {show}"))
        seen = printed(run, "use")
        uri = run.tasks["make"].artifacts["data"][0].uri
        logs = [name for name in seen["files"] if name.endswith("executor-logs")]
        assert [name for name in seen["files"] if name not in logs] == [
            "minio/" + uri.removeprefix("minio://"),
            "tmp/kfp/outputs/size",
        ]
        assert seen["path"] == f"{seen['root']}/minio/" + uri.removeprefix("minio://")
        assert seen["work"] == []
        for name in ("cwd", "home", "tmp"):
            assert seen[name].startswith(seen["root"])
        assert not Path(seen["root"]).exists()
        assert not Path(printed(run, "make")).exists()

    def test_only_the_parents_of_outputs_are_made(self, backend: Any, program: Program) -> None:
        show = (
            "paths = [sys.argv[2], os.path.dirname(sys.argv[2]), os.path.dirname(sys.argv[3]),"
            "os.path.dirname(given['outputs']['outputFile'])]; print(json.dumps([os.path.exists(p) for p in paths]))"
        )
        run = backend.run(program(make=f"{show}; {WRITE}"))
        log = Path(run.tasks["make"].log_file or "").read_text()
        assert json.loads(log) == [False, True, True, False]

    def test_what_is_not_made_is_not_there_later(self, backend: Any, program: Program) -> None:
        make = "os.makedirs(sys.argv[2] + '/empty'); pathlib.Path(sys.argv[3]).write_text('true')"
        run = backend.run(program(make=make, use=f"{COUNT}; print(json.dumps(os.path.exists(sys.argv[2])))"))
        assert run.tasks["make"].uploaded == 0
        assert printed(run, "use") is False

    def test_folders_travel(self, backend: Any, program: Program) -> None:
        make = f"os.makedirs(sys.argv[2] + '/deep'); sys.argv[2] += '/deep/file'; {WRITE}"
        run = backend.run(program(make=make, use=f"{COUNT}; print(json.dumps(os.listdir(sys.argv[2] + '/deep')))"))
        assert printed(run, "use") == ["file"]

    def test_environment(
        self, backend: Any, program: Program, documents: Documents, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("SECRET", "CONFIG", "OTHER"):
            monkeypatch.setenv(name, name.lower())
        container = documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"]
        container["env"] = [{"name": "SPEC", "value": "spec"}]
        documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"].update(
            secretAsEnv=[{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "SECRET"}]}],
            configMapAsEnv=[{"configMapName": "c", "keyToEnv": [{"configMapKey": "k", "envVar": "CONFIG"}]}],
        )
        names = "('SPEC', 'SECRET', 'CONFIG', 'OTHER')"
        run = backend.run(program(use=f"{COUNT}; print(json.dumps([os.environ.get(name) for name in {names}]))"))
        assert printed(run, "use") == ["spec", "secret", "config", None]

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
        assert "is not" in str(failure(backend, package, volumes={"data": tmp_path}))


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
        name, text = ("flag", "true") if container.task == "make" else ("size", "3")
        (container.root / "tmp/kfp/outputs" / name).write_text(text)
        if container.task == "make":
            (container.root / container.command[3].lstrip("/")).write_text("abc")
        return 0


def test_a_runner_with_a_root_of_its_own_sees_the_real_paths(
    backend: Any, as_package: Any, documents: Documents, tmp_path: Path
) -> None:
    images = FakeImages()
    documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"]["pvcMount"] = [
        {"pvcNameParameter": {"runtimeValue": {"constant": "data"}}, "mountPath": "/mnt/data"}
    ]
    package = as_package(*documents)
    assert "which folder stands for the claim 'data'" in str(failure(backend, package, runner=images))
    run = backend.run(package, runner=images, volumes={"data": tmp_path})
    local = run.tasks["make"].artifacts["data"][0].uri.replace("minio://", "/minio/")
    make, use = images.seen["make"].container, images.seen["use"].container
    assert make.command[0] == "python"
    assert make.command[3:5] == (local, "/tmp/kfp/outputs/flag")
    assert (make.image, make.timeout, use.timeout) == ("image:1", None, 60)
    assert local.lstrip("/") in images.seen["use"].files
    assert (make.volumes, use.volumes) == ({}, {"/mnt/data": tmp_path})
    assert LOCAL_ROOT not in make.env
    assert run.tasks["use"].parameters == {"size": 3}


class TestWhatATaskIsGiven:
    def test_inputs_and_outputs(self, backend: Any, program: Program) -> None:
        said = "{'artifacts': {'data': {'artifacts': [{'metadata': {'kind': {'a': 1}, 'good': True, 'n': 2}}]}}}"
        write = "file = pathlib.Path(given['outputs']['outputFile']); file.parent.mkdir(); "
        make = f"{WRITE}; {write} file.write_text(json.dumps({said}))"
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
        run = backend.run(package, publish_logs=False)
        assert run.tasks["use"].artifacts == {}


class TestWhatATaskSays:
    """The output file, and the files of output parameters."""

    @pytest.fixture
    def says(self, program: Program) -> Callable[[str], Package]:
        def package(text: str) -> Package:
            write = "file = pathlib.Path(given['outputs']['outputFile']); file.parent.mkdir(); "
            root = "data = given['outputs']['artifacts']['data']['artifacts'][0]['uri']"
            return program(make=f"{WRITE}; {root}; {write} file.write_text({text!r}.replace('DATA', data))")

        return package

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "no ExecutorOutput: Expecting value"),
            ("[]", "no ExecutorOutput"),
            ('{"surprise": 1}', 'no ExecutorOutput: .*"surprise"'),
            ('{"artifacts": {"data": {"artifacts": [{"surprise": 1}]}}}', "no ExecutorOutput: .*surprise"),
            ('{"parameterValues": {"flag": NaN}}', "NaN is no JSON"),
            ('{"parameterValues": {}, "parameterValues": {}}', "a field is given twice"),
            (
                '{"artifacts": {"data": {"artifacts": [{"metadata": {"a": null}}]}}}',
                "output data: its metadata a is null",
            ),
            (
                '{"artifacts": {"data": {"artifacts": [{"uri": "minio://bucket/elsewhere"}]}}}',
                "returned the URI minio://bucket/elsewhere; one below minio://bucket/pipelines/two-steps/.* is wanted",
            ),
            ('{"artifacts": {"data": {"artifacts": [{"uri": "gs://bucket/pipelines"}]}}}', "returned the URI gs://"),
            ('{"artifacts": {"data": {"artifacts": [{"uri": "DATA/../../../../x"}]}}}', "without '..' is wanted"),
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

    def test_an_uri_of_another_kind_fails_the_reader(self, backend: Any, says: Callable[[str], Package]) -> None:
        failed = failure(backend, says('{"artifacts": {"data": {"artifacts": [{"uri": "/local/file"}]}}}'))
        assert failed.step == "use"
        assert "input artifact data cannot be downloaded: found '/local/file'" in failed.message

    def test_parameters_come_from_it_first(self, backend: Any, says: Callable[[str], Package]) -> None:
        run = backend.run(says('{"parameterValues": {"flag": "not even a boolean", "more": 1}}'))
        assert run.tasks["make"].parameters == {"flag": "not even a boolean", "more": 1}
        assert run.tasks["make"].executor_output["parameterValues"] == run.tasks["make"].parameters

    def test_a_parameter_is_missing(self, backend: Any, program: Program) -> None:
        failed = failure(backend, program(use="pass"))
        assert "output parameter size: the program gave none; /tmp/kfp/outputs/size is missing" in failed.message

    def test_a_parameter_has_the_wrong_type(self, backend: Any, program: Program) -> None:
        failed = failure(backend, program(use="pathlib.Path(sys.argv[3]).write_text('1.5')"))
        assert "output parameter size: found '1.5', wanted NUMBER_INTEGER" in failed.message

    def test_an_output_cannot_be_uploaded(self, backend: Any, program: Program) -> None:
        link = "os.makedirs(sys.argv[2]); os.symlink('/tmp', sys.argv[2] + '/link')"
        failed = failure(backend, program(make=f"{link}; pathlib.Path(sys.argv[3]).write_text('true')"))
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

    def test_the_files_can_be_kept(self, backend: Any, program: Program, monkeypatch: Any, tmp_path: Path) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        package = program(use="pathlib.Path('half-done').touch(); sys.exit(1)")
        failure(backend, package)
        assert not list(tmp_path.glob("kfp-local-*"))
        failed = failure(backend, package, keep=True)
        [kept] = tmp_path.glob("kfp-local-use-*")
        assert f"its files are kept in {kept}" in failed.message
        assert (kept / "work/half-done").exists()

    def test_a_program_that_is_not_there(self, backend: Any, as_package: Any, documents: Documents) -> None:
        documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"]["command"] = ["no-such-program"]
        failed = failure(backend, as_package(*documents))
        assert "the program 'no-such-program' could not be started" in failed.message

    def test_an_argument_without_a_value(self, backend: Any, as_package: Any, documents: Documents) -> None:
        container = documents[0]["deploymentSpec"]["executors"]["exec-use"]["container"]
        container["args"].append("{{$.inputs.parameters['gone']}}")
        assert "input parameter gone has no value" in failure(backend, as_package(*documents)).message

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

    def test_pauses_can_be_waited_for(self, backend: Any, retried: Program) -> None:
        started = time.monotonic()
        backend.run(retried(make=self.FAIL_TWICE), backoff_scale=0.1)
        assert time.monotonic() - started >= 0.3


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


@dsl.container_component
def judge(good: bool, verdict: dsl.OutputPath(str)):  # type: ignore[valid-type]
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('good' if sys.argv[2] == 'true' else 'bad')"
    return dsl.ContainerSpec(image="i", command=["python3", "-c", code], args=[verdict, good])


@dsl.container_component
def push(where: str, done: dsl.Output[dsl.Artifact]):
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    return dsl.ContainerSpec(image="i", command=["python", "-c", code], args=[done.path, where])


@dsl.container_component
def read(done: dsl.Input[dsl.Artifact]):
    code = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
    return dsl.ContainerSpec(image="i", command=["python", "-c", code], args=[done.path])


@dsl.pipeline(name="conditions")
def with_conditions(good: bool = True):
    judged = judge(good=good)
    with dsl.If(judged.output == "good"):
        pushed = push(where="a")
        read(done=pushed.output)
    with dsl.Else():
        push(where="b")


@dsl.pipeline(name="inner")
def inner(where: str, note: str = "none") -> dsl.Artifact:
    return push(where=where).output


@dsl.pipeline(name="nested")
def nested(where: str = "here"):
    read(done=inner(where=where).output)


class TestConditions:
    @pytest.mark.parametrize("good", [True, False])
    def test_branches(self, backend: Any, compiled: Any, good: bool) -> None:
        run = backend.run(compiled(with_conditions), {"good": good})
        assert run.state == "succeeded"
        states = {name.rsplit("/", 1)[-1]: task.state for name, task in run.tasks.items()}
        assert states["judge"] == "succeeded"
        if good:
            assert (states["condition-2"], states["push"], states["read"]) == ("succeeded",) * 3
            assert states["condition-3"] == "skipped"
        else:
            assert (states["condition-2"], states["condition-3"], states["push-2"]) == ("skipped", *("succeeded",) * 2)

    def test_what_waits_for_a_skipped_task_is_omitted(
        self, backend: Any, as_package: Any, documents: Documents
    ) -> None:
        documents[0]["root"]["dag"]["tasks"]["make"]["triggerPolicy"] = {
            "condition": "int(inputs.parameter_values['number']) > 0"
        }
        package = as_package(*documents)
        run = backend.run(package, {"number": 0})
        assert run.state == "succeeded"
        assert {name: task.state for name, task in run.tasks.items()} == {"make": "skipped", "use": "omitted"}
        assert backend.reports.started == []
        assert [task.state for task in backend.run(package, {"number": 1}).tasks.values()] == ["succeeded"] * 2

    def test_a_condition_without_an_answer(self, backend: Any, as_package: Any, documents: Documents) -> None:
        documents[0]["root"]["dag"]["tasks"]["make"]["triggerPolicy"] = {
            "condition": "inputs.parameter_values['number'] == true"
        }
        failed = failure(backend, as_package(*documents))
        assert failed.step == "make"
        assert "a double is not compared with a bool" in failed.message

    def test_outputs_of_a_graph(self, backend: Any, compiled: Any) -> None:
        run = backend.run(compiled(nested), {"where": "there"})
        assert list(run.tasks) == ["inner", "inner/push", "read"]
        assert Path(run.tasks["read"].log_file or "").read_text() == "there\n"

    def test_a_failure_inside(self, backend: Any, compiled: Any, as_package: Any) -> None:
        package = compiled(nested)
        spec = package.spec
        spec["deploymentSpec"]["executors"]["exec-push"]["container"]["command"] = ["false"]
        spec["root"]["dag"]["tasks"]["inner"]["retryPolicy"] = {"maxRetryCount": 1, "backoffMaxDuration": "60s"}
        failed = failure(backend, as_package(spec))
        assert failed.step == "inner/push"
        assert failed.run is not None
        assert failed.run.tasks["inner"].state == "failed"
        assert failed.run.tasks["inner/push"].attempts == 2  # its own policy is that of the graph around it
        assert (backend.logs / "inner.push.attempt-2.log").exists()


@dsl.pipeline(name="imports")
def with_import(uri: str = "gs://data/model"):
    read(done=dsl.importer(artifact_uri=uri, artifact_class=dsl.Model, reimport=False, metadata={"n": 1}).output)


class TestImporter:
    @pytest.fixture
    def model(self, backend: Any) -> None:
        file = backend.object("gs://data/model")
        file.parent.mkdir(parents=True)
        file.write_text("weights")

    @pytest.mark.usefixtures("model")
    def test_what_is_in_the_store_is_downloaded(self, backend: Any, compiled: Any) -> None:
        run = backend.run(compiled(with_import))
        assert Path(run.tasks["read"].log_file or "").read_text() == "weights\n"
        [artifact] = run.tasks["importer"].artifacts["artifact"]
        assert (artifact.uri, artifact.metadata["n"]) == ("gs://data/model", 1)

    @pytest.mark.usefixtures("model")
    def test_the_same_import_is_the_same_artifact(self, backend: Any, compiled: Any) -> None:
        backend.run(compiled(with_import))
        assert backend.run(compiled(with_import)).tasks["read"].state == "cached"

    @pytest.mark.parametrize("uri", ["https://example.org/model", "gs://data"])
    def test_what_cannot_be_downloaded(self, backend: Any, compiled: Any, uri: str) -> None:
        failed = failure(backend, compiled(with_import), parameters={"uri": uri})
        assert (failed.step, f"found '{uri}'" in failed.message) == ("read", True)

    def test_an_empty_uri(self, backend: Any, compiled: Any) -> None:
        failed = failure(backend, compiled(with_import), parameters={"uri": ""})
        assert (failed.step, failed.message) == ("importer", "importer.artifactUri: it is empty")


def test_a_runner_may_say_that_time_is_up(backend: Any, two_steps_package: Package) -> None:
    class Slow(FakeImages):
        def run(self, container: Container) -> int:
            return super().run(container) if container.task == "make" else TIMED_OUT

    assert "ended after 60 seconds" in failure(backend, two_steps_package, runner=Slow()).message
