"""What is wrong with data, as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.segmentation_example_gen.problems import SHOWN_PROBLEMS, Problem

PROBLEM_FOLDER = "data-problems"
"""In the output folder: the page of what is wrong with data that were refused."""


def print_problems(console: Console, problems: Sequence[Problem], page: str | None) -> None:
    """Prints the first problems, and where all of them are.

    Args:
        console: where to.
        problems: what was found.
        page: of all of them, with pictures.
    """
    table = Table("split", "pair", "what is wrong", box=None, padding=(0, 2, 0, 0))
    for problem in problems[:SHOWN_PROBLEMS]:
        if console.is_terminal:
            table.add_row(escape(problem.split), escape(problem.pair), escape(str(problem)))
        else:
            # In a file or another program's hands each problem is one line.
            console.print(escape("  ".join(part for part in (problem.split, str(problem)) if part)), soft_wrap=True)
    if table.row_count:
        console.print(table)
    if len(problems) > SHOWN_PROBLEMS:
        console.print(escape(f"... and {len(problems) - SHOWN_PROBLEMS} more"))
    if page:
        console.print(escape(f"all of them, with pictures: {page}"))
