"""VocExampleGen's specification."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.voc_example_gen import driver, executor

EXAMPLES = "examples"
INPUT_BASE = "input_base"
SPLITS = "splits"
NUM_CLASSES = "num_classes"


class VocExampleGenSpec(types.ComponentSpec):
    """What VocExampleGen is given and gives."""

    PARAMETERS = {
        INPUT_BASE: component_spec.ExecutionParameter(type=str),
        SPLITS: component_spec.ExecutionParameter(type=str),
        NUM_CLASSES: component_spec.ExecutionParameter(type=int),
    }
    INPUTS: dict = {}
    OUTPUTS = {EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class VocExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests a Pascal VOC devkit into TFRecords of tf.Examples, with the keys of `trainer.features`.

    Each split is what one official list file names. JPEGs are kept byte by byte; masks become one-channel PNGs of
    class indices. It runs again whenever a list, a picture or a mask that a list names has changed.
    """

    SPEC_CLASS = VocExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, input_base: str, splits: Mapping[str, Mapping[str, str]], num_classes: int):
        """Configures the component.

        Args:
            input_base: the devkit's folder, such as `VOCdevkit/VOC2012`.
            splits: for each split, `list` (a file of `ImageSets/Segmentation`, without `.txt`) and `masks` (the
                folder of the masks).
            num_classes: classes that the masks may name.
        """
        examples = types.Channel(type=standard_artifacts.Examples)
        super().__init__(
            spec=VocExampleGenSpec(
                **{
                    INPUT_BASE: input_base,
                    SPLITS: json.dumps(splits, sort_keys=True),
                    NUM_CLASSES: num_classes,
                    EXAMPLES: examples,
                }
            )
        )
