"""The runs of an output folder: when a run has come to its end."""

from __future__ import annotations

import json

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.output_locations import METADATA_FILE
from pipeline.runs.results import metadata_in
from pipeline.runs.runs import runs_in

COMPLETE, RUNNING = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.RUNNING


def execution_of(handle: metadata.Metadata, step: str, state: int, configuration: dict) -> metadata_store_pb2.Execution:
    kind = metadata_store_pb2.ExecutionType(
        name=f"components.{step.lower()}.component.{step}", properties={"configuration_json": metadata_store_pb2.STRING}
    )
    execution = metadata_store_pb2.Execution(type_id=handle.store.put_execution_type(kind), last_known_state=state)
    execution.custom_properties["configuration_json"].string_value = json.dumps(configuration)
    return execution


@pytest.mark.parametrize(
    ("splits", "steps", "finished"),
    [
        ([], {}, False),
        ([], {"Report": RUNNING}, False),
        ([], {"Report": COMPLETE}, True),
        (["eval"], {"Report": COMPLETE}, False),
        (["eval"], {"Report": COMPLETE, "BulkInferrer": RUNNING}, False),
        (["eval"], {"Report": COMPLETE, "BulkInferrer": COMPLETE}, True),
    ],
)
def test_a_run_ends_with_its_last_step(tmp_path, splits, steps, finished):
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / METADATA_FILE))
    configuration = {"bulk_inference": {"splits": splits}}
    with metadata.Metadata(connection) as handle:
        kind = handle.store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
        context = metadata_store_pb2.Context(type_id=kind, name="20260101-000000")
        for step, state in {"Trainer": COMPLETE, **steps}.items():
            execution = execution_of(handle, step, state, configuration)
            handle.store.put_execution(execution, [], [context], reuse_context_if_already_exist=True)
    with metadata.Metadata(metadata_in(tmp_path)):
        (run,) = runs_in(tmp_path)
    assert run.finished == finished
