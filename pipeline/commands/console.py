"""What a person sees of a run: its steps, a bar in training, warnings that matter, and a table at the end."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import absl.logging
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from components.artifacts.predictions import PROBLEMS_FILE
from pipeline.steps import RESOLVERS
from trainer.common.files import is_remote
from trainer.common.metrics import MEAN_IOU, OVERALL_METRICS, decimal, words

if TYPE_CHECKING:
    from components.artifacts.evaluation import Scores
    from pipeline.runs.results import RunResult

UNWRAPPED = 10_000
"""Characters of a line where there is no terminal."""
BAR_WIDTH = 16
"""Characters. It leaves room for both lines of a training's progress in a terminal of 80."""
OUR_LOGGERS = ("pipeline", "components", "trainer")
"""Whatever these log is worth a line of the log file; their warnings, and no others, are worth the screen."""


@contextlib.contextmanager
def captured_output(log_file: Path, *, verbose: bool) -> Iterator[Console]:
    """Sends all that this process prints, C++ libraries included, into a file, and yields a console on the terminal.

    Args:
        log_file: is appended to.
        verbose: show everything on the terminal as well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    terminal_fd, stdout_fd = os.dup(2), os.dup(1)
    tee = subprocess.Popen(["tee", "-a", str(log_file)], stdin=subprocess.PIPE, stdout=terminal_fd) if verbose else None
    target = tee.stdin.fileno() if tee and tee.stdin else os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        with os.fdopen(terminal_fd, "w", closefd=False) as terminal:
            # Without a terminal nothing is wrapped: a path in two lines is none.
            yield Console(file=terminal, highlight=False, width=None if terminal.isatty() else UNWRAPPED)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stdout_fd, 1)
        os.dup2(terminal_fd, 2)
        if tee and tee.stdin:
            tee.stdin.close()
            tee.wait()
        else:
            os.close(target)
        os.close(stdout_fd)
        os.close(terminal_fd)


@contextlib.contextmanager
def logging_to(console: Console) -> Iterator[None]:
    """Logs every library to standard error, and our own warnings to the console as well."""
    # Python's own warnings are for developers; they go to the log with the rest.
    logging.captureWarnings(True)
    # TFX logs through absl, which by itself tells warnings only.
    absl.logging.set_verbosity(absl.logging.INFO)
    warnings.simplefilter("default")
    handler = _ConsoleHandler(console)
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [handler, stream]
    try:
        yield
    finally:
        for name in OUR_LOGGERS:
            logging.getLogger(name).handlers = []


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(f"[yellow]warning:[/] {escape(record.getMessage())}")


class ConsoleReporter(logging.Handler):
    """Shows each step as it begins and ends, and training's progress as a bar.

    It is a log handler as well, since training tells of its progress by log records.
    """

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self.steps: list[tuple[str, bool, float]] = []
        """Name, from the cache or not, seconds."""
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # What the libraries print belongs into the log, where the descriptors lead.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None
        self._shown_share = 0.0

    def __enter__(self) -> ConsoleReporter:
        self._progress.start()
        self.waiting("loading TensorFlow and TFX")
        logging.getLogger("trainer.training.progress").addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("trainer.training.progress").removeHandler(self)
        self._progress.stop()

    def waiting(self, what: str) -> None:
        """Shows that something without steps of its own is at work."""
        self._clear()
        self._task = self._progress.add_task(what, total=None, detail="")

    def step_started(self, step: str) -> None:
        self.waiting(step)
        if not self._console.is_terminal:
            self._console.print(f"  {step} ...")

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        self._clear()
        self.steps.append((step, cached, seconds))
        outcome = "[dim]as before, from the cache[/]" if cached else f"{seconds:6.1f} s"
        self._console.print(f"[green]✓[/] {step:<24}{outcome}")

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None or self._task is None:
            return
        speed = (
            f"{progress.step}/{progress.steps}  {progress.images_per_second:.1f} images/s  {progress.time_left} left"
        )
        quality = f"loss {progress.loss:.3f}  lr {progress.learning_rate:.2g}"
        if progress.mean_iou is not None:
            quality += f"  mean IoU {progress.mean_iou:.3f} (best {progress.best_mean_iou:.3f})"
        self._progress.update(self._task, total=progress.steps, completed=progress.step, detail=f"{speed}\n{quality}")
        share = progress.step / progress.steps
        if not self._console.is_terminal and share >= self._shown_share + 0.1:
            self._shown_share = share
            self._console.print(f"    step {speed}  {quality}")

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
            self._shown_share = 0.0


def _destination(result: RunResult) -> str:
    if result.pushed_to is None:
        return "nowhere"
    if not is_remote(result.pushed_to) and not Path(result.pushed_to).exists():
        return f"{result.pushed_to} by an earlier run; it is gone from there, a copy is in {result.pushed_copy}"
    return result.pushed_to


def _with_interval(scores: Scores, metric: str) -> str:
    low_and_high = scores.intervals.get(metric)
    between = "" if low_and_high is None else f", 95 % between {low_and_high[0]:.4f} and {low_and_high[1]:.4f}"
    return decimal(scores.metrics[metric]) + between


def print_result(console: Console, result: RunResult, steps: list[tuple[str, bool, float]], seconds: float) -> None:
    """The table at the end of a run."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    spans = f", span {result.spans}" if result.spans else ""
    table.add_row("pictures", ", ".join(f"{count} {split}" for split, count in result.pictures.items()) + spans)
    if result.quarantined:
        table.add_row("[yellow]left out[/]", escape(f"{result.quarantined} pairs, see {result.problem_page}"))
    table.add_row("the data", escape(str(result.data_report)))
    evaluation = result.evaluation
    table.add_row("mean IoU", _with_interval(evaluation.candidate.overall, MEAN_IOU))
    others = ", ".join(
        f"{words(name)} {decimal(evaluation.candidate.overall.metrics[name])}"
        for name in OVERALL_METRICS
        if name != MEAN_IOU
    )
    table.add_row("", f"[dim]{others}[/]")
    before = f"none, {evaluation.not_compared}"
    if evaluation.baseline is not None:
        before = f"{decimal(evaluation.baseline_mean_iou)} on the same pictures, {evaluation.baseline.uri}"
    table.add_row("compared with", escape(before))
    if result.started_from is not None:
        table.add_row("started from", escape(result.started_from))
    reasons = escape("; ".join(evaluation.reasons))
    table.add_row("blessed", "[green]yes[/]" if evaluation.blessed else f"[red]no[/]: {reasons}")
    servable = "[green]yes[/]" if result.validation.blessed else "[red]no[/]"
    table.add_row("servable", f"{servable}: {escape(result.validation.sentence)}")
    for export in result.exports:
        sentence = escape(export.sentence)
        table.add_row(export.format, f"[yellow]left out[/]: {sentence}" if export.reason else sentence)
    table.add_row("pushed to", escape(_destination(result)))
    if result.predictions is not None:
        table.add_row("the masks", escape(str(result.predictions)))
        if result.without_mask:
            problems = result.predictions / PROBLEMS_FILE
            table.add_row(
                "[yellow]without masks[/]", escape(f"{result.without_mask} of the records or files, see {problems}")
            )
    table.add_row("the report", escape(str(result.report)))
    for anomaly in result.anomalies:
        table.add_row("[yellow]anomaly[/]", escape(anomaly))
    working = ", ".join(f"{step} {taken:.0f} s" for step, cached, taken in steps if not cached and taken >= 0.5)
    table.add_row("time", f"{seconds:.0f} s in all" + (f": {working}" if working else ""))
    console.print()
    if all(cached for step, cached, _ in steps if step not in RESOLVERS):
        console.print("nothing was to be done: data, settings and code are those of an earlier run")
    console.print(table)
