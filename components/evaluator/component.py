"""TFX's Evaluator with an executor of our own."""

from __future__ import annotations

from tfx.components.evaluator import component
from tfx.dsl.components.base import executor_spec

from components.evaluator import executor


class Evaluator(component.Evaluator):
    """TFX's Evaluator, which compares with no model that is for other classes."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
