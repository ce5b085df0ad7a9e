"""How a training went, as it is written beside the model: imports no Keras, so that others may read it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

HISTORY = "history.json"
EFFECTIVE_FILE = "effective.json"
"""What the training was: its settings, and all that followed from them and the machine."""


@dataclass(frozen=True)
class ValidationResult:
    """How the network did on the eval split, while it was trained."""

    step: int
    """Optimisation steps that had been taken."""
    mean_iou: float
    iou: tuple[float | None, ...]
    """Of each class; None for one that neither labels nor predictions had."""
    loss: float
    """Of training, mean since the evaluation before."""
    learning_rate: float
    seconds: float
    """What the evaluation took."""
    reduced_rate: bool = False
    """Whether the learning rate was reduced after it (`hps.reduce_lr_factor`)."""


@dataclass(frozen=True)
class TrainingHistory:
    """How far training has come."""

    step: int = 0
    """Optimisation steps that were taken."""
    evaluations: tuple[ValidationResult, ...] = ()

    @property
    def best(self) -> ValidationResult | None:
        """The evaluation with the highest mean IoU, the first of equal ones."""
        return max(self.evaluations, key=lambda evaluation: evaluation.mean_iou, default=None)

    @property
    def evaluations_since_best(self) -> int:
        """How many there were after it."""
        return len(self.evaluations) - 1 - self.evaluations.index(self.best) if self.best else 0

    def ends_early(self, patience: int | None) -> bool:
        """Whether training ends here: `train.early_stopping` says after how many evaluations without a better one."""
        return patience is not None and self.evaluations_since_best >= patience

    @property
    def evaluations_without_progress(self) -> int:
        """How many there were after it, and after the rate was last reduced."""
        reduced = [index for index, evaluation in enumerate(self.evaluations) if evaluation.reduced_rate]
        since_reduced = len(self.evaluations) - 1 - reduced[-1] if reduced else len(self.evaluations)
        return min(self.evaluations_since_best, since_reduced)

    def until(self, step: int) -> TrainingHistory:
        """How far it had come after so many steps."""
        return TrainingHistory(step, tuple(evaluation for evaluation in self.evaluations if evaluation.step <= step))

    def with_evaluation(self, evaluation: ValidationResult) -> TrainingHistory:
        """The same with one more."""
        return TrainingHistory(evaluation.step, (*self.evaluations, evaluation))

    def with_reduced_rate(self) -> TrainingHistory:
        """The same, the rate having been reduced after the last evaluation."""
        *earlier, last = self.evaluations
        return dataclasses.replace(self, evaluations=(*earlier, dataclasses.replace(last, reduced_rate=True)))

    def to_json(self) -> str:
        """For people and for `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> TrainingHistory:
        """Of `to_json`."""
        values = json.loads(text)
        evaluations = (ValidationResult(**{**each, "iou": tuple(each["iou"])}) for each in values["evaluations"])
        return cls(values["step"], tuple(evaluations))
