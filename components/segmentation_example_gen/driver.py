"""SegmentationExampleGen's driver: looks at the data before the cache is asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.artifacts.names import FINGERPRINT, SPANS
from components.segmentation_example_gen.dataset import DataSet, read_dataset
from components.segmentation_example_gen.pairs import fingerprint
from components.segmentation_example_gen.sources import DATA

EXAMPLES = "examples"
SPAN = "span"

_LISTED: dict[tuple[str, str], DataSet] = {}
"""What the driver has listed last, by the configuration and the fingerprint: the executor follows in this process."""


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
        data = execution_info.exec_properties["data"]
        dataset = read_dataset(DATA.validate_json(data))
        found = {
            FINGERPRINT: fingerprint(dataset.splits, dataset.problems),
            SPAN: max(dataset.spans, default=0),
        }
        _LISTED.clear()
        _LISTED[data, str(found[FINGERPRINT])] = dataset
        output = driver_output_pb2.DriverOutput()
        for key, value in {**execution_info.exec_properties, **found}.items():
            data_types_utils.set_metadata_value(output.exec_properties[key], value)
        for key, (given,) in execution_info.output_dict.items():
            artifact = copy.deepcopy(given.mlmd_artifact)
            if key == EXAMPLES:
                artifact.custom_properties[FINGERPRINT].string_value = found[FINGERPRINT]
                artifact.custom_properties[SPANS].string_value = ", ".join(map(str, dataset.spans))
                artifact.properties[SPAN].int_value = max(dataset.spans, default=0)
            output.output_artifacts[key].artifacts.append(artifact)
        return output


def listed_dataset(exec_properties: Mapping[str, Any]) -> DataSet:
    """The data set as the driver has listed it, so that what is ingested is what the fingerprint is of.

    Raises:
        DataError: the driver ran elsewhere, and there are no data that could be read; see `read_dataset`.
    """
    data = exec_properties["data"]
    known = _LISTED.pop((data, exec_properties.get(FINGERPRINT, "")), None)
    return known or read_dataset(DATA.validate_json(data))
