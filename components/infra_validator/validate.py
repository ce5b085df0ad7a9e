"""Tries out a model in a fresh process, and in TensorFlow Serving if it is installed."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from components.artifacts.infra_validation import InfraValidationResult
from components.infra_validator import model_server, probe
from components.infra_validator.checks import SampleImage, find_problems, other_mask_problems
from components.infra_validator.limits import LimitedProcess, LimitError, Limits
from schema import features
from schema.labels import LABELS_FILE, read_labels

LOGGER = logging.getLogger(__name__)

CALLS = (
    (features.SERVING_SIGNATURE, "images", probe.IMAGES),
    (features.REST_SIGNATURE, "images", probe.IMAGES),
    (features.EXAMPLES_SIGNATURE, "examples", probe.EXAMPLES),
    (features.SEGMENT_SIGNATURE, "image", probe.PIXELS),
    (features.CONFUSION_SIGNATURE, "examples", probe.EXAMPLES),
)
"""Each signature, the name of its input, and which of `probe.INPUTS` it is given."""
LOOKED_AT = 20
"""So many times the pictures wanted are looked at to find some of different sizes."""
REASONS_TOLD = 3


def read_pictures(folders: Sequence[str], count: int) -> list[SampleImage]:
    """The first pictures of a split, as far as can be of different sizes.

    Args:
        folders: of the split's TFRecords.
        count: how many at most.

    Raises:
        ValueError: there are none, or they have no labels.
    """
    records = tf.data.TFRecordDataset([str(file) for folder in folders for file in sorted(Path(folder).iterdir())])
    ranked: list[tuple[int, int, bytes]] = []
    seen = Counter[tuple[int, ...]]()
    for number, record in enumerate(islice(records.as_numpy_iterator(), LOOKED_AT * count)):
        feature = tf.train.Example.FromString(record).features.feature
        size = tuple(feature[key].int64_list.value[0] for key in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH))
        ranked.append((seen[size], number, record))
        seen[size] += 1
        # Pictures may be large, so no more are kept than will be taken.
        ranked = sorted(ranked)[:count]
    if not ranked:
        raise ValueError(f"the split {features.EVAL_SPLIT!r} has no pictures to try the model out on")
    return [_picture(record) for _, _, record in ranked]


def _picture(record: bytes) -> SampleImage:
    feature = tf.train.Example.FromString(record).features.feature
    if features.LABEL_ENCODED not in feature:
        raise ValueError(f"the split {features.EVAL_SPLIT!r} has no labels, so no confusion can be counted on it")
    (picture_id,) = feature[features.IMAGE_SOURCE_ID].bytes_list.value
    (encoded,) = feature[features.IMAGE_ENCODED].bytes_list.value
    (label,) = feature[features.LABEL_ENCODED].bytes_list.value
    height, width = (feature[key].int64_list.value[0] for key in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH))
    return SampleImage(picture_id.decode(), record, encoded, (height, width), np.asarray(Image.open(BytesIO(label))))


def validate(
    model: str, pictures: Sequence[SampleImage], limits: Limits, program: Path = Path(probe.__file__)
) -> InfraValidationResult:
    """Tries out a model.

    Args:
        model: folder of the SavedModel.
        pictures: that it is tried out on.
        limits: of each process that is started.
        program: that is run in the fresh process.
    """
    labels = read_labels(model)
    if labels is None:
        reason = f"the model does not say what its classes are: {LABELS_FILE} is missing or damaged"
        return InfraValidationResult(blessed=False, reason=reason, pictures=len(pictures))
    with tempfile.TemporaryDirectory(prefix="infra-validation-") as temporary:
        folder = Path(temporary, "process")
        validation, outputs = _in_a_fresh_process(model, pictures, limits, program, folder)
        if validation.blessed:
            problems = find_problems(outputs, pictures, len(labels.classes))
            validation = _with(validation, problems)
        binary = shutil.which(model_server.BINARY)
        if binary is None:
            LOGGER.info("no %s on PATH, so the model is not tried out in it", model_server.BINARY)
        elif validation.blessed:
            validation = _in_a_server(
                binary, model, pictures[0], outputs, limits, Path(temporary, "server"), validation
            )
    return validation


def _with(validation: InfraValidationResult, problems: Sequence[str], **more: Any) -> InfraValidationResult:
    """The same, not blessed if there are problems."""
    reason = "; ".join(problems[:REASONS_TOLD])
    if len(problems) > REASONS_TOLD:
        reason += f"; and {len(problems) - REASONS_TOLD} more"
    return validation.model_copy(update={"blessed": not problems, "reason": reason or None, **more})


def _in_a_fresh_process(
    model: str, pictures: Sequence[SampleImage], limits: Limits, program: Path, folder: Path
) -> tuple[InfraValidationResult, dict[str, np.ndarray]]:
    """How the process went, and what the signatures returned if it went well."""
    folder.mkdir()
    request = {"model": str(Path(model).absolute()), "pictures": len(pictures), "calls": CALLS}
    (folder / probe.REQUEST_FILE).write_text(json.dumps(request))
    for index, picture in enumerate(pictures):
        (folder / f"{index}.image").write_bytes(picture.encoded)
        (folder / f"{index}.example").write_bytes(picture.serialised)
    # Isolated: neither PYTHONPATH nor the program's or the current folder are looked at for modules.
    command = [sys.executable, "-I", str(program.absolute()), str(folder)]
    report: dict[str, Any] = {}
    with LimitedProcess(command, limits, folder) as process:
        try:
            ended = process.wait()
            if ended is None:
                report = json.loads((folder / probe.REPORT_FILE).read_text())
                process.look_at_memory(report["peak_memory_mib"])
            reason = f"{_stage(folder)} ended the process with {ended}" if ended else report["problem"]
        except LimitError as error:
            reason = f"{_stage(folder)}: {error}"
        if reason:
            LOGGER.info("the process that tried out the model has printed:\n%s", process.output[-10_000:])
    validation = InfraValidationResult(
        blessed=reason is None,
        reason=reason,
        pictures=len(pictures),
        seconds=report.get("seconds", {}),
        peak_memory_mib=process.peak_memory_mib or None,
    )
    if not validation.blessed:
        return validation, {}
    with np.load(folder / probe.OUTPUTS_FILE, allow_pickle=False) as outputs:
        return validation, dict(outputs)


def _stage(folder: Path) -> str:
    """What the process was doing."""
    try:
        return (folder / probe.STAGE_FILE).read_text()
    except FileNotFoundError:
        return "starting Python"


def _in_a_server(
    binary: str,
    model: str,
    picture: SampleImage,
    outputs: dict[str, np.ndarray],
    limits: Limits,
    folder: Path,
    validation: InfraValidationResult,
) -> InfraValidationResult:
    """What becomes of a blessing when TensorFlow Serving is asked about one picture."""
    folder.mkdir()
    try:
        mask = model_server.mask_from_server(binary, model, picture.encoded, limits, folder)
    except LimitError as error:
        problems = [f"{model_server.BINARY}: {error}"]
    except model_server.ModelServerError as error:
        problems = [str(error)]
    else:
        served = outputs[f"{features.SEGMENT_SIGNATURE}/{features.MASK}/0"][0]
        problems = list(other_mask_problems(model_server.BINARY, mask, features.SEGMENT_SIGNATURE, served))
    return _with(validation, problems, model_server=True)
