"""A backend with a folder for everything, and one compiled pipeline to change."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

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


PREAMBLE = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
root = os.environ.get('DEEPLAB_LAUNCHER_ROOT', '')
parameters = given['inputs'].get('parameterValues', {})
sides = given['inputs'].get('artifacts', {}), given['outputs']['artifacts']
[uri] = [side['data']['artifacts'][0]['uri'] for side in sides if 'data' in side]
path = pathlib.Path(root + uri.replace('minio://', '/minio/').replace('gs://', '/gcs/'))

def say(text=None, **values):
    file = pathlib.Path(given['outputs']['outputFile'])
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({'parameterValues': values}) if text is None else text)

"""
"""What the programs have at hand: their input, the place of the artifact `data`, and the output file."""
MAKE = "path.write_text(parameters['text'] * int(parameters['number'])); say(flag=True)"
USE = "say(size=len(path.read_text()))"


def _parameters(**types: str) -> dict[str, Any]:
    return {"parameters": {name: {"parameterType": kind} for name, kind in types.items()}}


def _task(name: str, **fields: Any) -> dict[str, Any]:
    reference = {"name": f"comp-{name}"}
    return {"taskInfo": {"name": name}, "componentRef": reference, "cachingOptions": {"enableCache": True}, **fields}


def _executor(code: str) -> dict[str, Any]:
    return {"container": {"image": "image:1", "command": ["python", "-c"], "args": [PREAMBLE + code, "{{$}}"]}}


DATA = {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}}}
TWO_STEPS = {
    "pipelineInfo": {"name": "two-steps"},
    "schemaVersion": "2.1.0",
    "defaultPipelineRoot": ROOT,
    "root": {
        "inputDefinitions": {
            "parameters": {
                "number": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2},
                "text": {"parameterType": "STRING", "defaultValue": "abc"},
                "note": {"parameterType": "STRING", "defaultValue": ""},
            }
        },
        "dag": {
            "tasks": {
                "make": _task(
                    "make",
                    inputs={
                        "parameters": {name: {"componentInputParameter": name} for name in ("number", "text")},
                    },
                ),
                "use": _task(
                    "use",
                    dependentTasks=["make"],
                    inputs={
                        "artifacts": {
                            "data": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}}
                        }
                    },
                ),
            }
        },
    },
    "components": {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": _parameters(number="NUMBER_INTEGER", text="STRING"),
            "outputDefinitions": {**DATA, **_parameters(flag="BOOLEAN")},
        },
        "comp-use": {
            "executorLabel": "exec-use",
            "inputDefinitions": DATA,
            "outputDefinitions": _parameters(size="NUMBER_INTEGER"),
        },
    },
    "deploymentSpec": {"executors": {"exec-make": _executor(MAKE), "exec-use": _executor(USE)}},
}
PLATFORM = {
    "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-use": {"activeDeadlineSeconds": "60"}}}}}
}


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """The pipeline `two-steps`, make and use, as its two documents; they may be changed."""
    return copy.deepcopy([TWO_STEPS, PLATFORM])


@pytest.fixture
def two_steps_package(documents: list[dict[str, Any]]) -> Package:
    """`two-steps`: parameters number, text and note; make writes text number times, use counts it."""
    return as_package(*documents)


@pytest.fixture
def program(documents: list[dict[str, Any]]) -> Callable[..., Package]:
    """The pipeline `two-steps` with other Python code, by task, which runs after `PREAMBLE`."""

    def change(**code: str) -> Package:
        for task, text in code.items():
            container = documents[0]["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
            container["args"] = [PREAMBLE + text, "{{$}}"]
        return as_package(*documents)

    return change
