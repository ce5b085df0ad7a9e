"""What a run came to, read from its metadata and artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.orchestration import metadata
from tfx.types import Artifact, artifact_utils, standard_artifacts, standard_component_specs

from components.data_report.component import DataReportPage
from components.example_validator.anomalies import sentences
from components.example_validator.executor import ANOMALIES_FILE, read_statistics
from components.segmentation_example_gen import driver, problem_page
from components.segmentation_example_gen.component import DataProblems
from components.segmentation_example_gen.problem_page import PAGE_FILE
from components.segmentation_metrics.verdict import read_verdict
from pipeline.config import Config

RESULT_TYPES = {
    artifact_type.TYPE_NAME: artifact_type
    for artifact_type in (
        standard_artifacts.Examples,
        DataProblems,
        DataReportPage,
        standard_artifacts.ExampleStatistics,
        standard_artifacts.ExampleAnomalies,
        standard_artifacts.ModelEvaluation,
        standard_artifacts.ModelBlessing,
        standard_artifacts.PushedModel,
    )
}
"""The artifacts that tell what a run came to, by the name of their type."""


@dataclass(frozen=True)
class RunResult:
    """The outcome of one run of the whole pipeline."""

    pictures: Mapping[str, int]
    """Number of pictures of each split."""
    spans: str
    """The spans of the data, separated by commas; empty for data without spans."""
    data_report: Path
    """The page of the data's statistics."""
    mean_iou: float
    """Of the new model, on the evaluation split."""
    baseline_mean_iou: float | None
    """Of the last blessed model on the same pictures; None if there was none of the same classes."""
    blessed: bool
    reasons: tuple[str, ...]
    """Why the model was not blessed, a sentence each."""
    pushed_to: str | None
    """The version's folder, path or URI; None if the model was not pushed."""
    pushed_copy: Path
    """The copy of the pushed model among the artifacts."""
    anomalies: tuple[str, ...] = field(default=())
    """What ExampleValidator found in the data, a sentence each."""
    quarantined: int = 0
    """Pairs, or entries of lists, that were left out of the data."""
    problem_page: Path | None = None
    """The page that tells why; None if there are none."""
    started_from: str | None = None
    """The model whose weights training started from, of those that the pipeline has made; None for others."""


def read_result(config: Config, run_id: str) -> RunResult:
    """Reads the outcome of a finished run on this machine.

    Args:
        config: what was run.
        run_id: TFX's name of the run.
    """
    return result_of(config, _artifacts_of_run(config, run_id), _started_from(config, run_id))


def result_of(config: Config, artifacts: Mapping[str, Artifact], started_from: str | None) -> RunResult:
    """Reads the outcome of a run from its artifacts.

    Args:
        config: what was run.
        artifacts: by the name of their type, those of `RESULT_TYPES`, with URIs that are paths of this machine.
        started_from: path or URI of the model that training started from, if the pipeline has made it.
    """
    problems = Path(artifacts[DataProblems.TYPE_NAME].uri)
    quarantined = {problem.entry for problem in problem_page.read(str(problems))}
    gate = config.eval
    verdict = read_verdict(artifacts["ModelEvaluation"].uri, gate.min_mean_iou, gate.min_mean_iou_change)
    pushed = artifacts["PushedModel"]
    blessed = artifacts["ModelBlessing"].get_int_custom_property("blessed") == 1
    return RunResult(
        pictures=_pictures(artifacts["ExampleStatistics"]),
        spans=artifacts["Examples"].get_string_custom_property(driver.SPANS),
        data_report=Path(artifacts[DataReportPage.TYPE_NAME].uri, PAGE_FILE),
        mean_iou=verdict.mean_iou,
        baseline_mean_iou=verdict.baseline_mean_iou,
        blessed=blessed,
        reasons=() if blessed else verdict.reasons,
        pushed_to=(
            pushed.get_string_custom_property("pushed_destination")
            if pushed.get_int_custom_property("pushed")
            else None
        ),
        pushed_copy=Path(pushed.uri),
        anomalies=_anomalies(artifacts["ExampleAnomalies"]),
        quarantined=len(quarantined),
        problem_page=problems / PAGE_FILE if quarantined else None,
        started_from=started_from,
    )


def _artifacts_of_run(config: Config, run_id: str) -> dict[str, Artifact]:
    """The run's output artifacts by type; those that came from the cache too."""
    found: dict[str, Artifact] = {}
    with metadata.Metadata(_connection(config)) as handle:
        store = handle.store
        context = store.get_context_by_type_and_name("pipeline_run", run_id)
        executions = store.get_executions_by_context(context.id)
        # The Resolver's output is an earlier run's model and blessing.
        resolvers = {
            execution_type.id for execution_type in store.get_execution_types() if "resolver" in execution_type.name
        }
        ids = [execution.id for execution in executions if execution.type_id not in resolvers]
        outputs = {
            event.artifact_id
            for event in store.get_events_by_execution_ids(ids)
            if event.type == metadata_store_pb2.Event.OUTPUT
        }
        for proto in store.get_artifacts_by_id(sorted(outputs)):
            (artifact_type,) = store.get_artifact_types_by_id([proto.type_id])
            if artifact_type.name in RESULT_TYPES:
                found[artifact_type.name] = artifact_utils.deserialize_artifact(artifact_type, proto)
    return found


def _started_from(config: Config, run_id: str) -> str | None:
    with metadata.Metadata(_connection(config)) as handle:
        store = handle.store
        context = store.get_context_by_type_and_name("pipeline_run", run_id)
        ids = [execution.id for execution in store.get_executions_by_context(context.id)]
        read = {
            event.artifact_id
            for event in store.get_events_by_execution_ids(ids)
            if event.type == metadata_store_pb2.Event.INPUT
            and event.path.steps[0].key == standard_component_specs.BASE_MODEL_KEY
        }
        return next((artifact.uri for artifact in store.get_artifacts_by_id(sorted(read))), None)


def data_report_of(config: Config, run_id: str) -> Path:
    """The page of the data of a run that has stopped after it."""
    return Path(_artifacts_of_run(config, run_id)[DataReportPage.TYPE_NAME].uri, PAGE_FILE)


def _connection(config: Config) -> metadata_store_pb2.ConnectionConfig:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(config.output_directory / "metadata.sqlite")
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return connection


def _pictures(statistics: Artifact) -> dict[str, int]:
    found = read_statistics([statistics]) or {}
    return {split: found[split].datasets[0].num_examples for split in sorted(found, reverse=True)}


def _anomalies(artifact: Artifact) -> tuple[str, ...]:
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        file = Path(artifact_utils.get_split_uri([artifact], split), ANOMALIES_FILE)
        found[split] = anomalies_pb2.Anomalies.FromString(file.read_bytes())
    return tuple(sentences(found))
