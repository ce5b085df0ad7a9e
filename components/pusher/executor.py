"""The Pusher's executor: a blessed model to a folder or into an object store."""

from __future__ import annotations

import time
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import path_utils, proto_utils

from components.run_record.record import SAVED_MODEL_FILE
from trainer import files

# The keys of TFX's Pusher, whose executor this is. What TFX calls them by is not imported: it brings all of TFMA.
MODEL = "model"
BLESSING = "model_blessing"
DESTINATION = "push_destination"
PUSHED_MODEL = "pushed_model"


class Executor(base_executor.BaseExecutor):
    """Copies a blessed model to `<destination>/<seconds since 1970>`, `saved_model.pb` last.

    TFX's own writes with TensorFlow's file systems, which know neither S3 nor Kubeflow's minio://.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed.

        Raises:
            OSError: the destination cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL])
        blessing = artifact_utils.get_single_instance(input_dict[BLESSING])
        blessed = blessing.get_int_custom_property("blessed") == 1
        pushed.set_int_custom_property("pushed", int(blessed))
        if not blessed:
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[DESTINATION], destination)
        base = destination.filesystem.base_directory
        model = path_utils.serving_model_dir(artifact_utils.get_single_uri(input_dict[MODEL]))
        version = str(int(time.time()))
        place = files.join(base, version)
        files.upload_folder(model, place, last=SAVED_MODEL_FILE)
        # A bucket is as lasting a store as that of the artifacts. From a folder, models may be cleared away.
        if not files.is_remote(base):
            files.upload_folder(model, pushed.uri)
        pushed.set_string_custom_property("pushed_destination", place)
        pushed.set_string_custom_property("pushed_version", version)
