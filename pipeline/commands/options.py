"""What the modules of the `deeplab` command share: its options, and errors that a user can mend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from components.artifacts.problems import Problem

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, YAML or JSON.")]
DataFolder = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data set's folder or URI, such as VOCdevkit/VOC2012; with {SPAN} in it, a pattern of spans.",
    ),
]
OutputFolder = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Where everything is written; otherwise runs/<name>."),
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key, such as hps.steps=100. May be given again."),
]


class RunInterrupted(Exception):  # noqa: N818  an interruption is no error
    """Somebody pressed Ctrl-C. The message says what is kept."""

    def __init__(self, message: str = "interrupted; the steps that are done are kept, run the same command to go on"):
        super().__init__(message)


class CommandError(Exception):
    """The command cannot do what it was asked; the message says why and what to do."""


class StepFailure(CommandError):  # noqa: N818  it is told with the place of the log
    """A step failed in a way that only the log tells in full."""


class DataRefusedError(CommandError):
    """The data are not sound.

    Args:
        message: what was looked at.
        problems: what was found.
        page: of the problems, with pictures; None if there is none.
    """

    def __init__(self, message: str, problems: Sequence[Problem], page: str | None = None):
        super().__init__(message)
        self.problems = problems
        self.page = page


def warn(sentence: str) -> None:
    """Tells of what is not as it was asked, and goes on."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[yellow]warning:[/] {escape(sentence)}")
