"""What is told of a run whose model is good and cannot be served."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
from pathlib import Path

import pytest
from made_evaluation import evaluation_of, exports_of
from rich.console import Console

from components.artifacts.infra_validation import InfraValidationResult
from pipeline.commands.console import print_result
from pipeline.commands.tables import as_json, print_verdict
from pipeline.runs.results import RunResult
from pipeline.runs.runs import Run
from schema.labels import Labels

LABELS = Labels.model_validate({"classes": ["background", "cat", "dog"]})
REASON = "calling the signature segment ended the process with signal SIGSEGV"
REFUSED = InfraValidationResult(blessed=False, reason=REASON, pictures=8)
GOOD = InfraValidationResult(
    blessed=True, reason=None, pictures=8, seconds={"load": 2.0, "segment": 1.5}, peak_memory_mib=712.4
)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, color_system=None)


def run_with(validation: InfraValidationResult | None) -> Run:
    return Run(
        id="20260101-000000",
        started=datetime.datetime(2026, 1, 1),
        spans="",
        evaluation=evaluation_of(LABELS),
        validation=validation,
        exports=(),
        report=None,
        pushed_to=None,
        unreadable=None,
        finished=True,
    )


@pytest.mark.parametrize(
    ("validation", "told"),
    [
        (REFUSED, f"✗ servable: {REASON}"),
        (GOOD, "✓ servable: every signature answers for 8 pictures in a fresh process: 3.5 s, 712 MiB"),
    ],
)
def test_explain_says_why(console, validation, told):
    print_verdict(console, run_with(validation))
    assert told in console.file.getvalue()


def test_runs_of_earlier_versions_are_explained_without(console):
    print_verdict(console, run_with(None))
    assert "servable" not in console.file.getvalue()


def test_explain_tells_of_the_other_formats(console):
    print_verdict(console, dataclasses.replace(run_with(GOOD), exports=exports_of()))
    told = console.file.getvalue()
    assert "export litert_float16: mean IoU 0.6951, the model's 0.7000 on the same 12 pictures; 2.6 MB" in told
    assert "export litert_int8: left out: its mean IoU is 0.6000" in told


def test_the_list_of_runs_has_it():
    (told,) = json.loads(as_json([run_with(REFUSED)]))
    assert told["blessed"] is True
    assert told["infra_blessed"] is False
    assert told["infra_reason"] == REASON


def test_the_table_at_the_end_of_a_run_says_why(console):
    result = RunResult(
        pictures={"train": 12, "eval": 4},
        spans="",
        data_report=Path("report.html"),
        evaluation=evaluation_of(LABELS),
        validation=REFUSED,
        report=Path("index.html"),
        pushed_to=None,
        pushed_copy=Path("copy"),
    )
    print_result(console, result, [], 1.0)
    lines = console.file.getvalue().splitlines()
    assert any(line.split() == ["servable", "no:", *REASON.split()] for line in lines)
    assert any(line.split() == ["pushed", "to", "nowhere"] for line in lines)
