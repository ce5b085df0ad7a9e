"""Where a run writes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.config import Config
from trainer.common import files

METADATA_FILE = "metadata.sqlite"
"""In the output folder of runs on this machine."""


@dataclass(frozen=True)
class OutputLocations:
    """Paths or URIs of what a run writes."""

    artifacts: str
    """The pipeline's root."""
    pushed_models: str
    """One folder per version is made in it."""
    problems: str
    """The page of problems, if the data are refused."""
    checkpoints: str
    """One folder per training is made in it."""

    @classmethod
    def local(cls, config: Config) -> OutputLocations:
        """In the configuration's output folder."""
        output = config.output_directory
        return cls(
            artifacts=str(output / "artifacts"),
            pushed_models=config.push.directory or str(output / "serving_model"),
            problems=str(output / PROBLEM_FOLDER),
            checkpoints=checkpoints_of(config) or str(output / "checkpoints"),
        )


def checkpoints_of(config: Config) -> str | None:
    """Where the configuration says that checkpoints go: a folder of the experiment's own in `train.checkpoints`."""
    place = config.trainer_settings().train.checkpoints
    return None if place is None else files.join(place, config.name)


PROBLEM_FOLDER = "data-problems"
"""In the output folder: the page of what is wrong with data that were refused."""
