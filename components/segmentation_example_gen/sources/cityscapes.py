"""Cityscapes.

<root>/leftImg8bit/<split>/<city>/<id>_leftImg8bit.png
<root>/gtFine/<split>/<city>/<id>_gtFine_labelIds.png
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.masks import PngMask
from components.segmentation_example_gen.pairs import Listing, Pair
from components.segmentation_example_gen.sources.source import Source, folder_of, not_utf8
from schema.labels import Labels, NamedLabels, label_set
from schema.section import Section
from trainer.common import files

IMAGES = "leftImg8bit"
WANTED = "Cityscapes has leftImg8bit and gtFine (or gtCoarse), with folders of splits and cities in them"
Name = Annotated[str, Field(pattern=r"^[^/\\]+$")]


class CityscapesSplits(Section):
    """The folders of the splits in leftImg8bit and gtFine."""

    train: Name = "train"
    """What is learnt from."""
    eval: Name = "val"
    """What is judged on."""
    test: Name | None = None
    """Pictures whose masks are not looked at, which are ingested to be predicted: `test`."""


class CityscapesData(Source):
    """Cityscapes; label ids become the 19 train ids by `labels`."""

    format: Literal["cityscapes"] = "cityscapes"
    labels: NamedLabels = Labels.model_validate(label_set("cityscapes"))
    """What the masks mean. By default the 19 classes that Cityscapes judges; its other ids are ignored."""
    annotations: Literal["gtFine", "gtCoarse"] = "gtFine"
    """The folder of the masks."""
    splits: CityscapesSplits = CityscapesSplits()

    def list_split(self, root: str, name: str) -> Listing:
        """See `Source`."""
        split = getattr(self.splits, name)
        image_folder, mask_folder = f"{IMAGES}/{split}", f"{self.annotations}/{split}"
        image_end, mask_end = f"_{IMAGES}.png", f"_{self.annotations}_labelIds.png"
        masks = folder_of(root, mask_folder, WANTED, recursive=True) if name != "test" else {}
        listing = Listing()
        for path in sorted(folder_of(root, image_folder, WANTED, recursive=True)):
            image = files.join(root, image_folder, path)
            picture_id = path.removesuffix(image_end)
            mask = picture_id + mask_end
            if not_utf8(path):
                listing.problems.append(Problem(ascii(image), "its name is not UTF-8; rename it"))
            elif not path.endswith(image_end):
                listing.problems.append(Problem(image, f"its name must end in {image_end}"))
            elif name == "test":
                listing.pairs.append(Pair(picture_id, image, None))
            elif mask in masks:
                listing.pairs.append(Pair(picture_id, image, PngMask(files.join(root, mask_folder, mask))))
            else:
                missing = files.join(root, mask_folder, mask)
                listing.problems.append(
                    Problem(image, f"has no mask: {missing} is not there", pair=picture_id, image=image)
                )
        ids = {pair.id for pair in listing.pairs}
        for path in sorted(masks):
            if path.endswith(mask_end) and path.removesuffix(mask_end) not in ids:
                place = files.join(root, mask_folder, path)
                listing.problems.append(Problem(place, f"has no picture in {image_folder}", mask=place))
        if not listing.pairs and not listing.problems:
            raise DataError(Problem(files.join(root, image_folder), f"holds no pictures; {WANTED}"))
        return listing
