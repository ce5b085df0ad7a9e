"""VocExampleGen's driver: looks at the data before the cache is asked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.voc_example_gen import devkit


def read_splits(exec_properties: dict[str, Any]) -> dict[str, list[devkit.Pair]]:
    """The pairs of each split that the component is configured with.

    Raises:
        DataError: see `devkit.read_splits`.
    """
    return devkit.read_splits(Path(exec_properties["input_base"]), json.loads(exec_properties["splits"]))


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds a fingerprint of the data's contents to the execution properties, and so to the key of the cache.

    TFX's own driver fingerprints the files that match a split's pattern, which for VOC is the list alone: a picture
    or mask that changed would go unseen.
    """

    def __init__(self, metadata_handle: metadata.Metadata):
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the execution properties and the output artifact with the fingerprint in both."""
        fingerprint = devkit.fingerprint(read_splits(execution_info.exec_properties))
        output = driver_output_pb2.DriverOutput()
        properties = {**execution_info.exec_properties, utils.FINGERPRINT_PROPERTY_NAME: fingerprint}
        for key, value in properties.items():
            data_types_utils.set_metadata_value(output.exec_properties[key], value)
        (examples,) = execution_info.output_dict["examples"]
        artifact = copy.deepcopy(examples.mlmd_artifact)
        artifact.custom_properties[utils.FINGERPRINT_PROPERTY_NAME].string_value = fingerprint
        artifact.custom_properties[utils.SPAN_PROPERTY_NAME].int_value = 0
        output.output_artifacts["examples"].artifacts.append(artifact)
        return output
