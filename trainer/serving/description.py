"""What a SavedModel says of the network inside it: enough to build it anew, and to tell which settings made it."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from schema.section import Section
from trainer.settings import BackboneName, NNArch, TrainerSettings

DESCRIPTION_FILE = "assets.extra/model.json"
"""In a SavedModel's directory."""


class ModelDescription(Section):
    """The network, and where it comes from."""

    # A later version may have written more.
    model_config = ConfigDict(extra="ignore")

    base_model: BackboneName
    nn_arch: NNArch
    """As it is judged and served."""
    deeplab: str
    """The version of this package that trained it."""
    settings_sha256: str
    """Of the Trainer's settings; the whole of them is beside the training, in `effective.json`."""


def description_of(settings: TrainerSettings) -> ModelDescription:
    """The description of the network that is trained by these settings."""
    return ModelDescription(
        base_model=settings.base_model,
        nn_arch=settings.exported_arch,
        deeplab=version("deeplabv3plus-tfx"),
        settings_sha256=hashlib.sha256(settings.model_dump_json().encode()).hexdigest(),
    )


def read_description(saved_model: str) -> ModelDescription | None:
    """What a SavedModel says of its network; None if it does not say it.

    Args:
        saved_model: its folder.
    """
    try:
        return ModelDescription.model_validate_json(Path(saved_model, DESCRIPTION_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
