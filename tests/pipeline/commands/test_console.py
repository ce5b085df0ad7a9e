"""What a person sees of a run."""

import io
import logging
import sys
from pathlib import Path

from made_evaluation import evaluation_of, exports_of
from rich.console import Console

from components.artifacts.infra_validation import InfraValidationResult
from pipeline.commands.console import ConsoleReporter, print_result
from pipeline.runs.results import RunResult
from schema.labels import Labels
from trainer.training.progress import Progress


def record(step: int, steps: int, **values: float) -> logging.LogRecord:
    """As training logs it."""
    values = {"loss": 0.5, "learning_rate": 0.007, "images_per_second": 7.0, "seconds_left": 90.0, **values}
    return logging.makeLogRecord({"progress": Progress(step=step, steps=steps, **values)})


def test_the_bar_on_a_terminal_leaves_the_libraries_output_alone():
    """The chatter of TensorFlow and Beam must go on into the log while the bar is shown."""
    shown = io.StringIO()
    outputs = (sys.stdout, sys.stderr)
    with ConsoleReporter(Console(file=shown, force_terminal=True)) as reporter:
        assert (sys.stdout, sys.stderr) == outputs
        reporter.step_started("Trainer")
        print("chatter", file=sys.stderr)
        reporter.emit(record(3, 10))
        reporter.step_finished("Trainer", cached=False, seconds=2.0)
    assert "chatter" not in shown.getvalue()
    assert "Trainer" in shown.getvalue()
    assert reporter.steps == [("Trainer", False, 2.0)]


def test_the_bar_says_all_in_a_terminal_of_80_columns():
    shown = io.StringIO()
    with ConsoleReporter(Console(file=shown, force_terminal=True, width=80, color_system=None)) as reporter:
        reporter.step_started("Trainer")
        values = {"loss": 12.3456, "learning_rate": 6.3e-05, "images_per_second": 123.45, "seconds_left": 45_296.0}
        reporter.emit(record(12500, 30000, **values, mean_iou=0.5123, best_mean_iou=0.5304))
    assert "12500/30000  123.5 images/s  12:34:56 left" in shown.getvalue()
    assert "loss 12.346  lr 6.3e-05  mean IoU 0.512 (best 0.530)" in shown.getvalue()


def test_without_a_terminal_progress_is_told_in_lines():
    shown = io.StringIO()
    with ConsoleReporter(Console(file=shown, width=200)) as reporter:
        reporter.step_started("Trainer")
        for step in range(1, 101):
            reporter.emit(record(step, 100, mean_iou=0.4, best_mean_iou=0.45))
        reporter.step_finished("Trainer", cached=True, seconds=0.0)
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    told = [line for line in lines if line.startswith("step ")]
    assert 9 <= len(told) <= 11
    assert told[0] == "step 10/100  7.0 images/s  1:30 left  loss 0.500  lr 0.007  mean IoU 0.400 (best 0.450)"
    assert lines[-1] == "✓ Trainer                 as before, from the cache"


def test_the_table_has_a_row_for_each_other_format_and_for_masks():
    result = RunResult(
        pictures={"train": 12},
        spans="",
        data_report=Path("data.html"),
        evaluation=evaluation_of(Labels.model_validate({"classes": ["background", "cat", "dog"]})),
        validation=InfraValidationResult(blessed=True, reason=None, pictures=8),
        report=Path("report.html"),
        pushed_to=None,
        pushed_copy=Path("pushed"),
        exports=exports_of(),
        predictions=Path("masks"),
        without_mask=3,
    )
    shown = io.StringIO()
    print_result(Console(file=shown, width=200), result, [("Trainer", False, 2.0)], 3.0)
    rows = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert "litert_float16 mean IoU 0.6951, the model's 0.7000 on the same 12 pictures; 2.6 MB, 31 ms a picture" in rows
    assert "onnx left out: it could not be made: a|b <c>" in rows
    assert "the masks masks" in rows
    assert "without masks 3 of the records or files, see masks/problems.jsonl" in rows
