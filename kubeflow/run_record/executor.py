"""The executors of PreviousRun and RunRecord."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts.evaluation import read_evaluation
from components.artifacts.infra_validation import read_validation
from components.artifacts.names import LAST_PUSHED
from components.pusher.versions import PUSHED_DESTINATION
from kubeflow.run_record.record import (
    ABSENT,
    LEARNT_FROM,
    RUN_NAME,
    SPANS,
    STATISTICS_FOLDER,
    Record,
    last_pushed_model,
    read_record,
    write_record,
)
from trainer.common import files

RECORDS = "records"
PUSHED_MODELS = "pushed_models"
WARM_START = "warm_start"
MODEL = "model"
STATISTICS = "statistics"
EVALUATION = "evaluation"
INFRA_BLESSING = "infra_blessing"
PUSHED_MODEL = "pushed_model"
SPLIT = "Split-"


class PreviousRunExecutor(base_executor.BaseExecutor):
    """Copies what the last run left into artifacts, in the form that the steps which made them gave them."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fetches the last pushed model and the last run's statistics.

        Raises:
            RecordError: the record is damaged.
            OSError: one of the places cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        pushed = last_pushed_model(exec_properties[PUSHED_MODELS])
        if pushed is None:
            model.set_int_custom_property(ABSENT, 1)
        else:
            files.download_folder(pushed, path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property(LAST_PUSHED, pushed or "")

        statistics = artifact_utils.get_single_instance(output_dict[STATISTICS])
        record = read_record(exec_properties[RECORDS])
        statistics.set_string_custom_property(LEARNT_FROM, record.learnt_from if record else "")
        if record is None:
            statistics.set_int_custom_property(ABSENT, 1)
            return
        place = files.join(exec_properties[RECORDS], record.id, STATISTICS_FOLDER)
        try:
            files.download_folder(place, statistics.uri)
        except FileNotFoundError:
            logging.warning("the statistics of the last run are gone from %s; drift is not looked for", place)
            statistics.set_int_custom_property(ABSENT, 1)
            return
        splits = sorted(folder.name.removeprefix(SPLIT) for folder in Path(statistics.uri).glob(f"{SPLIT}*"))
        statistics.split_names = artifact_utils.encode_split_names(splits)


class RunRecordExecutor(base_executor.BaseExecutor):
    """Writes a `Record`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes down what the run came to.

        Raises:
            OSError: the folder of records cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(input_dict[PUSHED_MODEL])
        evaluation = read_evaluation(artifact_utils.get_single_uri(input_dict[EVALUATION]))
        validation = read_validation(artifact_utils.get_single_uri(input_dict[INFRA_BLESSING]))
        finished = datetime.datetime.now(datetime.UTC)
        record = Record(
            id=f"{finished:%Y%m%d-%H%M%S-%f}",
            name=exec_properties[RUN_NAME],
            finished=finished.isoformat(timespec="seconds"),
            learnt_from=exec_properties[LEARNT_FROM],
            spans=exec_properties[SPANS],
            mean_iou=evaluation.mean_iou,
            baseline_mean_iou=evaluation.baseline_mean_iou,
            blessed=evaluation.blessed,
            reasons=evaluation.reasons,
            infra_blessed=validation.blessed,
            infra_reason=validation.reason,
            pushed_to=pushed.get_string_custom_property(PUSHED_DESTINATION) or None,
            started_from=(exec_properties[LAST_PUSHED] if exec_properties[WARM_START] else None) or None,
        )
        write_record(exec_properties[RECORDS], record, artifact_utils.get_single_uri(input_dict[STATISTICS]))
