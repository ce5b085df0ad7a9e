"""The record of a finished run, and where it and pushed models are found."""

from __future__ import annotations

from pydantic import ConfigDict, ValidationError

from components.artifacts.names import LAST_PUSHED
from components.pusher.versions import current_version
from schema.section import Section
from trainer.common import files

RECORD_FILE = "last_run.json"
STATISTICS_FOLDER = "statistics"

ABSENT = "absent"
"""Custom property of an artifact that stands for nothing: there was no earlier run, or no pushed model."""
LEARNT_FROM = "learnt_from"
"""Custom property: what tells the data and the settings of a training apart from others."""
SPANS = "spans"
RUN_NAME = "run_name"
TOLD = (RUN_NAME, SPANS, LEARNT_FROM, LAST_PUSHED)
"""Execution properties of RunRecord that are known when the run is there: what it is called, the spans and what tells
the training apart, by SegmentationExampleGen, and where PreviousRun's model was pushed to. The artifacts themselves
would have to be brought to it, with all the pictures."""


class Record(Section):
    """What a finished run came to."""

    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")

    id: str
    """When the run finished, as a folder's name."""
    name: str
    """What it was called when it was started; empty if it was given no name."""
    finished: str
    """When, in ISO 8601 and UTC."""
    learnt_from: str
    """What tells the data and the settings apart from others."""
    spans: str
    """The spans of the data, separated by commas."""
    mean_iou: float | None
    """Of the new model; None if no pixel was counted."""
    baseline_mean_iou: float | None
    """Of the last pushed model on the same pictures; None if there was none of the same classes."""
    blessed: bool
    reasons: tuple[str, ...]
    """Why it was not, a sentence each."""
    infra_blessed: bool = True
    """Whether it can be served. Earlier versions did not try."""
    infra_reason: str | None = None
    """Why not."""
    pushed_to: str | None
    """Where; None if it was not pushed."""
    started_from: str | None
    """The pushed model whose weights training started from; None if it started from others."""


class RecordError(RuntimeError):
    """The record cannot be read; the message says where it lies and what to do."""


def read_record(folder: str) -> Record | None:
    """The record of the last run that finished, or None if there was none.

    Args:
        folder: path or URI of the folder of records.

    Raises:
        RecordError: it is damaged.
        OSError: the place cannot be read.
    """
    place = files.join(folder, RECORD_FILE)
    try:
        return Record.model_validate_json(files.read_bytes(place))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RecordError(f"{place}: no record of a run ({error}); remove it, and the next run starts anew") from error


def write_record(folder: str, record: Record, statistics: str) -> None:
    """Writes a run's record, and last of all as that of the last run.

    Args:
        folder: path or URI of the folder of records.
        record: what to write.
        statistics: folder of this machine with the statistics of the data.

    Raises:
        OSError: it cannot be written.
    """
    text = (record.model_dump_json(indent=2) + "\n").encode()
    files.upload_folder(statistics, files.join(folder, record.id, STATISTICS_FOLDER))
    files.write_bytes(files.join(folder, record.id, RECORD_FILE), text)
    files.write_bytes(files.join(folder, RECORD_FILE), text)


def last_pushed_model(folder: str) -> str | None:
    """The current version in a folder of pushed models, path or URI; None if there is none.

    Raises:
        OSError: the place cannot be read.
    """
    version = current_version(folder)
    return None if version is None else files.join(folder, version)
