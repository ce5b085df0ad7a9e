"""Pascal VOC, and what is laid out like it.

<root>/JPEGImages/<id>.jpg
<root>/SegmentationClass/<id>.png        masks; or another folder, such as SegmentationClassAug
<root>/ImageSets/Segmentation/<list>.txt one id per line
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.masks import PngMask
from components.segmentation_example_gen.pairs import Listing, Pair
from components.segmentation_example_gen.sources.source import Source, folder_of, ids_in, text_of
from schema.section import Section
from trainer.common import files

IMAGE_FOLDER = "JPEGImages"
LIST_FOLDER = "ImageSets/Segmentation"
WANTED = (
    "a Pascal VOC devkit has JPEGImages, ImageSets/Segmentation and the folder of the masks; give the folder that "
    "holds them, such as VOCdevkit/VOC2012"
)

Name = Annotated[str, Field(pattern=r"^[^/\\]+$")]


class VocTrain(Section):
    """What is learnt from."""

    list: Name = "train"
    """A file of `ImageSets/Segmentation`, without `.txt`: train, trainval, train_aug, or your own."""
    masks: Name = "SegmentationClass"
    """The folder of the masks: SegmentationClass, or SegmentationClassAug for the lists with SBD's pictures."""


class VocEval(Section):
    """What is judged on."""

    list: Name = "val"
    """A file of `ImageSets/Segmentation`, without `.txt`: val, or your own."""
    masks: Name = "SegmentationClass"
    """The folder of the masks."""


class VocTest(Section):
    """What is only predicted."""

    list: Name = "test"
    """A file of `ImageSets/Segmentation`, without `.txt`. No masks are looked for."""


class VocSplits(Section):
    """The lists of the splits."""

    train: VocTrain = VocTrain()
    eval: VocEval = VocEval()
    test: VocTest | None = None
    """Pictures without masks, which are ingested to be predicted: `{list: test}`."""


class VocData(Source):
    """Pascal VOC, and what is laid out like it."""

    format: Literal["voc"] = "voc"
    splits: VocSplits = VocSplits()

    def list_split(self, root: str, name: str) -> Listing:
        """See `Source`."""
        split = getattr(self.splits, name)
        pictures = folder_of(root, IMAGE_FOLDER, WANTED)
        list_file = files.join(root, LIST_FOLDER, f"{split.list}.txt")
        lists = sorted(file.removesuffix(".txt") for file in folder_of(root, LIST_FOLDER, WANTED))
        text = text_of(list_file, f"list; lists in that folder: {', '.join(lists) or 'none'}")
        ids, problems = ids_in(list_file, text)
        mask_folder = getattr(split, "masks", None)
        masks = folder_of(root, mask_folder, WANTED) if mask_folder else {}
        listing = Listing(problems=problems)
        for picture_id, line in ids.items():
            where = f"{list_file}, line {line}"
            image = self._place(root, IMAGE_FOLDER, f"{picture_id}.jpg", pictures, "picture", where, listing)
            mask = None
            if mask_folder:
                mask = self._place(root, mask_folder, f"{picture_id}.png", masks, "mask", where, listing)
            if image and (mask or not mask_folder):
                listing.pairs.append(Pair(picture_id, image, PngMask(mask) if mask else None))
        if not ids and not problems:
            raise DataError(Problem(list_file, "the list is empty; it must name one picture per line"))
        return listing

    @staticmethod
    def _place(
        root: str, folder: str, file: str, there: dict[str, str], what: str, where: str, listing: Listing
    ) -> str | None:
        place = files.join(root, folder, file)
        if file in there:
            return place
        picture_id = file.rpartition(".")[0]
        listing.problems.append(Problem(where, f"{picture_id!r} has no {what}: {place} is not there", pair=picture_id))
        return None
