"""What TFX's own compiler and entrypoint make of a pipeline is refused, or fails, as on a cluster."""

from pathlib import Path

import pytest
import yaml
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel
from tfx.types.standard_artifacts import Schema

from kubeflow.local_backend.backend import run_package
from kubeflow.local_backend.records import BackendError
from kubeflow.package import Package

STOCK = ["python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"]


@component
def Make(schema: OutputArtifact[Schema]):
    Path(schema.uri).mkdir(parents=True, exist_ok=True)


@component
def Read(schema: InputArtifact[Schema]):
    print(schema.uri)


def compiled(*nodes, **options) -> Package:
    config = KubeflowV2DagRunnerConfig(default_image="deeplab", default_commands=STOCK, **options)
    job = KubeflowV2DagRunner(config).run(
        Pipeline(pipeline_name="stock", pipeline_root="", components=list(nodes)), write_out=False
    )
    return Package(yaml.safe_dump({**job["pipelineSpec"], "defaultPipelineRoot": "minio://mlpipeline/v2"}))


def run(package: Package, tmp_path: Path, silent) -> None:
    run_package(
        package,
        store=tmp_path / "store",
        reporter=silent,
        log_directory=tmp_path / "logs",
    )


def test_without_being_told_tfx_writes_a_schema_that_kubeflow_refuses(tmp_path, silent):
    with pytest.raises(BackendError, match=r"2\.0\.0"):
        run(compiled(Make()), tmp_path, silent)


def test_a_resolver_is_refused(tmp_path, silent):
    resolver = Resolver(strategy_class=LatestArtifactStrategy, schema=Channel(type=Schema)).with_id("Latest")
    package = compiled(resolver, Read(schema=resolver.outputs["schema"]), use_pipeline_spec_2_1=True)
    with pytest.raises(BackendError, match=r"[Rr]esolver"):
        run(package, tmp_path, silent)


@pytest.mark.slow
def test_the_stock_entrypoint_fails(tmp_path, silent):
    make = Make()
    package = compiled(make, Read(schema=make.outputs["schema"]), use_pipeline_spec_2_1=True)
    with pytest.raises(BackendError) as failure:
        run(package, tmp_path, silent)
    assert failure.value.step == "Make"
    # The log is an output artifact more, of a type that TFX does not know.
    assert "ould not import system.Artifact" in str(failure.value)
