"""The commands about runs that were made: `runs`, `explain`, `report`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.commands.console import UNWRAPPED, captured_output
from pipeline.commands.options import CommandError, JsonOutput, warn
from pipeline.config.loading import load_config

if TYPE_CHECKING:
    from pipeline.runs.runs import Run

RunPlace = Annotated[
    Path, typer.Argument(metavar="CONFIG_OR_DIR", help="A configuration, or the output folder of its runs.")
]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Which run, or how its id begins; otherwise the newest.")
]


def runs(place: RunPlace, json_: JsonOutput = False) -> None:
    """List the runs of an output folder: when, on which data, mean IoU, blessed and pushed or not."""
    found = _runs(_output_of(place))
    from pipeline.commands.tables import as_json, print_runs

    if json_:
        typer.echo(as_json(found))
    else:
        console = Console(highlight=False)
        print_runs(console if console.is_terminal else Console(highlight=False, width=UNWRAPPED), found)


def explain(
    place: RunPlace,
    run_id: RunId = None,
    json_: JsonOutput = False,
) -> None:
    """Say why a run's model was blessed or not: each threshold, its value, and the model that it was compared with."""
    run = _run(_output_of(place), run_id)
    from pipeline.commands.tables import print_verdict

    if run.unreadable:
        raise CommandError(f"run {run.id}: {run.unreadable}")
    if run.evaluation is None:
        raise CommandError(f"run {run.id} has judged no model: it is running, or it ended before the Evaluator")
    if json_:
        told = run.evaluation.model_dump(mode="json")
        told["infra_validation"] = run.validation and run.validation.model_dump(mode="json")
        typer.echo(json.dumps(told, indent=2))
    else:
        print_verdict(Console(highlight=False, soft_wrap=True), run)


def report(
    place: RunPlace,
    run_id: RunId = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Say where a run's page is: verdict, metrics, pictures, training, data."""
    import webbrowser

    run = _run(_output_of(place), run_id)
    page = run.report
    if page is None:
        raise CommandError(f"run {run.id} has no page: it is running, or it ended before its step Report; see --run")
    Console(highlight=False, soft_wrap=True).print(escape(str(page)))
    if open_it and not webbrowser.open(page.as_uri()):
        raise CommandError(f"no browser could be opened; the page is {page}")


def _runs(output: Path) -> list[Run]:
    """The runs of an output folder, the newest first."""
    # What TensorFlow says when it is imported is nothing that was asked for.
    with captured_output(Path(os.devnull), verbose=False):
        from pipeline.runs.runs import RunsError, runs_in

        try:
            return runs_in(output)
        except RunsError as error:
            raise CommandError(str(error)) from error


def _run(output: Path, run_id: str | None) -> Run:
    """The run whose id begins so; the newest without one."""
    found = [run for run in _runs(output) if run.id.startswith(run_id or "")]
    if not found:
        raise CommandError(f"{output}: there is no run {run_id}; `deeplab runs` lists them")
    if run_id is not None and len(found) > 1:
        raise CommandError(f"{output}: several runs begin with {run_id}: {', '.join(run.id for run in found)}")
    return found[0]


def _output_of(place: Path) -> Path:
    """The output folder that a configuration's runs go to, or the folder itself."""
    return place if place.is_dir() else load_config(place, warn=warn).output_directory
