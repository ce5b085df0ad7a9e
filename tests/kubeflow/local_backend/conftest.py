"""A backend with a folder for everything, and one compiled pipeline to change."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from kubeflow.local_backend.backend import run_package
from kubeflow.local_backend.records import LocalRun
from kubeflow.package import Package

ROOT = "minio://bucket/pipelines"


class Reports:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: dict[str, bool] = {}

    def step_started(self, step: str) -> None:
        self.started.append(step)

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        assert seconds >= 0
        self.finished[step] = cached


class Backend:
    """The local backend with everything below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = folder / "store"
        self.logs = folder / "logs"
        self.reports = Reports()

    def run(self, package: Package, parameters: dict[str, Any] | None = None, **options: Any) -> LocalRun:
        self.reports = Reports()
        options = {"root": ROOT, **options}
        return run_package(
            package,
            store=self.store,
            parameters=parameters,
            reporter=self.reports,
            log_directory=self.logs,
            **options,
        )

    def object(self, uri: str) -> Path:
        scheme, _, rest = uri.partition("://")
        return self.store / scheme / rest


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def as_package(*documents: dict[str, Any]) -> Package:
    return Package(yaml.safe_dump_all(documents))


@pytest.fixture(name="as_package")
def _as_package() -> Callable[..., Package]:
    return as_package


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[Any], Package]:
    """Compiles a pipeline function with the kfp SDK."""

    def compile_pipeline(function: Any) -> Package:
        file = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(function, str(file))
        return Package.read(file)

    return compile_pipeline


@dsl.container_component
def make(number: int, data: dsl.Output[dsl.Artifact], flag: dsl.OutputPath(bool), text: str = "abc"):  # type: ignore[valid-type]
    return dsl.ContainerSpec(
        image="image:1",
        command=["python", "-c"],
        args=[
            "import pathlib, sys; data, flag, number, text = sys.argv[1:]\n"
            "pathlib.Path(data).write_text(text * int(number)); pathlib.Path(flag).write_text('true')",
            data.path,
            flag,
            number,
            text,
        ],
    )


@dsl.container_component
def use(data: dsl.Input[dsl.Artifact], size: dsl.OutputPath(int)):  # type: ignore[valid-type]
    return dsl.ContainerSpec(
        image="image:1",
        command=["python", "-c"],
        args=[
            "import pathlib, sys; data, size = map(pathlib.Path, sys.argv[1:])\n"
            "size.write_text(str(len(data.read_text())))",
            data.path,
            size,
        ],
    )


@dsl.pipeline(name="two-steps")
def two_steps(number: int = 2, text: str = "abc", note: Optional[str] = None):  # noqa: UP045 (kfp reads no other form)
    made = make(number=number, text=text)
    used = use(data=made.outputs["data"])
    kubernetes.set_timeout(used, 60)


@pytest.fixture(scope="session")
def _documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("compiled") / "two-steps.yaml"
    compiler.Compiler().compile(two_steps, str(file))
    return list(yaml.safe_load_all(file.read_text()))


@pytest.fixture
def documents(_documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pipeline `two-steps`, make and use, as its two documents; they may be changed."""
    return copy.deepcopy(_documents)


@pytest.fixture
def two_steps_package(documents: list[dict[str, Any]]) -> Package:
    """`two-steps`: parameters number, text and note; make writes text number times, use counts it."""
    return as_package(*documents)


@pytest.fixture
def program(documents: list[dict[str, Any]]) -> Callable[..., Package]:
    """The pipeline `two-steps` with other Python code, by task; it finds ExecutorInput in `given`."""

    def change(**code: str) -> Package:
        preamble = "import json, os, pathlib, sys; given = json.loads(sys.argv[1])\n"
        for task, text in code.items():
            container = documents[0]["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
            container["args"] = [preamble + text, "{{$}}", *container["args"][1:]]
        return as_package(*documents)

    return change
