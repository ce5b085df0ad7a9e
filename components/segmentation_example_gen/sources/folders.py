"""Two folders, pictures and masks, whose files have the same names but for their suffixes.

<root>/images/<id>.jpg or .png    folders inside them are part of the id
<root>/masks/<id>.png
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import model_validator

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.images import SUFFIXES
from components.segmentation_example_gen.masks import PngMask
from components.segmentation_example_gen.pairs import Listing, Pair
from components.segmentation_example_gen.sources.source import (
    FolderInside,
    Source,
    folder_of,
    ids_in,
    not_utf8,
    text_of,
)
from schema.section import Section
from trainer.common import files


class FolderSplit(Section):
    """A folder of pictures and one of their masks."""

    images: FolderInside = "images"
    """The folder of the pictures, inside the data folder."""
    masks: FolderInside = "masks"
    """The folder of the masks."""
    list: FolderInside | None = None
    """A text file inside the data folder that names the pictures of the split, one id per line. Unset: all."""


class FolderTest(Section):
    """A folder of pictures without masks."""

    images: FolderInside = "test"
    """The folder of the pictures."""
    list: FolderInside | None = None
    """As for the other splits."""


class FolderSplits(Section):
    """The folders of the splits."""

    train: FolderSplit = FolderSplit()
    """What is learnt from."""
    eval: FolderSplit | None = None
    """What is judged on. Unset: `val_ratio` takes a share of train."""
    test: FolderTest | None = None
    """Pictures without masks, which are ingested to be predicted."""


class FolderData(Source):
    """Two folders, pictures and masks, with the same file names."""

    format: Literal["folders"] = "folders"
    splits: FolderSplits = FolderSplits()

    @model_validator(mode="after")
    def _judged_on_something(self) -> FolderData:
        if self.splits.eval is None and self.val_ratio is None:
            raise ValueError(
                "there is nothing to judge on: set data.splits.eval, or data.val_ratio to take a share of train"
            )
        return self

    def list_split(self, root: str, name: str) -> Listing:
        """See `Source`."""
        split = getattr(self.splits, name)
        mask_folder = getattr(split, "masks", None)
        listing = Listing()
        pictures = _by_id(root, split.images, tuple(SUFFIXES), listing)
        masks = _by_id(root, mask_folder, (".png",), listing) if mask_folder else {}
        wanted = dict.fromkeys(pictures)
        if split.list:
            list_file = files.join(root, split.list)
            ids, problems = ids_in(list_file, text_of(list_file, "list"))
            listing.problems += problems
            for picture_id, line in ids.items():
                if picture_id not in pictures:
                    listing.problems.append(
                        Problem(
                            f"{list_file}, line {line}",
                            f"{picture_id!r} has no picture in {files.join(root, split.images)}",
                        )
                    )
            wanted = dict.fromkeys(picture_id for picture_id in ids if picture_id in pictures)
        for picture_id in wanted:
            image = files.join(root, split.images, pictures[picture_id])
            if mask_folder is None:
                listing.pairs.append(Pair(picture_id, image, None))
            elif picture_id in masks:
                mask = PngMask(files.join(root, mask_folder, masks[picture_id]))
                listing.pairs.append(Pair(picture_id, image, mask))
            else:
                missing = files.join(root, mask_folder, f"{picture_id}.png")
                listing.problems.append(
                    Problem(image, f"has no mask: {missing} is not there", pair=picture_id, image=image)
                )
        if mask_folder and not split.list:
            for mask_id in masks.keys() - pictures.keys():
                place = files.join(root, mask_folder, masks[mask_id])
                listing.problems.append(Problem(place, f"has no picture in {split.images}", pair=mask_id, mask=place))
        if split.list and not wanted and not listing.problems:
            raise DataError(
                Problem(files.join(root, split.list), "the list is empty; it must name one picture per line")
            )
        if not listing.pairs and not listing.problems:
            raise DataError(
                Problem(files.join(root, split.images), "holds no pictures; wanted .jpg, .jpeg or .png files")
            )
        return listing


def _by_id(root: str, folder: str, suffixes: tuple[str, ...], listing: Listing) -> dict[str, str]:
    """The files of a folder by id, the path without its suffix; files that are none are put into the problems."""
    found: dict[str, str] = {}
    wanted = "a folder pair has pictures in one folder and masks of the same names in another; see data.splits"
    for path in sorted(folder_of(root, folder, wanted, recursive=True)):
        place = files.join(root, folder, path)
        suffix = PurePosixPath(path).suffix
        picture_id = path.removesuffix(suffix)
        if not_utf8(path):
            listing.problems.append(Problem(ascii(place), "its name is not UTF-8; rename it"))
        elif suffix.lower() not in suffixes:
            listing.problems.append(Problem(place, f"is no {' or '.join(suffixes)} file; remove it, or convert it"))
        elif picture_id in found:
            listing.problems.append(
                Problem(
                    place,
                    f"has the same name as {found[picture_id]}; nobody can tell which one is meant",
                    pair=picture_id,
                )
            )
        else:
            found[picture_id] = path
    return found
