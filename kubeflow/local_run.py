"""`deeplab run --backend kfp-local`: compiles the pipeline and runs what was compiled on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec
from tfx.types import Artifact, standard_artifacts

from components.artifacts.names import LAST_PUSHED
from components.artifacts.types import DataProblems, DataReportPage, ExportedModels, RunReport
from components.segmentation_example_gen.sources.source import SPAN
from kubeflow.compiler import compile_pipeline
from kubeflow.entrypoint import to_artifact
from kubeflow.local_backend.backend import run_package
from kubeflow.local_backend.containers import ContainerRunner, Subprocesses
from kubeflow.local_backend.image import Images
from kubeflow.local_backend.records import LocalRun
from kubeflow.local_backend.store import Location, ObjectStore
from pipeline.config.config import Config
from pipeline.runs.results import RunResult, result_of
from trainer.common.files import is_remote

if TYPE_CHECKING:
    from pipeline.runs.local import Reporter

STORE_FOLDER = "object-store"
"""In the output folder: what stands in the object store's place."""
LOG_FOLDER = "kfp-local"
"""In the folder of logs: what each step printed."""
OUTCOME: Mapping[type[Artifact], tuple[str, str]] = {
    standard_artifacts.Examples: ("SegmentationExampleGen", "examples"),
    DataProblems: ("SegmentationExampleGen", "problems"),
    DataReportPage: ("DataReport", "report"),
    standard_artifacts.ExampleStatistics: ("StatisticsGen", "statistics"),
    standard_artifacts.ExampleAnomalies: ("ExampleValidator", "anomalies"),
    standard_artifacts.ModelEvaluation: ("Evaluator", "evaluation"),
    standard_artifacts.ModelBlessing: ("Evaluator", "blessing"),
    standard_artifacts.InfraBlessing: ("InfraValidator", "blessing"),
    ExportedModels: ("ModelExport", "exports"),
    RunReport: ("Report", "report"),
    standard_artifacts.PushedModel: ("Pusher", "pushed_model"),
    standard_artifacts.InferenceResult: ("BulkInferrer", "inference_result"),
}
"""By type: the step and its output that tell what a run came to."""


def run(
    config: Config,
    reporter: Reporter,
    *,
    parameters: Mapping[str, Any] | None = None,
    in_image: bool = False,
) -> RunResult | None:
    """Compiles a pipeline and runs it as Kubeflow would, with a folder in the object store's place.

    Args:
        config: the experiment, with its `kubeflow` section. Paths of this machine may stand in it.
        reporter: is told about each step.
        parameters: runtime parameters of this run.
        in_image: whether each step runs inside the configured image, without privileges, instead of in a process of
            this machine. Of the folders of this machine only that of the data is seen there.

    Returns:
        What came out; None if there was nothing new to learn from.

    Raises:
        ConfigError: the configuration lacks what Kubeflow needs.
        BackendError: Kubeflow would refuse the pipeline, or a step failed.
        FileNotFoundError: no engine runs images here.
    """
    folders = _data_folders(config)
    package = compile_pipeline(config, visible=[str(folder) for folder in folders] if in_image else ["/"])
    output = config.output_directory
    with ExitStack() as ended:
        runner: ContainerRunner = ended.enter_context(Images(folders=folders)) if in_image else Subprocesses()
        finished = run_package(
            package,
            store=output / STORE_FOLDER,
            parameters=parameters,
            reporter=reporter,
            runner=runner,
            log_directory=output / "logs" / LOG_FOLDER,
        )
    return result_of_run(config, finished)


def _data_folders(config: Config) -> list[Path]:
    """The folder of the data, or of the spans' folders, if it is one of this machine."""
    place = config.data_source.place
    if place is None or is_remote(place):
        return []
    # As the spans are looked for: in the folder above the part of the path that has the number.
    return [Path(place.partition(SPAN)[0].rpartition("/")[0] or "/") if SPAN in place else Path(place)]


def result_of_run(config: Config, finished: LocalRun) -> RunResult | None:
    """What a run came to; None if there was nothing new to learn from."""
    if finished.tasks["StatisticsGen"].state == "skipped":
        return None
    store = ObjectStore(config.output_directory / STORE_FOLDER)
    artifacts = {
        artifact_type.TYPE_NAME: _artifact(artifact_type, finished, step, key, store)
        for artifact_type, (step, key) in OUTCOME.items()
        # Only with export.formats is there a ModelExport, and only with bulk_inference.splits a BulkInferrer.
        if step in finished.tasks
    }
    previous = _artifact(standard_artifacts.Model, finished, "PreviousRun", "model", store)
    started_from = previous.get_string_custom_property(LAST_PUSHED) if config.train.earlier_models else ""
    return result_of(artifacts, started_from or None)


def _artifact(artifact_type: type[Artifact], finished: LocalRun, step: str, key: str, store: ObjectStore) -> Artifact:
    """An output artifact, its URI as a path of this machine."""
    (found,) = finished.tasks[step].artifacts[key]
    given = json_format.ParseDict({"uri": found.uri, "metadata": found.metadata}, spec.RuntimeArtifact())
    artifact = to_artifact(artifact_type, given)
    artifact.uri = str(store.path(Location.parse(found.uri)))
    return artifact
