"""Programs inside an image: the command lines, with a stand-in for the engine, and with an image where there is one."""

import itertools
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeflow.local_backend.containers import OBJECT_STORE, OBJECT_STORE_PACKAGE, TIMED_OUT, Container
from kubeflow.local_backend.image import (
    STORE_FOLDER,
    STORE_PACKAGE_FOLDER,
    Images,
    Mount,
    engine_command,
    find_engine,
    sandbox_command,
)
from kubeflow.package import Package

IMAGE = os.environ.get("DEEPLAB_TEST_IMAGE")
"""An image that is here, such as `localhost/deeplab`."""


def _after(option: str, command: list[str]) -> list[str]:
    return [value for name, value in itertools.pairwise(command) if name == option]


class TestEngineCommand:
    def _command(self, engine: str = "docker", **arguments: Any) -> list[str]:
        return engine_command(engine, "deeplab:1", ["python", "-m", "step"], name="a", **arguments)

    def test_the_program_takes_the_place_of_the_entry_point(self):
        command = self._command()
        assert command[:2] == ["docker", "run"]
        assert command[-5:] == ["--entrypoint", "python", "deeplab:1", "-m", "step"]

    def test_an_ordinary_user_without_rights_who_can_write_to_tmp_only(self):
        command = self._command(user=(1000, 100))
        assert "--read-only" in command
        assert "--rm" in command
        assert _after("--cap-drop", command) == ["ALL"]
        assert "no-new-privileges" in _after("--security-opt", command)
        assert _after("--user", command) == ["1000:100"]
        assert _after("--tmpfs", command) == ["/tmp"]
        assert not {"--privileged", "--cap-add"} & set(command)

    def test_folders_are_mounted(self):
        mounts = [Mount(Path("/runs/1/minio"), "/minio"), Mount(Path("/data"), "/mnt/data", read_only=True)]
        assert _after("--mount", self._command(mounts=mounts)) == [
            "type=bind,source=/runs/1/minio,target=/minio",
            "type=bind,source=/data,target=/mnt/data,readonly",
        ]

    def test_a_folder_may_stand_for_tmp(self):
        command = self._command(mounts=[Mount(Path("/runs/1/tmp"), "/tmp")])
        assert "--tmpfs" not in command

    def test_values_of_variables_are_not_on_the_command_line(self):
        command = self._command(env={"TOKEN": "secret"})
        assert _after("--env", command) == ["TOKEN"]
        assert "secret" not in " ".join(command)

    def test_rootless_podman_keeps_the_user(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert _after("--userns", self._command("podman")) == ["keep-id"]
        assert "--userns" not in self._command("docker")


class TestSandboxCommand:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "usr/bin").mkdir(parents=True)
        (tmp_path / "bin").symlink_to("usr/bin")
        (tmp_path / "minio").mkdir()
        return tmp_path

    def test_gives_up_root_and_every_capability_before_the_program(self, root):
        command = sandbox_command(root, ["python", "-m", "step"], user=(1000, 100))
        drop = command[command.index("--") + 1 :]
        assert drop[:5] == ["setpriv", "--reuid", "1000", "--regid", "100"]
        assert {"--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"} <= set(drop)
        assert drop[-4:] == ["--", "python", "-m", "step"]

    def test_nothing_of_the_image_can_be_written(self, root):
        command = sandbox_command(root, ["true"])
        assert _after("--ro-bind", command) == [str(root / "usr")]
        assert "--bind" not in command
        assert _after("--remount-ro", command) == ["/"]
        assert _after("--symlink", command) == ["usr/bin"]
        assert _after("--tmpfs", command) == ["/dev/shm", "/tmp"]

    def test_places_for_mounts_can_be_made(self, root):
        command = sandbox_command(root, ["true"], mounts=[Mount(Path("/runs/1/minio"), "/minio")])
        assert "/minio" in _after("--dir", command)
        place = command.index("--bind")
        assert command[place : place + 3] == ["--bind", "/runs/1/minio", "/minio"]
        assert place < command.index("--remount-ro")

    def test_ends_with_whoever_started_it(self, root):
        assert {"--die-with-parent", "--unshare-pid"} <= set(sandbox_command(root, ["true"]))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a stand-in for an engine on the path, alone; it writes down its arguments and runs a line of shell."""

    def put(name: str, info: int = 0, run: str = "exit 3") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = info ]; then exit {info}; fi\n'
            f'echo "$@" >> {tmp_path}/calls\nif [ "$1" = run ]; then {run}; fi\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))
        return tmp_path / "calls"

    return put


@pytest.fixture
def container(tmp_path: Path) -> Callable[..., Container]:
    def make(command: tuple[str, ...] = ("python", "-m", "step"), **changes: Any) -> Container:
        root, store = tmp_path / "root", tmp_path / "store"
        for folder in (store, *(root / name for name in ("gcs", "s3", "minio", "tmp"))):
            folder.mkdir(parents=True, exist_ok=True)
        arguments: Mapping[str, Any] = {
            "task": "Trainer",
            "image": IMAGE or "deeplab:1",
            "command": command,
            "env": {},
            "root": root,
            "store": store,
            "log_file": tmp_path / "log",
            "timeout": 60.0,
        }
        return Container(**{**arguments, **changes})

    return make


class TestFindEngine:
    def test_an_engine_that_does_not_answer_is_none(self, engine):
        engine("docker", info=1)
        engine("podman")
        assert find_engine() == "podman"

    def test_without_one_it_says_what_to_do(self, engine):
        engine("docker", info=1)
        with pytest.raises(FileNotFoundError, match="start or install one of them"):
            find_engine()


class TestImages:
    def test_runs_a_task_and_returns_its_exit_code(self, engine, container, tmp_path):
        calls = engine("docker", run=f'echo "token $TOKEN, store ${OBJECT_STORE}"; exit 3')
        task = container(env={"TOKEN": "secret"})
        assert Images(folders=[tmp_path / "data"]).run(task) == 3
        assert task.log_file.read_text() == f"token secret, store {STORE_FOLDER}\n"
        arguments = calls.read_text().splitlines()[0].split()
        assert _after("--mount", arguments) == [
            *(f"type=bind,source={task.root}/{name},target=/{name}" for name in ("gcs", "s3", "minio", "tmp")),
            f"type=bind,source={task.store},target={STORE_FOLDER}",
            f"type=bind,source={OBJECT_STORE_PACKAGE},target={STORE_PACKAGE_FOLDER},readonly",
            f"type=bind,source={tmp_path}/data,target={tmp_path}/data,readonly",
        ]
        assert {"TOKEN", "PYTHONPATH", OBJECT_STORE} == set(_after("--env", arguments))

    def test_a_container_past_its_deadline_is_removed(self, engine, container):
        calls = engine("docker", run="exec /bin/sleep 60")
        assert Images().run(container(timeout=0.5)) == TIMED_OUT
        run, remove = calls.read_text().splitlines()
        assert remove.split() == ["rm", "--force", *_after("--name", run.split())]

    def test_the_user_is_never_root(self, engine, container):
        calls = engine("docker")
        Images().run(container())
        (user,) = _after("--user", calls.read_text().splitlines()[0].split())
        assert not user.startswith("0:")


@pytest.mark.slow
@pytest.mark.skipif(not IMAGE, reason="DEEPLAB_TEST_IMAGE names no image")
class TestInTheImage:
    """With an engine that is here and the image that DEEPLAB_TEST_IMAGE names."""

    def test_a_program_has_no_rights_and_writes_where_it_may(self, container):
        task = container(
            (
                "python",
                "-c",
                "import fsspec, os, pathlib\n"
                "status = dict(line.split(':\\t', 1) for line in open('/proc/self/status'))\n"
                "assert set(status['Uid'].split()) != {'0'}, status\n"
                "assert int(status['CapEff'], 16) == int(status['CapBnd'], 16) == 0, status\n"
                "assert status['NoNewPrivs'].strip() == '1', status\n"
                "for folder in ('/', '/app', '/opt/deeplab', '/usr', '/var/tmp'):\n"
                "    try:\n"
                "        open(os.path.join(folder, 'a'), 'w')\n"
                "    except OSError:\n"
                "        continue\n"
                "    raise SystemExit(folder)\n"
                "for folder in ('/minio', '/tmp', '/dev/shm'):\n"
                "    pathlib.Path(folder, 'a').write_text('a')\n"
                "fsspec.open('minio://bucket/key', 'w').open().close()\n",
            )
        )
        with Images() as runner:
            assert runner.run(task) == 0, task.log_file.read_text()
        assert (task.root / "minio/a").read_text() == "a"
        assert (task.store / "minio/bucket/key").exists()

    def test_a_compiled_pipeline_runs(self, backend: Any, documents: list[dict[str, Any]]):
        text = yaml.safe_dump_all(documents).replace("image: image:1", f"image: {IMAGE}")
        with Images() as runner:
            run = backend.run(Package(text), {"number": 3}, runner=runner)
        assert set(run.tasks) == {"make", "use"}
