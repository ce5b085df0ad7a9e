"""Which of the earlier runs' artifacts a run is compared with, or starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy

from components.pusher.versions import PUSHED_DESTINATION, PushError, origin_of_current
from trainer import files
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
            "model": _FINDERS[self._kind](store, others),
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
        found = (_FINDERS[kind](store, earlier) for kind in self._kinds)
        return {
            "model": next((models for models in found if models), []),
            # Put out, they would look as if the resolver had made them.
            "model_blessing": [],
            "infra_blessing": [],
            "pushed_model": [],
            "examples": input_dict["examples"],
        }


def _latest_blessed(store: mlmd.MetadataStore, among: dict[str, list[types.Artifact]]) -> list[types.Artifact]:
    """The last model that the Evaluator has blessed, of those that can be served.

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


def _latest_pushed(store: mlmd.MetadataStore, among: dict[str, list[types.Artifact]]) -> list[types.Artifact]:
    """The last of the models that a Pusher has taken which did push, or that which it was rolled back to."""
    artifacts = (artifact for artifact in among["pushed_model"] if artifact.get_int_custom_property("pushed"))
    pushed = sorted(artifacts, key=lambda artifact: artifact.id, reverse=True)
    for each in [*_rolled_back_to(pushed), *pushed]:
        taken = _inputs_of_producers(store, [each])
        if found := [model for model in among["model"] if model.id in taken]:
            return found
    return []


def _rolled_back_to(pushed: list[types.Artifact]) -> list[types.Artifact]:
    """The push whose model is the current version now where the last push went to, if that can be told."""
    destination = pushed[0].get_string_custom_property(PUSHED_DESTINATION) if pushed else ""
    if not destination:
        return []
    folder = destination.rpartition("/")[0]
    try:
        origin = origin_of_current(folder)
    except (PushError, OSError) as error:
        LOGGER.warning("whether the last pushed model was rolled back cannot be told: %s", error)
        return []
    place = files.join(folder, origin or "")
    return [each for each in pushed if each.get_string_custom_property(PUSHED_DESTINATION) == place]


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


def _inputs_of_producers(store: mlmd.MetadataStore, artifacts: list[types.Artifact]) -> set[int]:
    """The ids of the artifacts that the steps read which have made these."""
    if not artifacts:
        return set()
    produced = store.get_events_by_artifact_ids([artifact.id for artifact in artifacts])
    producers = [event.execution_id for event in produced if event.type == metadata_store_pb2.Event.OUTPUT]
    read = store.get_events_by_execution_ids(producers)
    return {event.artifact_id for event in read if event.type == metadata_store_pb2.Event.INPUT}
