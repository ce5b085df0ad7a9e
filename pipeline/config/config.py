"""The configuration: one YAML or JSON file, typed. Importing this module must stay cheap: no TensorFlow, no TFX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)

from components.evaluator.slices import wrong_value
from components.segmentation_example_gen.sources import Data
from components.segmentation_example_gen.sources.source import Folder as StoreFolder
from components.segmentation_example_gen.sources.source import Source
from components.segmentation_example_gen.sources.voc import VocData
from pipeline.config.kubeflow import ROOT_SCHEMES, Kubeflow
from pipeline.config.sections import Beam, BulkInference, Eval, Export, InfraValidation
from schema.labels import BACKGROUND
from schema.section import Integer, Positive, Section
from trainer.common.files import is_remote
from trainer.settings import (
    IMAGENET,
    NAMED_WEIGHTS,
    Augmentation,
    BackboneName,
    Hps,
    NNArch,
    Train,
    TrainerSettings,
    TransformSettings,
)


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("a folder's name is wanted")
    return value


def _pushable(value: str) -> str:
    if is_remote(value) and not value.startswith(ROOT_SCHEMES):
        raise ValueError(f"it must be a path, or a URI of {', '.join(ROOT_SCHEMES)}")
    return value


IMAGENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
"""MobileNetV2's widths that Keras has pretrained weights for."""


class ConfigError(ValueError):
    """The configuration is wrong; the message names file, key, value found and what is allowed."""


Folder = Annotated[Path, BeforeValidator(_not_empty)]


class DataValidation(Section):
    """What is made of departures from the schema, of train from eval, and of the data from the last span's."""

    stop_on_anomalies: Annotated[bool, Strict()] = False
    """Whether they stop the pipeline before training; otherwise they are told. `schema/` holds the thresholds."""


class Push(Section):
    """Where blessed models go."""

    directory: Annotated[StoreFolder, AfterValidator(_pushable)] | None = None
    """One folder per version is made in it; a path, or a URI of gs://, s3:// or minio://. Without it: `serving_model`
    in the output folder, or in the pipeline's folder under `kubeflow.root`."""
    keep_versions: Positive | None = None
    """How many of the newest versions stay; each push removes those before them, but never the current one. Unset: all
    stay. With 1 there is nothing to roll back to."""


class Config(Section):
    """An experiment, from data to pushed model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$", max_length=63)]
    """Of the experiment, and of the pipeline in its metadata."""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 0
    """Of everything random: the same seed gives the same weights on the same CPU."""
    base_model: BackboneName
    """The backbone: `MobileNetV2` (or 0), `Xception` (or 1), `ResNet50`, `ResNet101`, `DenseNet121`, `DenseNet169`,
    `DenseNet201`, `EfficientNetB0` to `EfficientNetB7`, `NASNetMobile` or `NASNetLarge`."""
    nn_arch: NNArch = NNArch()
    hps: Hps = Hps()
    augmentation: Augmentation = Augmentation()
    train: Train = Train()
    data: Data = VocData()
    validation: DataValidation = DataValidation()
    eval: Eval = Eval()
    infra_validation: InfraValidation = InfraValidation()
    export: Export = Export()
    push: Push = Push()
    bulk_inference: BulkInference = BulkInference()
    beam: Beam = Beam()
    kubeflow: Kubeflow = Kubeflow()
    output: Folder | None = None
    """Everything a run writes goes here. `--output` sets it; without either: `runs/<name>`."""

    @model_validator(mode="wrap")
    @classmethod
    def _classes_of_the_data(cls, values: Any, handler: ModelWrapValidatorHandler[Config]) -> Config:
        """Takes the number of classes from the data's description, or refuses another."""
        config = handler(values)
        classes = len(config.data.labels.classes)
        if "num_classes" not in config.nn_arch.model_fields_set:
            return config.model_copy(update={"nn_arch": config.nn_arch.model_copy(update={"num_classes": classes})})
        if config.nn_arch.num_classes != classes:
            raise ValueError(
                f"nn_arch.num_classes is {config.nn_arch.num_classes}, but data.labels names {classes} classes; leave "
                "num_classes out, or state the classes"
            )
        return config

    @model_validator(mode="after")
    def _thresholds_are_of_what_there_is(self) -> Config:
        names = self.data.labels.names
        if unknown := [name for name in self.eval.min_iou if name not in names]:
            raise ValueError(
                f"eval.min_iou: found {unknown[0]!r}, which is no class of data.labels; there are {', '.join(names)}"
            )
        for name, floors in self.eval.min_slice_mean_iou.items():
            for value in floors:
                if wrong := wrong_value(name, value, names):
                    raise ValueError(f"eval.min_slice_mean_iou.{name}: found {value!r}; {wrong}")
        return self

    @model_validator(mode="after")
    def _predicted_splits_are_there(self) -> Config:
        there = self.data.split_names()
        if unknown := [name for name in self.bulk_inference.splits if name not in there]:
            raise ValueError(
                f"bulk_inference.splits: found {unknown[0]!r}, which data.splits does not have; there are "
                f"{', '.join(there)}"
            )
        return self

    @model_validator(mode="after")
    def _objects_can_be_told_from_background(self) -> Config:
        if self.augmentation.copy_paste and BACKGROUND not in self.data.labels.names:
            raise ValueError(
                f"augmentation.copy_paste pastes what is not the class {BACKGROUND}, and data.labels has no class of "
                "that name; leave copy_paste out, or name the class so"
            )
        return self

    @model_validator(mode="after")
    def _imagenet_weights_exist(self) -> Config:
        alpha = self.nn_arch.mv2_depth_multiplier
        if self.base_model == "MobileNetV2" and self.train.weights == IMAGENET and alpha not in IMAGENET_ALPHAS:
            raise ValueError(
                f"nn_arch.mv2_depth_multiplier is {alpha}, for which there are no ImageNet weights; with "
                f"train.init_from imagenet it must be one of {', '.join(map(str, IMAGENET_ALPHAS))}"
            )
        return self

    @model_validator(mode="after")
    def _output_strides_fit(self) -> Config:
        settings = self.trainer_settings()
        _ = settings.training_arch, settings.exported_arch
        return self

    @model_validator(mode="after")
    def _batch_is_large_enough(self) -> Config:
        self.trainer_settings().check_share()
        return self

    @model_validator(mode="after")
    def _warm_start_fits(self) -> Config:
        try:
            self.train.warm_start.applied_to(self.hps)
        except ValidationError as error:
            reasons = "; ".join(details["msg"].removeprefix("Value error, ") for details in error.errors())
            raise ValueError(f"train.warm_start does not fit hps: {reasons}") from error
        return self

    @property
    def data_source(self) -> Source:
        """The data set.

        Raises:
            ConfigError: it is said nowhere where it lies.
        """
        if self.data.place is None:
            raise ConfigError("no data folder: give --data DIR, or data.root in the configuration")
        return self.data

    @property
    def output_directory(self) -> Path:
        """The output folder, absolute."""
        return (self.output or Path("runs", self.name)).expanduser().resolve()

    def trainer_settings(self) -> TrainerSettings:
        """The part that the Trainer reads."""
        return TrainerSettings(
            seed=self.seed,
            base_model=self.base_model,
            nn_arch=self.nn_arch,
            hps=self.hps,
            augmentation=self.augmentation,
            labels=self.data.labels,
            train=self.train.model_copy(
                update={
                    "init_from": _absolute_weights(self.train),
                    "checkpoints": self.train.checkpoints and _absolute(self.train.checkpoints),
                }
            ),
            eval_output_stride=(self.eval.output_stride or self.train.output_stride or self.nn_arch.output_stride),
        )

    def transform_settings(self) -> TransformSettings:
        """The part that Transform reads."""
        return TransformSettings(base_model=self.base_model, image_size=self.nn_arch.image_size)


def _absolute_weights(train: Train) -> tuple[str, ...]:
    if train.weights in NAMED_WEIGHTS:
        return train.init_from
    return (*train.earlier_models, _absolute(train.weights))


def _absolute(place: str) -> str:
    return place if is_remote(place) else str(Path(place).expanduser().resolve())
