"""What a person sees of a run."""

import io
import logging
import sys

from rich.console import Console

from pipeline.console import ConsoleReporter
from trainer.progress import Progress


def test_the_bar_on_a_terminal_leaves_the_libraries_output_alone():
    """The chatter of TensorFlow and Beam must go on into the log while the bar is shown."""
    shown = io.StringIO()
    outputs = (sys.stdout, sys.stderr)
    with ConsoleReporter(Console(file=shown, force_terminal=True)) as reporter:
        assert (sys.stdout, sys.stderr) == outputs
        reporter.step_started("Trainer")
        print("chatter", file=sys.stderr)
        progress = Progress(step=3, steps=10, loss=0.5, images_per_second=7.0)
        reporter.emit(logging.makeLogRecord({"progress": progress}))
        reporter.step_finished("Trainer", cached=False, seconds=2.0)
    assert "chatter" not in shown.getvalue()
    assert "Trainer" in shown.getvalue()
    assert reporter.steps == [("Trainer", False, 2.0)]


def test_without_a_terminal_progress_is_told_in_lines():
    shown = io.StringIO()
    with ConsoleReporter(Console(file=shown)) as reporter:
        reporter.step_started("Trainer")
        for step in range(1, 101):
            progress = Progress(step=step, steps=100, loss=0.5, images_per_second=7.0)
            reporter.emit(logging.makeLogRecord({"progress": progress}))
        reporter.step_finished("Trainer", cached=True, seconds=0.0)
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert 9 <= len([line for line in lines if line.startswith("step ")]) <= 11
    assert lines[-1] == "✓ Trainer                 as before, from the cache"
