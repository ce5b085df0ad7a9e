"""What is wrong with data, in a form that can be shown, listed and counted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from trainer.common import files

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """The file, and the place in it."""
    what: str
    """What was found there, what was wanted, and what to do."""
    split: str = ""
    pair: str = ""
    """The pair's id; empty if it concerns more than one."""
    image: str = ""
    """The pair's picture."""
    mask: str = ""
    """The file of the pair's mask."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    @property
    def entry(self) -> tuple[str, str]:
        """What it is of: a pair of a split, or, of a list, an entry that has come to no pair."""
        return self.split, self.pair or self.where

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


class DataError(ValueError):
    """Something in a data folder is wrong. Its message names every file concerned, up to a limit.

    Args:
        problems: what is wrong, each with its place.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        shown = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > len(shown):
            shown.append(f"... and {len(self.problems) - len(shown)} more")
        super().__init__("\n".join(shown))


def refusal(where: str, what: str) -> DataError:
    """The error for one problem."""
    return DataError(Problem(where, what))


PROBLEMS_FILE = "problems.json"


def read_problems(folder: str) -> list[Problem]:
    """The problems that `write` has put into a folder.

    Raises:
        OSError: they cannot be read.
    """
    return [Problem(**problem) for problem in json.loads(files.read_bytes(files.join(folder, PROBLEMS_FILE)))]
