"""`augmentation`: random changes to the training images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from schema.section import Number, Section


class Augmentation(Section):
    """Random changes to the pictures of training, drawn anew for each picture each time it is seen."""

    scale: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]] = (0.5, 2.0)
    """Smallest and largest factor of the size."""
    scale_step: Annotated[Number, Field(ge=0)] = 0.25
    """Distance between the factors that can be drawn; 0 draws from the whole range."""
    flip: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Probability of a left-right flip."""
    rotation: Annotated[Number, Field(ge=0, le=180)] = 0.0
    """Largest angle, degrees, by which a picture is turned about its centre, either way. 0: none is turned."""
    brightness: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Largest share of the range of 8 bits that is added to or taken from all colours. 0: off."""
    contrast: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """The distance from mid grey is multiplied by 1 - contrast to 1 + contrast. 0: off."""
    saturation: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """The distance from grey of the same brightness is multiplied by 1 - saturation to 1 + saturation. 0: off."""
    hue: Annotated[Number, Field(ge=0, le=180)] = 0.0
    """Largest angle, degrees, by which colours are turned about grey, either way. 0: off."""
    copy_paste: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Probability that the objects of another picture of the batch are pasted onto a picture, all that is not the class
    `background`. The other picture is of the same device's share, and of the same of `hps.micro_batches`. 0: off."""

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        smallest, largest = self.scale
        if smallest > largest:
            raise ValueError(f"scale must be [smallest, largest], found {list(self.scale)}")
        steps = (largest - smallest) / self.scale_step if self.scale_step else 0
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(
                f"scale {list(self.scale)} is no whole number of scale_step {self.scale_step} wide, so its largest "
                "factor would never be drawn; scale_step 0 draws from the whole range"
            )
        return self
