"""How a run on Kubeflow finds what earlier runs left: by records in the object store.

Kubeflow runs no resolvers, and its metadata store is to go away; what lies in the bucket stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode

from kubeflow.run_record.component import PreviousRun, RunRecord
from pipeline.config.config import Config


class EarlierRunsInBucket:
    """PreviousRun as the first step and RunRecord as the last. A `pipeline.earlier_runs.EarlierRuns`."""

    def __init__(self, config: Config, records: str, pushed_models: str):
        """Makes the first step.

        Args:
            config: the experiment.
            records: URI or path of the folder of records.
            pushed_models: URI or path of the folder of pushed models.
        """
        self._config = config
        self._records = records
        self._previous = PreviousRun(records=records, pushed_models=pushed_models)

    def last_statistics(self, current: types.BaseChannel) -> types.BaseChannel:
        """The statistics of the last run that finished."""
        return self._previous.outputs["statistics"]

    def last_model(self, examples: types.BaseChannel, kinds: Sequence[str]) -> types.BaseChannel:
        """The last model that was pushed, whichever is asked for."""
        return self._previous.outputs["model"]

    def baseline_model(self, candidate: types.BaseChannel, kind: str) -> types.BaseChannel:
        """The last model that was pushed, whichever is asked for."""
        return self._previous.outputs["model"]

    def nodes(self, outcome: Sequence[BaseComponent]) -> Sequence[BaseNode]:
        """Both steps."""
        example_gen, statistics_gen, evaluator, infra_validator, pusher = outcome
        # It has to know what the last run learnt from, to tell whether there is anything new.
        example_gen.add_upstream_node(self._previous)
        record = RunRecord(
            records=self._records,
            warm_start=bool(self._config.train.earlier_models),
            statistics=statistics_gen.outputs["statistics"],
            evaluation=evaluator.outputs["evaluation"],
            infra_blessing=infra_validator.outputs["blessing"],
            pushed_model=pusher.outputs["pushed_model"],
        )
        return [self._previous, record]
