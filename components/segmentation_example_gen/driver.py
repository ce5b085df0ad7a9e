"""SegmentationExampleGen's driver: looks at the data before the cache is asked."""

from __future__ import annotations

import copy

from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.artifacts.names import FINGERPRINT, SPANS
from components.segmentation_example_gen.dataset import hand_on, handed_on_dataset
from components.segmentation_example_gen.pairs import fingerprint
from components.segmentation_example_gen.sources import DATA

EXAMPLES = "examples"
SPAN = "span"


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds the span and a fingerprint of the data's contents to the execution properties, and so to the cache's key.

    TFX's own driver fingerprints the files that match a split's pattern, which for most data sets is a list alone: a
    picture or mask that changed would go unseen.
    """

    def __init__(self, metadata_handle: metadata.Metadata):
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the execution properties and the output artifacts, both with span and fingerprint.

        Raises:
            DataError: there are no data that could be read; see `read_dataset`.
        """
        source = DATA.validate_json(execution_info.exec_properties["data"])
        dataset = handed_on_dataset(source)
        contents = fingerprint(dataset.splits, dataset.problems)
        # What the executor ingests is what the fingerprint is of.
        hand_on(dataset, source, contents)
        found = {FINGERPRINT: contents, SPAN: max(dataset.spans, default=0)}
        output = driver_output_pb2.DriverOutput()
        for key, value in {**execution_info.exec_properties, **found}.items():
            data_types_utils.set_metadata_value(output.exec_properties[key], value)
        for key, (given,) in execution_info.output_dict.items():
            artifact = copy.deepcopy(given.mlmd_artifact)
            if key == EXAMPLES:
                artifact.custom_properties[FINGERPRINT].string_value = contents
                artifact.custom_properties[SPANS].string_value = ", ".join(map(str, dataset.spans))
                artifact.properties[SPAN].int_value = max(dataset.spans, default=0)
            output.output_artifacts[key].artifacts.append(artifact)
        return output
