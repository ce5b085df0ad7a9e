"""The documents about exports: `exports.json` in the artifact, and `metrics.json` beside each file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from schema.section import Section
from trainer.common import files
from trainer.common.metrics import decimal

FormatName = Literal["litert_float32", "litert_dynamic", "litert_float16", "litert_int8", "onnx"]

EXPORTS_FILE = "exports.json"
"""In the artifact: all formats that were asked for."""
METRICS_FILE = "metrics.json"
"""In the folder of each format, beside its file."""
PUSHED_FOLDER = "assets.extra/exports"
"""In the pushed model: a folder of each format that was kept."""


class ExportedModel(Section):
    """What became of one format."""

    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")

    format: str
    """Its name, and that of its folder."""
    file: str | None = None
    """In the folder; None if it was left out."""
    reason: str | None = None
    """Why it was left out, in words; None if it was not."""
    mean_iou: float | None = None
    """On the canvas; None if it was not measured."""
    model_mean_iou: float | None = None
    """The SavedModel's network's, on the same canvases."""
    mean_iou_loss: float | None = None
    """The difference of both."""
    pictures: int = 0
    """Of the eval split, that were judged."""
    size_bytes: int | None = None
    """Of the file."""
    ms_per_picture: float | None = None
    """The median, on all cores of the machine that made the export."""
    image_size: int
    """S: the file takes RGB uint8[1, S, S, 3] and gives class indices int32[1, S, S]."""
    padding_color: tuple[int, int, int]
    """RGB, what is to be around a picture that does not fill the square."""

    @property
    def sentence(self) -> str:
        """All of this in words."""
        if self.reason is not None:
            return self.reason
        size, milliseconds = self.size_bytes or 0, self.ms_per_picture or 0
        return (
            f"mean IoU {decimal(self.mean_iou)}, the model's {decimal(self.model_mean_iou)} on the same "
            f"{self.pictures} pictures; {size / 1e6:.1f} MB, {milliseconds:.0f} ms a picture"
        )


_LIST = TypeAdapter(tuple[ExportedModel, ...])


def write_exports(folder: str, exports: Sequence[ExportedModel]) -> None:
    """Writes the list into the folder of an artifact, path or URI.

    Raises:
        OSError: it cannot be written.
    """
    files.write_bytes(files.join(folder, EXPORTS_FILE), _LIST.dump_json(tuple(exports), indent=1))


def read_exports(folder: str) -> tuple[ExportedModel, ...]:
    """Reads the list in the folder of an artifact, path or URI.

    Raises:
        OSError: it cannot be read.
    """
    return _LIST.validate_json(files.read_bytes(files.join(folder, EXPORTS_FILE)))
