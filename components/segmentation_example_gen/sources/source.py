"""What all kinds of data sets have in common."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.pairs import Listing
from schema.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from schema.labels import VOC2012, NamedLabels
from schema.section import Integer, Number, Positive, Section
from trainer.common import files

SPAN = "{SPAN}"


def _absolute(value: Any) -> Any:
    """A path as an absolute one; a URI as it is."""
    if value == "":
        raise ValueError("a folder's name is wanted")
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and not files.is_remote(value):
        return str(Path(value).expanduser().resolve())
    return value


Folder = Annotated[str, BeforeValidator(_absolute)]


def _inside(value: str) -> str:
    if leads_outside(value):
        raise ValueError(f"found {value!r}; it must be a path inside the data folder")
    return value


FolderInside = Annotated[
    str, Field(min_length=1), BeforeValidator(lambda value: _inside(value) if isinstance(value, str) else value)
]
"""A file or folder inside the data folder."""


def leads_outside(path: str) -> bool:
    """Whether a path from a list or a JSON file is none, or would lead out of the folder that it is to be found in."""
    parts = PurePosixPath(path).parts
    return not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path or not_utf8(path)


def not_utf8(name: str) -> bool:
    """Whether a file's name has bytes that are no UTF-8, which Python keeps as lone surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in name)


class Source(Section):
    """A data set: where it lies, what its masks mean, and which pictures are in which split."""

    format: str = "voc"
    """What the folder holds: `voc`, `folders`, `coco`, `coco_panoptic` or `cityscapes`."""
    root: Folder | None = None
    """The data set's folder, or a URI such as gs://bucket/folder or s3://bucket/folder. `--data` sets it."""
    pattern: Folder | None = None
    """Instead of `root`: the folders of numbered spans, such as data/span-{SPAN}/VOC2012. The newest are read."""
    window: Positive = 1
    """With `pattern`: how many of the newest spans are read together."""
    span: Annotated[Integer, Field(ge=0)] | None = None
    """With `pattern`: the newest span to be read. Unset: the newest that is there."""
    labels: NamedLabels = VOC2012
    """What the masks mean: `voc2012`, `coco`, `coco_panoptic`, `cityscapes`, a JSON or YAML file, or
    `{classes: [...], ignore: [...], ignore_colors: [...]}`."""
    val_ratio: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Instead of the splits as they are: the pictures of train and eval are put together, and about this share of
    them, chosen by a hash of their ids, is judged on. New pictures move no others."""
    val_seed: Annotated[Integer, Field(ge=0)] = 0
    """Another one chooses other pictures."""
    max_quarantined: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """The largest share of pairs that may be left out because something is wrong with them; they are listed. 0: none,
    the run stops."""

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if self.root is not None and self.pattern is not None:
            raise ValueError("root and pattern are both set; give one of them")
        if self.pattern is not None and self.pattern.count(SPAN) != 1:
            raise ValueError(f"pattern: found {self.pattern!r}; it must have {SPAN} in it, once")
        if self.pattern is not None and files.is_remote(self.pattern) and SPAN in self.pattern.split("/")[2]:
            raise ValueError(f"pattern: found {self.pattern!r}; {SPAN} must be in a folder, not in the bucket's name")
        if self.root is not None and SPAN in self.root:
            raise ValueError(f"root: found {self.root!r}; a folder with {SPAN} is a pattern")
        if self.window > 1 and self.pattern is None:
            raise ValueError("window is for spans, and there is no pattern")
        if self.span is not None and self.pattern is None:
            raise ValueError("span is for numbered folders, and there is no pattern")
        return self

    @property
    def place(self) -> str | None:
        """Root or pattern."""
        return self.root or self.pattern

    def split_names(self) -> tuple[str, ...]:
        """The splits that are configured, of train, eval and test."""
        splits = self.splits  # type: ignore[attr-defined]
        return tuple(name for name in (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT) if getattr(splits, name) is not None)

    def list_split(self, root: str, name: str) -> Listing:
        """What a split names.

        Args:
            root: the data set's folder, path or URI.
            name: one of `split_names`.

        Raises:
            DataError: the folder, a list or a JSON file as a whole is not usable.
        """
        raise NotImplementedError


def placed_at(place: str) -> dict[str, Any]:
    """The keys of a data section that say where the data lie, for a folder or, with {SPAN} in it, a pattern.

    What only spans have is left as it is for a pattern, and taken back for a folder.
    """
    if SPAN in place:
        return {"root": None, "pattern": place}
    return {"root": place, "pattern": None, "span": None, "window": 1}


def folder_of(root: str, folder: str, wanted: str, *, recursive: bool = False) -> dict[str, str]:
    """The files of a folder of the data set, as `files.list_files`.

    Raises:
        DataError: there is no such folder.
    """
    place = files.join(root, folder)
    try:
        return files.list_files(place, recursive=recursive)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(Problem(place, f"there is no such folder; {wanted}")) from error
    except OSError as error:
        raise DataError(Problem(place, f"cannot be read: {error.strerror or error}")) from error


def text_of(place: str, known: str) -> str:
    """A text file's contents.

    Args:
        place: path or URI.
        known: what to say of a file that is not there.

    Raises:
        DataError: it is not there, or no text.
    """
    try:
        return files.read_bytes(place).decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataError(Problem(place, f"there is no such {known}")) from error
    except UnicodeDecodeError as error:
        raise DataError(Problem(place, f"not a text file in UTF-8 ({error.reason})")) from error
    except OSError as error:
        raise DataError(Problem(place, f"cannot be read: {error.strerror or error}")) from error


def ids_in(list_file: str, text: str) -> tuple[dict[str, int], list[Problem]]:
    """The ids of a list, one per line, each with the line it stands in, and what is wrong with the others."""
    ids: dict[str, int] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        picture_id = line.strip()
        where = f"{list_file}, line {number}"
        if not picture_id:
            continue
        if leads_outside(picture_id):
            problems.append(Problem(where, f"{picture_id!r} is not the name of a picture inside the data folder"))
        elif picture_id in ids:
            problems.append(
                Problem(where, f"{picture_id!r} stands in the list a second time, first in line {ids[picture_id]}")
            )
        else:
            ids[picture_id] = number
    return ids, problems
