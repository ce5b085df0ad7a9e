"""Where a run finds what earlier runs left: statistics to compare with, models to start from and to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.types import standard_artifacts

from pipeline.resolvers import EarlierModelStrategy, OtherModelStrategy, PreviousStatisticsStrategy
from pipeline.steps import BASELINE_MODEL, LAST_MODEL, PREVIOUS_STATISTICS


class EarlierRuns(Protocol):
    """Puts the steps into the graph that bring in what earlier runs left, any of which may be missing."""

    def last_statistics(self, current: types.BaseChannel) -> types.BaseChannel:
        """`ExampleStatistics` of an earlier run; `current` are this run's."""

    def last_model(self, examples: types.BaseChannel, kinds: Sequence[str]) -> types.BaseChannel:
        """The `Model` to start from.

        Args:
            examples: this run's.
            kinds: those of `trainer.settings.EARLIER_MODELS` that are looked for, in this order.
        """

    def baseline_model(self, candidate: types.BaseChannel, kind: str) -> types.BaseChannel:
        """The `Model` to be compared with.

        Args:
            candidate: this run's.
            kind: which of `trainer.settings.EARLIER_MODELS`.
        """

    def nodes(self, outcome: Sequence[BaseComponent]) -> Sequence[BaseNode]:
        """All steps that are put in, those included that keep the outcome for later runs.

        Args:
            outcome: this run's SegmentationExampleGen, StatisticsGen, Evaluator, InfraValidator and Pusher.
        """


class EarlierRunsInMetadata:
    """Asks the metadata store of runs on one machine."""

    def __init__(self) -> None:
        self._nodes: list[BaseNode] = []

    def last_statistics(self, current: types.BaseChannel) -> types.BaseChannel:
        """The statistics of the newest span before this run's that passed validation."""
        return self._add(
            Resolver(
                strategy_class=PreviousStatisticsStrategy,
                current=current,
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            ).with_id(PREVIOUS_STATISTICS)
        ).outputs["statistics"]

    def last_model(self, examples: types.BaseChannel, kinds: Sequence[str]) -> types.BaseChannel:
        """The last model that was blessed, or pushed, before these examples were made."""
        return self._add(
            Resolver(
                strategy_class=EarlierModelStrategy,
                config={"kinds": list(kinds)},
                model=types.Channel(type=standard_artifacts.Model),
                model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
                infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
                examples=examples,
            ).with_id(LAST_MODEL)
        ).outputs["model"]

    def baseline_model(self, candidate: types.BaseChannel, kind: str) -> types.BaseChannel:
        """The last other model that was blessed, or pushed."""
        return self._add(
            Resolver(
                strategy_class=OtherModelStrategy,
                config={"kind": kind},
                model=types.Channel(type=standard_artifacts.Model),
                model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
                infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
                candidate=candidate,
            ).with_id(BASELINE_MODEL)
        ).outputs["model"]

    def nodes(self, outcome: Sequence[BaseComponent]) -> Sequence[BaseNode]:
        """The resolvers. The metadata store keeps the outcome by itself."""
        return self._nodes

    def _add(self, node: BaseNode) -> BaseNode:
        self._nodes.append(node)
        return node
