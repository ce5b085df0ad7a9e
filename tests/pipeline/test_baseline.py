"""Which statistics a run's are compared with, by a metadata store in memory."""

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from pipeline.baseline import PreviousStatisticsStrategy


@pytest.fixture
def store() -> mlmd.MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()
    return mlmd.MetadataStore(connection)


def recorded(store: mlmd.MetadataStore, artifact_class: type, span: int):
    """An artifact that the store holds."""
    artifact = artifact_class()
    artifact.span = span
    artifact.type_id = store.put_artifact_type(artifact.artifact_type)
    (artifact.id,) = store.put_artifacts([artifact.mlmd_artifact])
    return artifact


def validated(store: mlmd.MetadataStore, statistics):
    """What a validator published that has read these."""
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="ExampleValidator"))
    anomalies = recorded(store, standard_artifacts.ExampleAnomalies, statistics.span)
    (execution,) = store.put_executions([metadata_store_pb2.Execution(type_id=kind)])
    kinds = {statistics.id: metadata_store_pb2.Event.INPUT, anomalies.id: metadata_store_pb2.Event.OUTPUT}
    store.put_events(
        metadata_store_pb2.Event(artifact_id=artifact, execution_id=execution, type=kind)
        for artifact, kind in kinds.items()
    )
    return anomalies


@pytest.mark.parametrize(
    ("spans", "current", "resolved"),
    [
        pytest.param([0], 0, None, id="the first run has none"),
        pytest.param([1, 2], 1, 0, id="the span before"),
        pytest.param([1, 1], 1, 0, id="the same span, as it was before"),
        pytest.param([2, 1, 3], 2, 0, id="the newest span, not the last run"),
        pytest.param([3, 2], 1, None, id="no later span"),
        pytest.param([1, 1, 1], 1, 0, id="a repeated run finds what it found at first"),
        pytest.param([1, -2, 2], 2, 0, id="data that a run has stopped at are passed over"),
    ],
)
def test_previous_statistics(store, spans, current, resolved):
    """A negative span stands for one that no anomalies were published of."""
    statistics = [recorded(store, standard_artifacts.ExampleStatistics, abs(span)) for span in spans]
    anomalies = [validated(store, each) for each, span in zip(statistics, spans, strict=True) if span >= 0]
    given = {"current": [statistics[current]], "statistics": statistics, "anomalies": anomalies}
    result = PreviousStatisticsStrategy().resolve_artifacts(store, given)
    assert [artifact.id for artifact in result["statistics"]] == ([] if resolved is None else [statistics[resolved].id])
    assert result["current"] == given["current"]
