"""What a run came to, read from its metadata and artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.types import Artifact, artifact_utils, standard_artifacts, standard_component_specs

from components.artifacts import names
from components.artifacts.anomalies import read_anomalies, sentences
from components.artifacts.evaluation import Evaluation, read_evaluation
from components.artifacts.exports import ExportedModel, read_exports
from components.artifacts.infra_validation import InfraValidationResult, read_validation
from components.artifacts.names import PAGE_FILE
from components.artifacts.problems import read_problems
from components.artifacts.statistics import read_statistics
from components.artifacts.types import DataProblems, DataReportPage, ExportedModels, RunReport
from components.bulk_inferrer import component as bulk_inferrer
from components.pusher.versions import PUSHED_DESTINATION
from pipeline.config.config import Config
from pipeline.output_locations import METADATA_FILE

RESULT_TYPES = {
    artifact_type.TYPE_NAME: artifact_type
    for artifact_type in (
        standard_artifacts.Examples,
        DataProblems,
        DataReportPage,
        standard_artifacts.ExampleStatistics,
        standard_artifacts.ExampleAnomalies,
        standard_artifacts.ModelEvaluation,
        standard_artifacts.InfraBlessing,
        ExportedModels,
        RunReport,
        standard_artifacts.PushedModel,
        standard_artifacts.InferenceResult,
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
    evaluation: Evaluation
    """The numbers, the verdict and its reasons."""
    validation: InfraValidationResult
    """Whether the model can be served, and why not."""
    report: Path
    """The page of the run."""
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
    exports: tuple[ExportedModel, ...] = ()
    """What became of the other formats that were asked for."""
    predictions: Path | None = None
    """The folder of the predicted masks; None if none were asked for, or the model was not blessed."""
    without_mask: int = 0
    """Pictures, or files that could not be read to the end, that the folder's `PROBLEMS_FILE` names instead."""
    started_from: str | None = None
    """The model whose weights training started from, of those that the pipeline has made; None for others."""


def read_result(config: Config, run_id: str) -> RunResult:
    """Reads the outcome of a finished run on this machine.

    Args:
        config: what was run.
        run_id: TFX's name of the run.
    """
    output = config.output_directory
    return result_of(artifacts_of_run(output, run_id), _started_from(output, run_id))


def result_of(artifacts: Mapping[str, Artifact], started_from: str | None) -> RunResult:
    """Reads the outcome of a run from its artifacts.

    Args:
        artifacts: by the name of their type, those of `RESULT_TYPES`, with URIs that are paths of this machine.
        started_from: path or URI of the model that training started from, if the pipeline has made it.
    """
    problems = Path(artifacts[DataProblems.TYPE_NAME].uri)
    quarantined = {problem.entry for problem in read_problems(str(problems))}
    pushed = artifacts["PushedModel"]
    exports = artifacts.get(ExportedModels.TYPE_NAME)
    inference = artifacts.get("InferenceResult")
    return RunResult(
        pictures=_pictures(artifacts["ExampleStatistics"]),
        spans=artifacts["Examples"].get_string_custom_property(names.SPANS),
        data_report=Path(artifacts[DataReportPage.TYPE_NAME].uri, PAGE_FILE),
        evaluation=read_evaluation(artifacts["ModelEvaluation"].uri),
        validation=read_validation(artifacts["InfraBlessing"].uri),
        report=Path(artifacts[RunReport.TYPE_NAME].uri, PAGE_FILE),
        pushed_to=(
            pushed.get_string_custom_property(PUSHED_DESTINATION) if pushed.get_int_custom_property("pushed") else None
        ),
        pushed_copy=Path(pushed.uri),
        anomalies=tuple(sentences(read_anomalies(artifacts["ExampleAnomalies"]))),
        quarantined=len(quarantined),
        problem_page=problems / PAGE_FILE if quarantined else None,
        exports=read_exports(exports.uri) if exports else (),
        predictions=(
            Path(inference.uri) if inference and inference.get_int_custom_property(bulk_inferrer.PREDICTED) else None
        ),
        without_mask=inference.get_int_custom_property(bulk_inferrer.WITHOUT_MASK) if inference else 0,
        started_from=started_from,
    )


def artifacts_of_run(output: Path, run_id: str) -> dict[str, Artifact]:
    """A run's output artifacts by type, as far as it has come; those that came from the cache too.

    Args:
        output: the output folder that was run in.
        run_id: TFX's name of the run.
    """
    found: dict[str, Artifact] = {}
    with metadata.Metadata(metadata_in(output)) as handle:
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


def _started_from(output: Path, run_id: str) -> str | None:
    with metadata.Metadata(metadata_in(output)) as handle:
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
    return Path(artifacts_of_run(config.output_directory, run_id)[DataReportPage.TYPE_NAME].uri, PAGE_FILE)


def metadata_in(output: Path) -> metadata_store_pb2.ConnectionConfig:
    """The metadata store in an output folder, to be read."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(output / METADATA_FILE)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return connection


def _pictures(statistics: Artifact) -> dict[str, int]:
    found = read_statistics(statistics)
    return {split: found[split].datasets[0].num_examples for split in sorted(found, reverse=True)}
