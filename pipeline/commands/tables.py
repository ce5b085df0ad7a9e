"""What the commands `runs`, `explain` and `evaluate` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.artifacts.problems import SHOWN_PROBLEMS, Problem
from trainer.common.metrics import OVERALL_METRICS, decimal, words

if TYPE_CHECKING:
    from pipeline.runs.runs import Run


def as_json(runs: Sequence[Run]) -> str:
    """The runs as a list of objects."""
    return json.dumps(
        [
            {
                "id": run.id,
                "started": run.started.isoformat(timespec="seconds"),
                "spans": run.spans,
                "mean_iou": run.evaluation and run.evaluation.mean_iou,
                "blessed": run.evaluation and run.evaluation.blessed,
                "reasons": list(run.evaluation.reasons) if run.evaluation else [],
                "infra_blessed": run.validation and run.validation.blessed,
                "infra_reason": run.validation and run.validation.reason,
                "pushed_to": run.pushed_to,
                "unreadable": run.unreadable,
                "finished": run.finished,
            }
            for run in runs
        ],
        indent=2,
    )


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """A line for each run."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("run", "started", "pictures", "span", "mean IoU", "blessed", "pushed to"):
        table.add_column(title, no_wrap=title != "pushed to", overflow="fold")
    for run in runs:
        evaluation = run.evaluation
        blessed = "[yellow]unreadable[/]" if run.unreadable else ""
        if evaluation is not None:
            blessed = "[green]yes[/]" if evaluation.blessed else "[red]no[/]"
        table.add_row(
            escape(run.id),
            f"{run.started:%Y-%m-%d %H:%M}",
            "" if evaluation is None else f"{evaluation.candidate.overall.pictures} judged",
            run.spans or "",
            "" if evaluation is None else decimal(evaluation.mean_iou),
            blessed if run.finished else f"{blessed} [yellow]unfinished[/]".strip(),
            escape(run.pushed_to or ""),
        )
    console.print(table)


def print_verdict(console: Console, run: Run) -> None:
    """The verdict on a run's model, and what it rests on."""
    evaluation = run.evaluation
    assert evaluation is not None
    verdict = "[green]blessed[/]" if evaluation.blessed else "[red]not blessed[/]"
    console.print(f"run {escape(run.id)}: {verdict}")
    for check in evaluation.checks:
        console.print(f"  {'[green]✓[/]' if check.passed else '[red]✗[/]'} {escape(check.sentence)}")
    if not evaluation.checks:
        console.print(f"  [red]✗[/] {escape(' '.join(evaluation.reasons))}")
    if run.validation is not None:
        mark = "[green]✓[/]" if run.validation.blessed else "[red]✗[/]"
        console.print(f"  {mark} servable: {escape(run.validation.sentence)}")
    for export in run.exports:
        mark = "[yellow]left out[/]: " if export.file is None else ""
        console.print(f"  export {export.format}: {mark}{escape(export.sentence)}")
    if evaluation.baseline is not None:
        console.print(f"  compared with {escape(evaluation.baseline.uri)} on the same pictures")
    else:
        console.print(f"  compared with none: {escape(evaluation.not_compared or '')}")
    console.print(f"  judged: {escape(evaluation.candidate.uri)}, {evaluation.candidate.overall.pictures} pictures")
    console.print(f"  pushed to: {escape(run.pushed_to or 'nowhere')}")


def print_counts(console: Console, told: dict) -> None:
    """The numbers of `evaluate`."""
    console.print(f"{told['images']} pictures")
    for name in OVERALL_METRICS:
        console.print(f"  {words(name):<24}{decimal(told[name])}")
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("class")
    for title in ("IoU", "boundary IoU"):
        table.add_column(title, justify="right")
    for name, iou in told["iou"].items():
        table.add_row(escape(name), decimal(iou), decimal(told["boundary_iou_per_class"][name]))
    console.print(table)


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
