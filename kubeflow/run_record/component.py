"""PreviousRun, the first step, brings in what the last run left; RunRecord, the last, keeps what this one came to."""
# TFX reads annotations as objects, so they are not postponed here.

import datetime
import logging
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.artifacts.evaluation import read_evaluation
from components.artifacts.infra_validation import read_validation
from components.artifacts.names import LAST_PUSHED
from components.pusher.versions import PUSHED_DESTINATION
from kubeflow.run_record.record import (
    ABSENT,
    LEARNT_FROM,
    STATISTICS_FOLDER,
    Record,
    last_pushed_model,
    read_record,
    write_record,
)
from trainer.common import files

SPLIT = "Split-"


@component
def PreviousRun(
    records: Parameter[str],
    pushed_models: Parameter[str],
    model: OutputArtifact[standard_artifacts.Model],
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
) -> None:
    """Fetches the last pushed model and the last run's statistics, in the form that the steps that made them gave them.

    Either may be missing; its artifact then says so by the custom property `absent`.

    Args:
        records: path or URI of the folder that RunRecord writes to.
        pushed_models: path or URI of the folder that the Pusher writes to.
        model: the last pushed model.
        statistics: the statistics of the last finished run.

    Raises:
        RecordError: the record is damaged.
        OSError: one of the places cannot be read.
    """
    pushed = last_pushed_model(pushed_models)
    if pushed is None:
        model.set_int_custom_property(ABSENT, 1)
    else:
        files.download_folder(pushed, path_utils.serving_model_dir(model.uri))
    model.set_string_custom_property(LAST_PUSHED, pushed or "")

    record = read_record(records)
    statistics.set_string_custom_property(LEARNT_FROM, record.learnt_from if record else "")
    if record is None:
        statistics.set_int_custom_property(ABSENT, 1)
        return
    place = files.join(records, record.id, STATISTICS_FOLDER)
    try:
        files.download_folder(place, statistics.uri)
    except FileNotFoundError:
        logging.warning("the statistics of the last run are gone from %s; drift is not looked for", place)
        statistics.set_int_custom_property(ABSENT, 1)
        return
    splits = sorted(folder.name.removeprefix(SPLIT) for folder in Path(statistics.uri).glob(f"{SPLIT}*"))
    statistics.split_names = artifact_utils.encode_split_names(splits)


@component
def RunRecord(
    records: Parameter[str],
    warm_start: Parameter[bool],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    run_name: Parameter[str] = "",
    spans: Parameter[str] = "",
    learnt_from: Parameter[str] = "",
    last_pushed: Parameter[str] = "",
) -> None:
    """Writes down what a run came to, for people and for the next run's PreviousRun.

    Args:
        records: path or URI of the folder to write to.
        warm_start: whether training starts from the last pushed model if there is one.
        statistics: the statistics of the data, for the next run.
        evaluation: the evaluation.
        infra_blessing: the InfraValidator's blessing.
        pushed_model: tells where the model was pushed to.
        run_name: this and the following are known only when the run is there: see `record.TOLD`.
        spans: the spans of the data.
        learnt_from: what tells the training apart from others.
        last_pushed: where PreviousRun's model was pushed to.

    Raises:
        OSError: the folder of records cannot be written.
    """
    found, validation = read_evaluation(evaluation.uri), read_validation(infra_blessing.uri)
    finished = datetime.datetime.now(datetime.UTC)
    record = Record(
        id=f"{finished:%Y%m%d-%H%M%S-%f}",
        name=run_name,
        finished=finished.isoformat(timespec="seconds"),
        learnt_from=learnt_from,
        spans=spans,
        mean_iou=found.mean_iou,
        baseline_mean_iou=found.baseline_mean_iou,
        blessed=found.blessed,
        reasons=found.reasons,
        infra_blessed=validation.blessed,
        infra_reason=validation.reason,
        pushed_to=pushed_model.get_string_custom_property(PUSHED_DESTINATION) or None,
        started_from=(last_pushed if warm_start else None) or None,
    )
    write_record(records, record, statistics.uri)
