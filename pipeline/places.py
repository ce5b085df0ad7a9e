"""Where a run writes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.problem_table import PROBLEM_FOLDER


@dataclass(frozen=True)
class Places:
    """Paths or URIs of what a run writes."""

    artifacts: str
    """The pipeline's root."""
    pushed_models: str
    """One folder per version is made in it."""
    problems: str
    """The page of problems, if the data are refused."""

    @classmethod
    def local(cls, config: Config) -> Places:
        """In the configuration's output folder."""
        output = config.output_directory
        return cls(
            artifacts=str(output / "artifacts"),
            pushed_models=config.push.directory or str(output / "serving_model"),
            problems=str(output / PROBLEM_FOLDER),
        )
