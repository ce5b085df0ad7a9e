"""The Pusher's executor: TFX's, and object stores as destinations."""

from __future__ import annotations

import time
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import files
from components.run_record.record import SAVED_MODEL_FILE


class Executor(executor.Executor):
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
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        base = destination.filesystem.base_directory
        if not files.is_remote(base) or not self.CheckBlessing(input_dict):
            super().Do(input_dict, output_dict, exec_properties)
            return
        self._log_startup(input_dict, output_dict, exec_properties)
        version = str(int(time.time()))
        pushed = files.join(base, version)
        files.upload_folder(self.GetModelPath(input_dict), pushed, last=SAVED_MODEL_FILE)
        # No second copy is kept among the artifacts: the destination is as lasting a store as theirs.
        self._MarkPushed(
            artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY]),
            pushed_destination=pushed,
            pushed_version=version,
        )
