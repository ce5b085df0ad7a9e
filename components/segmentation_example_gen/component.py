"""SegmentationExampleGen's specification."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts.types import DataProblems
from components.segmentation_example_gen import driver, executor
from components.segmentation_example_gen.sources import Source

DATA = "data"
PROBLEM_FOLDER = "problem_folder"


class SegmentationExampleGenSpec(types.ComponentSpec):
    """What SegmentationExampleGen is given and gives."""

    PARAMETERS = {
        DATA: component_spec.ExecutionParameter(type=str),
        PROBLEM_FOLDER: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {
        driver.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.PROBLEMS: component_spec.ChannelParameter(type=DataProblems),
    }


class SegmentationExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests pictures and masks into TFRecords of tf.Examples, with the keys of `schema.features`.

    JPEGs and PNGs are kept byte by byte; masks of whatever kind become one-channel PNGs of class indices. It runs again
    whenever a list, a picture or a mask that is read has changed, or a new span is there.
    """

    SPEC_CLASS = SegmentationExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, data: Source, problem_folder: str):
        """Configures the component.

        Args:
            data: the data set, of any kind of `sources`.
            problem_folder: path or URI of the folder that the page of problems is written to if the data are refused,
                when there is no artifact to keep it in.
        """
        super().__init__(
            spec=SegmentationExampleGenSpec(
                **{
                    DATA: data.model_dump_json(),
                    PROBLEM_FOLDER: problem_folder,
                    driver.EXAMPLES: types.Channel(type=standard_artifacts.Examples),
                    executor.PROBLEMS: types.Channel(type=DataProblems),
                }
            )
        )
