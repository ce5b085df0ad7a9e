"""The runs of an output folder: what there was, what came of it, and why."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.artifacts import names
from components.artifacts.evaluation import Evaluation, EvaluationError, read_evaluation
from components.artifacts.exports import ExportedModel, read_exports
from components.artifacts.infra_validation import InfraValidationResult, read_validation
from components.artifacts.names import PAGE_FILE
from components.artifacts.types import ExportedModels, RunReport
from components.pusher.versions import PUSHED_DESTINATION
from pipeline.output_locations import METADATA_FILE
from pipeline.runs.results import artifacts_of_run, metadata_in


class RunsError(Exception):
    """There are no such runs; the message says where they were looked for."""


@dataclass(frozen=True)
class Run:
    """A run, as far as it has come."""

    id: str
    """TFX's name of it, which begins with the time."""
    started: datetime.datetime
    """In this machine's time zone."""
    spans: str | None
    """The spans of its data, separated by commas; empty for data without spans, None if it has not come to them."""
    evaluation: Evaluation | None
    """None if it has not come to it."""
    validation: InfraValidationResult | None
    """The same."""
    exports: tuple[ExportedModel, ...]
    """What became of the other formats that were asked for; empty if it has not come to it."""
    report: Path | None
    """The page of the run; None if it has not come to it."""
    pushed_to: str | None
    """The version's folder, path or URI; None if nothing was pushed."""
    unreadable: str | None
    """Why what it has left cannot be read, such as that an earlier version made it; None if it can."""
    finished: bool
    """Whether it has come to its end; else it is running, or was stopped, or failed."""


def runs_in(output: Path) -> list[Run]:
    """The runs of an output folder, the newest first.

    Args:
        output: as `run --output` was given, or `runs/<name>`.

    Raises:
        RunsError: nothing was run there.
    """
    if not (output / METADATA_FILE).is_file():
        raise RunsError(f"{output}: nothing was run there, it has no {METADATA_FILE}; give a run's output folder")
    with metadata.Metadata(metadata_in(output)) as handle:
        contexts = handle.store.get_contexts_by_type("pipeline_run")
        finished = {context.name for context in contexts if _is_finished(handle, context.id)}
    contexts.sort(key=lambda context: context.create_time_since_epoch, reverse=True)
    return [_run(output, context, finished=context.name in finished) for context in contexts]


def _is_finished(handle: metadata.Metadata, context_id: int) -> bool:
    good = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
    names = {kind.id: kind.name.rpartition(".")[2] for kind in handle.store.get_execution_types()}
    done = {
        names[execution.type_id]: execution
        for execution in handle.store.get_executions_by_context(context_id)
        if execution.last_known_state in good
    }
    if "Report" not in done:
        return False
    # The masks are made after the report, if the configuration, which the report is given, asks for them.
    configuration = json.loads(done["Report"].custom_properties["configuration_json"].string_value or "{}")
    return "BulkInferrer" in done or not configuration.get("bulk_inference", {}).get("splits")


def _run(output: Path, context: metadata_store_pb2.Context, *, finished: bool) -> Run:
    artifacts = artifacts_of_run(output, context.name)
    examples = artifacts.get("Examples")
    evaluation = artifacts.get("ModelEvaluation")
    infra_blessing = artifacts.get("InfraBlessing")
    exports = artifacts.get(ExportedModels.TYPE_NAME)
    report = artifacts.get(RunReport.TYPE_NAME)
    pushed = artifacts.get("PushedModel")
    judged, tried, unreadable = None, None, None
    exported: tuple[ExportedModel, ...] = ()
    try:
        judged = evaluation and read_evaluation(evaluation.uri)
        tried = infra_blessing and read_validation(infra_blessing.uri)
        exported = read_exports(exports.uri) if exports else ()
    except (EvaluationError, OSError, ValueError) as error:
        unreadable = str(error)
    return Run(
        id=context.name,
        started=datetime.datetime.fromtimestamp(context.create_time_since_epoch / 1000).astimezone(),
        spans=examples and examples.get_string_custom_property(names.SPANS),
        evaluation=judged,
        validation=tried,
        exports=exported,
        report=report and Path(report.uri, PAGE_FILE),
        pushed_to=(pushed and pushed.get_string_custom_property(PUSHED_DESTINATION)) or None,
        unreadable=unreadable,
        finished=finished,
    )
