"""Which model the Evaluator compares the new one with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy


class LatestOtherBlessedModelStrategy(ResolverStrategy):
    """The latest blessed model that is not the candidate itself.

    TFX's `LatestBlessedModelStrategy` would give the candidate as its own baseline when a run is repeated: nothing
    would be compared, and the Evaluator, its inputs changed, would run again although nothing has changed.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Resolves `model` and `model_blessing` to one artifact each, or none; `candidate` stays as it is."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        others = {
            "model": [artifact for artifact in input_dict["model"] if artifact.id not in candidates],
            "model_blessing": list(input_dict["model_blessing"]),
        }
        resolved = LatestBlessedModelStrategy().resolve_artifacts(store, others)
        return {**(resolved or {"model": [], "model_blessing": []}), "candidate": input_dict["candidate"]}
