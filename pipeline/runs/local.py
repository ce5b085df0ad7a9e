"""The local runner: TFX's BeamDagRunner in this process, one step after another, reporting what it does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.portable.mlmd import context_lib, execution_lib

from components.artifacts.measurements import MEASURED, Measurement, Watch
from pipeline.config.config import Config
from pipeline.output_locations import OutputLocations
from pipeline.pipeline import create_pipeline, run_options
from pipeline.runs.results import RunResult, read_result
from pipeline.steps import RESOLVERS

# BeamDagRunner makes a Beam pipeline of the graph itself and leaves the choice of runner to Beam, whose default tries
# to download a program each time. This is the runner that Beam falls back to.
StandardOptions.DEFAULT_RUNNER = "FnApiRunner"


class StepFailedError(RuntimeError):
    """A step of the pipeline failed. Its cause is what the step raised.

    Args:
        step: the step's name.
        message: what happened.
    """

    def __init__(self, step: str, message: str):
        super().__init__(message)
        self.step = step
        self.run_id = ""
        """TFX's name of the run."""


class Reporter(Protocol):
    """Is told what a run does."""

    def step_started(self, step: str) -> None:
        """A step begins: it looks at its inputs, then at the cache, then works."""

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        """A step is done, or an earlier run's result was taken for it."""


def run(config: Config, reporter: Reporter) -> RunResult:
    """Runs the pipeline from the first step to the last; steps whose inputs are as before come from the cache.

    Args:
        config: the experiment.
        reporter: is told about each step.

    Returns:
        What came out.

    Raises:
        StepFailedError: a step failed; those before it are kept, and the next run goes on after them.
        KeyboardInterrupt: somebody stopped it; the same holds.
    """
    graph = create_pipeline(config)
    with _RunState.of(reporter) as state, _environment(run_options(config, OutputLocations.local(config))):
        try:
            _ReportingDagRunner().run(graph)
        except Exception:
            # Beam hands on the text of an exception; the step's own was kept, with what it was raised from.
            if state.failure is None:
                raise
            raise state.failure from state.failure.__cause__
    return read_result(config, state.run_id)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _RunState:
    """What a run has come to. Beam pickles the nodes, so they find it in the module rather than in themselves."""

    current: _RunState

    def __init__(self, reporter: Reporter):
        self.reporter = reporter
        self.run_id = ""
        self.failure: StepFailedError | KeyboardInterrupt | None = None

    @classmethod
    @contextmanager
    def of(cls, reporter: Reporter) -> Iterator[_RunState]:
        cls.current = cls(reporter)
        try:
            yield cls.current
        finally:
            del cls.current


class _ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):
    """A node that tells the reporter when it begins and ends, and keeps the exception that it ends with."""

    def _run_node(self) -> None:
        state = _RunState.current
        state.run_id = self._pipeline_runtime_spec.pipeline_run_id.field_value.string_value
        state.reporter.step_started(self._node_id)
        watch = Watch(self._node_id, state.run_id)
        try:
            super()._run_node()
            execution = self._require_success()
            cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
            measurement = watch.measured()
            # What a resolver puts out is an earlier run's.
            if not cached and self._node_id not in RESOLVERS:
                self._mark_outputs(execution, measurement)
        except (StepFailedError, KeyboardInterrupt) as error:
            state.failure = error
            raise
        except Exception as error:
            state.failure = StepFailedError(self._node_id, str(error))
            state.failure.run_id = state.run_id
            state.failure.__cause__ = error
            raise
        state.reporter.step_finished(self._node_id, cached=cached, seconds=measurement.seconds)

    def _mark_outputs(self, execution: metadata_store_pb2.Execution, measurement: Measurement) -> None:
        """Writes what the node took on its artifacts, before any other node reads them: the cache's keys have all that
        stands on artifacts in them."""
        with metadata.Metadata(self._mlmd_connection_config) as handle:
            events = handle.store.get_events_by_execution_ids([execution.id])
            made = sorted(event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT)
            artifacts = handle.store.get_artifacts_by_id(made)
            for artifact in artifacts:
                artifact.custom_properties[MEASURED].string_value = measurement.model_dump_json()
            handle.store.put_artifacts(artifacts)

    def _require_success(self) -> metadata_store_pb2.Execution:
        """The node's execution. TFX goes on without an error when a node's inputs cannot be found."""
        with metadata.Metadata(self._mlmd_connection_config) as handle:
            contexts = context_lib.prepare_contexts(handle, self._pipeline_node.contexts)
            executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
        for execution in executions:
            if execution_lib.is_execution_successful(execution):
                return execution
        raise StepFailedError(self._node_id, "its inputs could not be found; the log says which")


class _ReportingDagRunner(beam_dag_runner.BeamDagRunner):
    """BeamDagRunner with reporting nodes."""

    _PIPELINE_NODE_DO_FN_CLS = _ReportingNode
