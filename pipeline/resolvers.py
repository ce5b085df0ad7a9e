"""Which of the earlier runs' artifacts a run is compared with, or starts from."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy

from components.pusher.versions import NUMBER, PUSHED_DESTINATION, PushError, rollbacks
from trainer.settings import LATEST_BLESSED, LATEST_PUSHED

LOGGER = logging.getLogger(__name__)


class OtherModelStrategy(ResolverStrategy):
    """The latest blessed, or latest pushed, model that is not the candidate itself.

    TFX's `LatestBlessedModelStrategy` would give the candidate as its own baseline when a run is repeated: nothing
    would be compared, and the Evaluator, its inputs changed, would run again although nothing has changed.

    Args:
        kind: which of `trainer.settings.EARLIER_MODELS`.
    """

    def __init__(self, kind: str):
        self._kind = kind

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `model` to one artifact, or none; `candidate` stays as it is."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        others = {**input_dict, "model": [model for model in input_dict["model"] if model.id not in candidates]}
        return {
            "model": _FINDERS[self._kind](store, others, _made(store, input_dict["candidate"])),
            # Put out, they would look as if the resolver had made them.
            "model_blessing": [],
            "infra_blessing": [],
            "pushed_model": [],
            "candidate": input_dict["candidate"],
        }


class EarlierModelStrategy(ResolverStrategy):
    """The latest blessed, or latest pushed, model that was there before the examples.

    A repeated run, whose examples come from the cache, so starts from the same model as before, and need not train
    again; a new span starts from the last good model.

    Args:
        kinds: those of `trainer.settings.EARLIER_MODELS` that are looked for; the first that there is is taken.
    """

    def __init__(self, kinds: Sequence[str]):
        self._kinds = kinds

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `model` to one artifact, or none; `examples` stay as they are."""
        first = min(artifact.id for artifact in input_dict["examples"])
        earlier = {
            key: [artifact for artifact in artifacts if artifact.id < first] for key, artifacts in input_dict.items()
        }
        before = _made(store, input_dict["examples"])
        found = (_FINDERS[kind](store, earlier, before) for kind in self._kinds)
        return {
            "model": next((models for models in found if models), []),
            # Put out, they would look as if the resolver had made them.
            "model_blessing": [],
            "infra_blessing": [],
            "pushed_model": [],
            "examples": input_dict["examples"],
        }


def _latest_blessed(
    store: mlmd.MetadataStore, among: dict[str, list[types.Artifact]], _: float
) -> list[types.Artifact]:
    """The last model that the Evaluator has blessed, of those that can be served. Rolling back does not change it.

    The others were never pushed, and must not keep a model from being pushed that is better than what is served.
    """
    refused, accepted = (
        _inputs_of_producers(
            store, [each for each in among["infra_blessing"] if each.get_int_custom_property("blessed") == blessed]
        )
        for blessed in (0, 1)
    )
    servable = [model for model in among["model"] if model.id not in refused - accepted]
    given = {"model": servable, "model_blessing": among["model_blessing"]}
    resolved = LatestBlessedModelStrategy().resolve_artifacts(store, given)
    return resolved["model"] if resolved else []


def _latest_pushed(
    store: mlmd.MetadataStore, among: dict[str, list[types.Artifact]], before: float
) -> list[types.Artifact]:
    """The last of the models that a Pusher has taken which did push, and that was not rolled back from by then."""
    pushed = [artifact for artifact in among["pushed_model"] if artifact.get_int_custom_property("pushed")]
    for each in sorted(pushed, key=lambda artifact: artifact.id, reverse=True):
        taken = _inputs_of_producers(store, [each])
        found = [model for model in among["model"] if model.id in taken]
        if found and not _is_rolled_back(each, before):
            return found
    return []


def _is_rolled_back(pushed: types.Artifact, before: float) -> bool:
    """Whether the last rollback before a time, in seconds since 1970, went back behind what was pushed."""
    folder, _, version = pushed.get_string_custom_property(PUSHED_DESTINATION).rpartition("/")
    if not re.fullmatch(NUMBER, version):
        return False
    try:
        origins = rollbacks(folder)
    except (PushError, OSError) as error:
        LOGGER.warning("whether version %s was rolled back from cannot be told: %s", version, error)
        return False
    # A version's number is the time when it was made.
    last = max((int(made) for made in origins if int(made) < before), default=None)
    return last is not None and int(origins[str(last)]) < int(version) < last


_FINDERS = {LATEST_BLESSED: _latest_blessed, LATEST_PUSHED: _latest_pushed}


class PreviousStatisticsStrategy(ResolverStrategy):
    """The statistics of the newest span before this run's, or of the same span as it was before.

    Only statistics older than this run's come into question. A repeated run, whose own statistics come from the cache,
    so finds the same ones again, whatever has run since, and the steps after it need not run again. Statistics that the
    validator has stopped a run at are passed over: mended data are not to be compared with what was refused.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `statistics` to one artifact, or none; `current` and `anomalies` stay as they are."""
        (current,) = input_dict["current"]
        validated = _inputs_of_producers(store, input_dict["anomalies"])
        earlier = [
            artifact
            for artifact in input_dict["statistics"]
            if artifact.id < current.id and artifact.span <= current.span and artifact.id in validated
        ]
        latest = max(earlier, key=lambda artifact: (artifact.span, artifact.id), default=None)
        return {**input_dict, "statistics": [] if latest is None else [latest]}


def _made(store: mlmd.MetadataStore, artifacts: list[types.Artifact]) -> float:
    """When the first of them was made, in seconds since 1970."""
    found = store.get_artifacts_by_id([artifact.id for artifact in artifacts])
    return min(artifact.create_time_since_epoch for artifact in found) / 1000


def _inputs_of_producers(store: mlmd.MetadataStore, artifacts: list[types.Artifact]) -> set[int]:
    """The ids of the artifacts that the steps read which have made these."""
    if not artifacts:
        return set()
    produced = store.get_events_by_artifact_ids([artifact.id for artifact in artifacts])
    producers = [event.execution_id for event in produced if event.type == metadata_store_pb2.Event.OUTPUT]
    read = store.get_events_by_execution_ids(producers)
    return {event.artifact_id for event in read if event.type == metadata_store_pb2.Event.INPUT}
