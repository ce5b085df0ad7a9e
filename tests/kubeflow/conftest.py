"""Kubeflow's stand-in, a small compiled pipeline, and a home that must stay empty."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_kfp


@pytest.fixture
def stub(home: Path) -> Iterator[Any]:
    with stub_kfp.Stub() as server:
        yield server


def compiled(tmp_path: Path, image: str = "demo:1") -> Any:
    """A package of two container steps with the runtime parameters of the real pipeline."""
    from kfp import compiler, dsl

    from kubeflow.package import Package

    @dsl.container_component
    def read(data: str, span: int):
        return dsl.ContainerSpec(image=image, command=["read"], args=[data, span])

    @dsl.container_component
    def train(steps: int, run_name: str):
        return dsl.ContainerSpec(image=image, command=["train"], args=[steps, run_name])

    @dsl.pipeline(name="demo")
    def pipeline(data: str, span: int = -1, steps: int = 0, run_name: str = ""):
        first = read(data=data, span=span)
        train(steps=steps, run_name=run_name).after(first)

    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    return Package.read(file)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def newer_package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("newer"), image="demo:2")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of a user who has used kfp against another cluster; nothing of it may be read or changed."""
    home = tmp_path / "home"
    (home / ".config" / "kfp").mkdir(parents=True)
    context = '{"namespace": "of-another-cluster", "client_authentication_cookie": "of-another-cluster"}'
    (home / ".config" / "kfp" / "context.json").write_text(context)
    monkeypatch.setenv("HOME", str(home))
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "KUBECONFIG", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def settings(stub: Any, request: pytest.FixtureRequest) -> Any:
    """Of the stand-in. Only where an answer is to come too late is it waited for less than a slow machine needs."""
    from pipeline.config.kubeflow import Kubeflow

    late = "late" in getattr(getattr(request.node, "callspec", None), "params", {}).values()
    return Kubeflow(endpoint=stub.url, root="gs://bucket/pipelines", request_timeout=0.4 if late else 20)
