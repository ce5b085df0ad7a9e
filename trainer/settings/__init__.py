"""The part of the configuration that Transform and Trainer read, typed.

`nn_arch`, `hps` and `base_model` carry the names of the small Keras project that this one continues.
"""

from __future__ import annotations

from schema.labels import Labels
from schema.section import Section
from trainer.settings.augmentation import Augmentation
from trainer.settings.hyperparameters import Hps
from trainer.settings.network import BACKBONE_NUMBERS, ENCODER_MIDDLES, BackboneName, Branch, NNArch, OutputStride
from trainer.settings.training import (
    EARLIER_MODELS,
    IMAGENET,
    LATEST_BLESSED,
    LATEST_PUSHED,
    LOSS_OPTIONS,
    NAMED_WEIGHTS,
    RUN_OPTIONS,
    RUN_OPTIONS_VARIABLE,
    LossTerm,
    Train,
    WarmStart,
    with_run_options,
)

__all__ = [
    "BACKBONE_NUMBERS",
    "EARLIER_MODELS",
    "ENCODER_MIDDLES",
    "IMAGENET",
    "LATEST_BLESSED",
    "LATEST_PUSHED",
    "LOSS_OPTIONS",
    "NAMED_WEIGHTS",
    "RUN_OPTIONS",
    "RUN_OPTIONS_VARIABLE",
    "Augmentation",
    "BackboneName",
    "Branch",
    "Hps",
    "LossTerm",
    "NNArch",
    "OutputStride",
    "Train",
    "TrainerSettings",
    "TransformSettings",
    "WarmStart",
    "with_run_options",
]


class TransformSettings(Section):
    """What Transform's `preprocessing_fn` reads. A change here runs Transform again, and what follows."""

    base_model: BackboneName
    image_size: int


class TrainerSettings(Section):
    """What Trainer's `run_fn` reads. A change here runs Trainer again, and what follows."""

    seed: int
    base_model: BackboneName
    nn_arch: NNArch
    hps: Hps
    augmentation: Augmentation
    train: Train
    labels: Labels
    """What the masks mean; it travels with the model."""
    eval_output_stride: OutputStride
    """Of the network in the SavedModel."""

    def check_share(self, replicas: int = 1) -> None:
        """Makes sure that each replica has, at a time, as many pictures as the augmentation takes.

        Raises:
            ValueError: it has fewer.
        """
        parts = replicas * self.hps.micro_batches
        if self.augmentation.copy_paste and self.hps.batch_size < 2 * parts:
            raise ValueError(
                "augmentation.copy_paste pastes from one picture onto another, but hps.batch_size "
                f"{self.hps.batch_size} in {parts} parts (hps.micro_batches, or one for each device) "
                "has parts of a single picture; raise the batch size, or leave copy_paste out"
            )

    @property
    def training_arch(self) -> NNArch:
        """The network as it is trained."""
        arch = self.nn_arch.at_image_size(self.train.crop_size or self.nn_arch.image_size)
        return arch.at_output_stride(self._training_stride)

    @property
    def exported_arch(self) -> NNArch:
        """The network as it is judged and served."""
        return self.nn_arch.at_output_stride(self._training_stride).at_output_stride(self.eval_output_stride)

    @property
    def _training_stride(self) -> OutputStride:
        return self.train.output_stride or self.nn_arch.output_stride
