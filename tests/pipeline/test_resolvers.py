"""What a run finds of earlier ones, by a metadata store in memory."""

import shutil
import time

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from components.pusher.versions import push, rollback
from pipeline import resolvers
from pipeline.resolvers import EarlierModelStrategy, OtherModelStrategy, PreviousStatisticsStrategy


@pytest.fixture
def store() -> mlmd.MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()
    return mlmd.MetadataStore(connection)


def recorded(store: mlmd.MetadataStore, artifact_class: type, span: int | None = None, **properties: int):
    """An artifact that the store holds."""
    artifact = artifact_class()
    if span is not None:
        artifact.span = span
    for name, value in properties.items():
        artifact.set_int_custom_property(name, value)
    artifact.type_id = store.put_artifact_type(artifact.artifact_type)
    (artifact.id,) = store.put_artifacts([artifact.mlmd_artifact])
    return artifact


def executed(store: mlmd.MetadataStore, step: str, read, wrote) -> None:
    """A step that has read one artifact and written another."""
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name=step))
    (execution,) = store.put_executions([metadata_store_pb2.Execution(type_id=kind)])
    kinds = {read.id: metadata_store_pb2.Event.INPUT, wrote.id: metadata_store_pb2.Event.OUTPUT}
    store.put_events(
        metadata_store_pb2.Event(artifact_id=artifact, execution_id=execution, type=kind)
        for artifact, kind in kinds.items()
    )


def validated(store: mlmd.MetadataStore, statistics):
    """What a validator published that has read these."""
    anomalies = recorded(store, standard_artifacts.ExampleAnomalies, statistics.span)
    executed(store, "ExampleValidator", statistics, anomalies)
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


class Runs:
    """What runs leave: examples and a model each, and whether it was blessed and pushed."""

    def __init__(self, store: mlmd.MetadataStore):
        self._store = store
        self.examples, self._models, self._blessings, self._infra, self._pushed = [], [], [], [], []

    def add(self, *, blessed: bool, pushed: bool, servable: bool = True, examples=None) -> None:
        """Args: examples: those of an earlier run, from the cache; without them, new ones."""
        self.examples.append(examples or recorded(self._store, standard_artifacts.Examples, 1))
        model = recorded(self._store, standard_artifacts.Model)
        judged = {"blessed": int(blessed), "current_model_id": model.id}
        self._models.append(model)
        self._blessings.append(recorded(self._store, standard_artifacts.ModelBlessing, **judged))
        self.tried_out(model, servable=servable)
        pushed_model = recorded(self._store, standard_artifacts.PushedModel, pushed=int(pushed))
        executed(self._store, "Pusher", model, pushed_model)
        self._pushed.append(pushed_model)

    def tried_out(self, model, *, servable: bool) -> None:
        """As an InfraValidator does."""
        infra_blessing = recorded(self._store, standard_artifacts.InfraBlessing, blessed=int(servable))
        executed(self._store, "InfraValidator", model, infra_blessing)
        self._infra.append(infra_blessing)

    def taken(self, examples, *kinds: str) -> int | None:
        """Which run's model a run with these examples starts from."""
        resolved = EarlierModelStrategy(kinds).resolve_artifacts(self._store, self._given(examples=[examples]))
        assert resolved["examples"] == [examples]
        return self._index(resolved)

    def baseline(self, run: int, kind: str) -> int | None:
        """Which run's model this run's is compared with."""
        candidate = [self._models[run]]
        resolved = OtherModelStrategy(kind).resolve_artifacts(self._store, self._given(candidate=candidate))
        assert resolved["candidate"] == candidate
        return self._index(resolved)

    def _given(self, **more: list) -> dict[str, list]:
        return {
            "model": list(self._models),
            "model_blessing": list(self._blessings),
            "infra_blessing": list(self._infra),
            "pushed_model": list(self._pushed),
            **more,
        }

    def _index(self, resolved: dict[str, list]) -> int | None:
        assert len(resolved["model"]) <= 1
        return next((self._models.index(model) for model in resolved["model"]), None)


@pytest.fixture
def runs(store) -> Runs:
    return Runs(store)


def next_examples(store):
    return recorded(store, standard_artifacts.Examples, 2)


def test_the_first_run_finds_no_model(runs, store):
    assert runs.taken(next_examples(store), "latest_blessed", "latest_pushed") is None


def test_the_last_model_that_was_blessed_and_the_last_that_was_pushed(runs, store):
    runs.add(blessed=True, pushed=True)
    runs.add(blessed=True, pushed=False)
    runs.add(blessed=False, pushed=False)
    examples = next_examples(store)
    assert runs.taken(examples, "latest_blessed") == 1
    assert runs.taken(examples, "latest_pushed") == 0


def test_the_first_kind_that_there_is(runs, store):
    runs.add(blessed=True, pushed=False)
    examples = next_examples(store)
    assert runs.taken(examples, "latest_pushed") is None
    assert runs.taken(examples, "latest_pushed", "latest_blessed") == 0


@pytest.mark.parametrize("kind", ["latest_blessed", "latest_pushed"])
def test_a_repeated_run_starts_from_what_it_started_from_at_first(runs, store, kind):
    """Its examples come from the cache, whatever it and others have made since."""
    runs.add(blessed=True, pushed=True)
    runs.add(blessed=True, pushed=True)
    second = runs.examples[1]
    assert runs.taken(second, kind) == 0
    runs.add(blessed=True, pushed=True, examples=second)
    assert runs.taken(second, kind) == 0
    assert runs.taken(runs.examples[0], kind) is None
    assert runs.taken(next_examples(store), kind) == 2


def test_a_model_that_is_pushed_anew_is_the_last_pushed_again(runs, store):
    """As after another gate: judged and pushed once more, it is the newest version that is served."""
    runs.add(blessed=True, pushed=True)
    runs.add(blessed=True, pushed=True)
    again = recorded(store, standard_artifacts.PushedModel, pushed=1)
    executed(store, "Pusher", runs._models[0], again)
    runs._pushed.append(again)
    assert runs.taken(next_examples(store), "latest_pushed") == 0
    assert runs.taken(next_examples(store), "latest_blessed") == 1


def test_after_a_rollback_the_last_pushed_is_what_it_went_back_to(runs, store, tmp_path, monkeypatch):
    """For new data, that is: a repeated run finds what it has found before."""
    served, model = str(tmp_path / "served"), tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").touch()
    made: dict[int, int] = {}
    now = 1_000_000_000
    monkeypatch.setattr(time, "time", lambda: float(now))
    monkeypatch.setattr(resolvers, "_made", lambda _, artifacts: min(made[artifact.id] for artifact in artifacts))

    def new_examples():
        nonlocal now
        now += 60
        examples = next_examples(store)
        made[examples.id] = now
        return examples

    def add_pushed(examples) -> None:
        nonlocal now
        runs.add(blessed=True, pushed=True, examples=examples)
        now += 60
        made[runs._models[-1].id] = now
        runs._pushed[-1].set_string_custom_property("pushed_destination", f"{served}/{push(str(model), served)}")

    for _ in range(3):
        add_pushed(new_examples())
    third = runs.examples[2]
    assert runs.taken(third, "latest_pushed") == 1
    assert runs.taken(new_examples(), "latest_pushed") == 2
    now += 60
    rollback(served)
    assert runs.taken(third, "latest_pushed") == runs.baseline(2, "latest_pushed") == 1
    fourth = new_examples()
    assert runs.taken(fourth, "latest_pushed") == 1
    add_pushed(fourth)
    assert runs.taken(fourth, "latest_pushed") == runs.baseline(3, "latest_pushed") == 1
    assert runs.taken(new_examples(), "latest_pushed") == 3
    # Of a folder that is gone, or tells nothing, none is known to be rolled back from.
    (tmp_path / "served/latest.json").write_text("{")
    assert runs.taken(fourth, "latest_pushed") == 2
    shutil.rmtree(served)
    assert runs.taken(fourth, "latest_pushed") == 2


def test_the_store_knows_when_examples_were_made(store):
    before = time.time()
    assert abs(resolvers._made(store, [next_examples(store), next_examples(store)]) - before) < 60


def test_a_model_is_compared_with_the_last_other_good_one(runs):
    runs.add(blessed=True, pushed=True)
    runs.add(blessed=True, pushed=False)
    runs.add(blessed=False, pushed=False)
    assert runs.baseline(2, "latest_blessed") == 1
    assert runs.baseline(2, "latest_pushed") == 0


@pytest.mark.parametrize("kind", ["latest_blessed", "latest_pushed"])
def test_a_repeated_run_does_not_compare_a_model_with_itself(runs, kind):
    runs.add(blessed=True, pushed=True)
    assert runs.baseline(0, kind) is None
    runs.add(blessed=True, pushed=True)
    assert runs.baseline(1, kind) == 0


def test_a_model_that_could_not_be_served_is_no_bar_for_others(runs):
    runs.add(blessed=True, pushed=True)
    runs.add(blessed=True, servable=False, pushed=False)
    runs.add(blessed=True, pushed=True)
    assert runs.baseline(2, "latest_blessed") == 0
    # Once its limits are raised it is one like others.
    runs.tried_out(runs._models[1], servable=True)
    assert runs.baseline(2, "latest_blessed") == 1
