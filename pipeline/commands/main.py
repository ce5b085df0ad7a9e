"""The `deeplab` command. TensorFlow and TFX are imported only where something runs: help and checks answer at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.commands.models import evaluate, predict, rollback, try_models
from pipeline.commands.options import (
    CommandError,
    ConfigFile,
    DataFolder,
    DataRefusedError,
    OutputFolder,
    Overrides,
    RunInterrupted,
    StepFailure,
    warn,
)
from pipeline.commands.runs import explain, report, runs
from pipeline.commands.tables import print_problems
from pipeline.config.config import Config, ConfigError
from pipeline.config.loading import load_config
from pipeline.output_locations import PROBLEM_FOLDER

if TYPE_CHECKING:
    from components.artifacts.problems import Problem
    from components.segmentation_example_gen.dataset import DataSet
    from pipeline.commands.console import ConsoleReporter
    from pipeline.runs import local
    from pipeline.runs.results import RunResult

app = typer.Typer(
    help="Train DeepLabV3+ on a folder of labelled pictures, judge it by mean IoU and push it as a SavedModel.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

model_app = typer.Typer(help="Look at the network of a configuration.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(model_app, name="model")


SHOWN_LINES = 5
"""Of a failed step's message; TensorFlow's run to pages."""
DRAWINGS = (".svg", ".png", ".pdf")
"""What the network can be drawn into."""


class Backend(Protocol):
    """Runs a pipeline. Other rooms add theirs to `BACKENDS`."""

    def __call__(self, config: Config, reporter: ConsoleReporter, *, in_image: bool) -> RunResult | None:
        """Returns what came out; None if there was nothing to be done.

        Raises:
            CommandError: a step failed, or the backend cannot do what it was asked.
        """


def _beam(config: Config, reporter: ConsoleReporter, *, in_image: bool) -> RunResult:
    """BeamDagRunner, in this process."""
    if in_image:
        raise CommandError("--in-image is for --backend kfp-local; this backend runs all steps in its own process")
    from pipeline.runs import local

    try:
        return local.run(config, reporter)
    except local.StepFailedError as error:
        raise _step_failure(error, config) from error


BACKENDS: dict[str, Backend] = {"beam": _beam}
"""By the name that `run --backend` gives."""


def _known_backend(name: str) -> str:
    if name not in BACKENDS:
        raise typer.BadParameter(f"found {name!r}, it must be one of {', '.join(BACKENDS)}")
    return name


@app.command()
def run(
    config_file: ConfigFile,
    data: DataFolder = None,
    output: OutputFolder = None,
    overrides: Overrides = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            callback=_known_backend,
            help="beam: in this process. kfp-local: compiled, and run as Kubeflow would, without a cluster.",
        ),
    ] = "beam",
    in_image: Annotated[
        bool, typer.Option("--in-image", help="With kfp-local: each step in a container of the configured image.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show everything that the libraries print.")] = False,
) -> None:
    """Run the pipeline on this machine. Run it again to go on where it stopped, or to redo only what has changed."""
    config = load_config(config_file, overrides=overrides or (), data=data, output=output, warn=warn)
    dataset = _read_dataset(config)
    _warn_of_overlap(dataset)
    if backend == "beam":
        _hand_on(config, dataset)
        _warn_of_missing_packages(config)
    started = time.monotonic()
    with _output_folder(config) as log_file:
        try:
            _run(config, log_file, started, partial(BACKENDS[backend], in_image=in_image), verbose=verbose)
        except KeyboardInterrupt:
            # Typer would end the process without a word.
            raise RunInterrupted from None


@app.command()
def retrain(
    config_file: ConfigFile,
    cron: Annotated[str, typer.Option(metavar="EXPRESSION", help="When, such as '0 3 * * 1', Mondays at three.")],
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Such as Europe/Berlin; otherwise this machine's.")
    ] = None,
    data: DataFolder = None,
    output: OutputFolder = None,
    overrides: Overrides = None,
) -> None:
    """Stay and run the pipeline at the times of a cron expression; without new data a run does nothing."""
    import signal
    import subprocess
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from pipeline.cron import Cron
    from pipeline.runs.retraining import SystemClock
    from pipeline.runs.retraining import retrain as run_on_schedule

    load_config(config_file, overrides=overrides or (), data=data, output=output, warn=warn)
    when = Cron.parse(cron)
    try:
        clock = SystemClock(ZoneInfo(time_zone) if time_zone else None)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CommandError(
            f"--time-zone {time_zone}: there is no such time zone; wanted is a name such as UTC"
        ) from error
    console = Console(highlight=False, soft_wrap=True)
    # A process of its own for each run: what TensorFlow has once taken it does not give back.
    command = [sys.executable, "-m", "pipeline.commands.main", "run", str(config_file)]
    for option, value in (("--data", data), ("--output", output)):
        command += [option, str(value)] if value is not None else []
    for override in overrides or ():
        command += ["--set", override]

    def run_once() -> None:
        process = subprocess.Popen(command, start_new_session=True)
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # It ends as it does when it is interrupted itself, and keeps the steps that are done.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if status:
            console.print(f"the run ended with exit status {status}; the schedule goes on")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # What ends a container or a service is to be no harder than Ctrl-C.
    signal.signal(signal.SIGTERM, interrupted)

    try:
        run_on_schedule(
            when, run_once, clock, lambda due: console.print(f"the next run is due {due:%A %Y-%m-%d %H:%M:%S}")
        )
    except KeyboardInterrupt:
        raise RunInterrupted from None


def _run(
    config: Config,
    log_file: Path,
    started: float,
    backend: Callable[[Config, ConsoleReporter], RunResult | None],
    *,
    verbose: bool,
) -> None:
    from pipeline.commands.console import ConsoleReporter, captured_output, logging_to, print_result

    # oneDNN's notice and the like; the log has it with --verbose or without.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # Whatever a page from before says, it does not say it of these data.
    shutil.rmtree(config.output_directory / PROBLEM_FOLDER, ignore_errors=True)
    with captured_output(log_file, verbose=verbose) as console, logging_to(console):
        log = log_file.relative_to(config.output_directory)
        console.print(escape(f"{config.name}: everything goes to {config.output_directory}, the full log to {log}"))
        reporter = ConsoleReporter(console)
        with reporter:
            try:
                result = backend(config, reporter)
            except StepFailure as failure:
                raise CommandError(f"{failure}\nThe full log: {log_file}") from failure
        if result is None:
            console.print("\nnothing was to be done: the last run has learnt from the same data with the same settings")
            return
        print_result(console, result, reporter.steps, time.monotonic() - started)


def _step_failure(error: local.StepFailedError, config: Config) -> CommandError:
    """A step's failure for a person: the lines that say most, the rest is in the log."""
    from components.artifacts.anomalies import AnomaliesError
    from components.artifacts.names import PAGE_FILE
    from components.artifacts.problems import DataError

    step, cause = error.step, error.__cause__
    if isinstance(cause, DataError):
        page = config.output_directory / PROBLEM_FOLDER / PAGE_FILE
        return DataRefusedError(f"{step}: the data are not sound", cause.problems, str(page) if page.exists() else None)
    if isinstance(cause, AnomaliesError):
        from pipeline.runs.results import data_report_of

        return CommandError(f"{step}: {cause}\nThe page of the data: {data_report_of(config, error.run_id)}")
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no message"]
    # Beam hands on whole tracebacks as text; their last line is the error.
    told = lines[-1:] if lines[0].startswith("Traceback") else lines[:SHOWN_LINES]
    name = f"{type(cause).__name__}: " if cause is not None else ""
    return StepFailure(f"{step} failed: {name}{chr(10).join(told)}")


@app.command()
def check(
    config_file: ConfigFile, data: DataFolder = None, output: OutputFolder = None, overrides: Overrides = None
) -> None:
    """Read a configuration and, if there is one, the data set; say what is wrong, on a page as well; run nothing."""
    config = load_config(config_file, overrides=overrides or (), data=data, output=output, warn=warn)
    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(f"{config_file}: sound"))
    if config.data.place is None:
        return
    from components.artifacts.problems import DataError
    from components.segmentation_example_gen import problem_page
    from components.segmentation_example_gen.dataset import quarantine

    dataset = _read_dataset(config)
    problems = [*dataset.problems, *_check_pairs(config, dataset, console)]
    _warn_of_overlap(dataset)
    if not problems:
        console.print(escape(f"{config.data.place}: sound"))
        return
    folder = config.output_directory / PROBLEM_FOLDER
    try:
        page = problem_page.write(problems, dataset, str(folder))
    except OSError as error:
        raise CommandError(f"{folder} cannot be written ({error.strerror}); give another --output") from error
    try:
        quarantine(dataset, problems, config.data.max_quarantined)
    except DataError as error:
        raise DataRefusedError(f"{config.data.place}: the data are not sound", error.problems, page) from error
    print_problems(console, problems, page)
    warn(f"a run would leave these pairs out, as data.max_quarantined {config.data.max_quarantined:g} allows")


def _warn_of_overlap(dataset: DataSet) -> None:
    if both := dataset.overlap:
        warn(f"{len(both)} pictures are in both splits, such as {both[0]}: the mean IoU will flatter the model")


def _warn_of_missing_packages(config: Config) -> None:
    """Tells before an hour of training what will be missing after it."""
    from components.model_export.onnx import MissingPackagesError, require_packages

    if "onnx" in config.export.formats:
        try:
            require_packages()
        except MissingPackagesError as error:
            warn(f"the export onnx will be left out: {error}")


def _read_dataset(config: Config) -> DataSet:
    """Lists the pairs of all splits.

    Raises:
        DataRefusedError: a folder or list as a whole is not usable.
    """
    from components.artifacts.problems import DataError
    from components.segmentation_example_gen.dataset import read_dataset

    try:
        return read_dataset(config.data_source)
    except DataError as error:
        raise DataRefusedError(f"{config.data.place}: the data cannot be read", error.problems) from error


def _hand_on(config: Config, dataset: DataSet) -> None:
    """Saves ExampleGen, which runs in this process, listing the data set again."""
    from components.segmentation_example_gen.dataset import hand_on

    hand_on(dataset, config.data_source)


def _check_pairs(config: Config, dataset: DataSet, console: Console) -> list[Problem]:
    """Decodes every pair of all splits, in parallel, and returns what is wrong with them."""
    from concurrent.futures import ProcessPoolExecutor

    from rich.progress import track

    from components.segmentation_example_gen.pairs import check_pair
    from schema.features import TRAIN_SPLIT

    work = [(pair, split) for split, pairs in dataset.splits.items() for pair in pairs]
    check_one = partial(check_pair, labels=config.data.labels)
    problems, learnt = [], set[int]()
    with ProcessPoolExecutor() as pool:
        checked = track(
            pool.map(check_one, *zip(*work, strict=True), chunksize=16),
            "checking",
            total=len(work),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        for (_, split), (found, classes) in zip(work, checked, strict=True):
            problems += found
            learnt |= classes if split == TRAIN_SPLIT else set()
    if absent := [item.name for index, item in enumerate(config.data.labels.classes) if index not in learnt]:
        warn(
            f"no picture of train has {', '.join(absent)}; if masks mean it by other values, state them in data.labels"
        )
    counts = ", ".join(f"{len(pairs)} {split}" for split, pairs in dataset.splits.items())
    spans = f" of span {', '.join(map(str, dataset.spans))}" if dataset.spans else ""
    console.print(escape(f"{config.data.place}: {counts} pictures{spans} decoded"))
    return problems


def _writable(file: Path) -> Path:
    """Refuses what cannot be written before anything is computed."""
    if file.suffix.lower() != ".png":
        raise CommandError(f"--output-file {file}: found the suffix {file.suffix or '(none)'}, it must be .png")
    if not file.parent.is_dir():
        raise CommandError(f"--output-file {file}: there is no folder {file.parent}; make it, or give another")
    return file


@app.command()
def show_batch(
    config_file: ConfigFile,
    data: DataFolder = None,
    overrides: Overrides = None,
    step: Annotated[int, typer.Option(min=0, metavar="K", help="Which step's batch, counted from 0.")] = 0,
    output_file: Annotated[
        Path, typer.Option(metavar="FILE", callback=_writable, help="The sheet, a .png file.")
    ] = Path("batch.png"),
) -> None:
    """Draw what the model will see in a step of training: pictures as augmented, labels in colours, and both.

    Nothing else of the data is decoded and no pipeline is run. Order and augmentation are those of training, unless it
    leaves unsound pairs out, as data.max_quarantined may allow.
    """
    config = load_config(config_file, overrides=overrides or (), data=data, warn=warn)
    dataset = _read_dataset(config)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from components.artifacts.problems import DataError
    from pipeline.datasets import show_batch

    try:
        ids = show_batch.write(config, dataset, step, output_file)
    except DataError as error:
        raise DataRefusedError(f"{config.data.place}: the data are not sound", error.problems) from error
    except OSError as error:
        raise CommandError(f"--output-file {output_file}: it cannot be written ({error}); give another") from error
    Console(highlight=False, soft_wrap=True).print(
        escape(f"{output_file}: the {len(ids)} pictures of step {step}: {', '.join(ids)}")
    )


for command in (runs, explain, report, evaluate, predict):
    app.command()(command)
app.command("try")(try_models)
app.command()(rollback)


@app.command()
def make_data(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where VOCdevkit/VOC2012 is made.")],
    train: Annotated[int, typer.Option(min=1, help="Pictures to learn from.")] = 160,
    val: Annotated[int, typer.Option(min=1, help="Pictures to judge on.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other pictures.")] = 0,
) -> None:
    """Write a small generated VOC devkit of textured shapes, the same every time."""
    from pipeline.datasets.synthetic_voc import write_devkit

    try:
        root = write_devkit(directory, train=train, val=val, seed=seed)
    except FileExistsError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{directory} cannot be written ({error.strerror}); give another folder") from error
    Console(highlight=False, soft_wrap=True).print(escape(f"{train} train and {val} val pictures in {root}"))


@app.command()
def fetch_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set: voc2012.")],
    with_sbd: Annotated[
        bool, typer.Option("--with-sbd", help="Add SBD's masks, in SegmentationClassAug, and the list train_aug.")
    ] = False,
    directory: Annotated[
        Path, typer.Option("--directory", metavar="DIR", help="Where VOCdevkit/VOC2012 is made.")
    ] = Path("data"),
    mirrors: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="URL",
            help="A folder with the archives, tried before their own hosts. May be given again.",
        ),
    ] = None,
) -> None:
    """Download Pascal VOC 2012, 2 GB. Run it again to go on where it stopped."""
    if name != "voc2012":
        raise CommandError(f"{name}: there is no such data set to fetch; known: voc2012")
    from pipeline.datasets import fetch_voc

    try:
        fetch_voc.fetch_voc2012(
            directory, Console(highlight=False, soft_wrap=True), with_sbd=with_sbd, mirrors=mirrors or ()
        )
    except fetch_voc.FetchError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or directory} cannot be written ({error.strerror or error})") from error
    except KeyboardInterrupt:
        raise RunInterrupted from None


def _drawable(file: Path | None) -> Path | None:
    """Refuses what cannot be drawn into before the network is built."""
    if file is not None and file.suffix.lower() not in DRAWINGS:
        raise CommandError(
            f"--diagram {file}: found the suffix {file.suffix or '(none)'}, it must be one of {', '.join(DRAWINGS)}"
        )
    if file is not None and not file.parent.is_dir():
        raise CommandError(f"--diagram {file}: there is no folder {file.parent}; make it, or give another")
    return file


@model_app.command()
def summary(
    config_file: ConfigFile,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=_drawable, help="Draw it as well, into an .svg, .png or .pdf file."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print the network's parts with their sizes, parameters and multiply-accumulates. Nothing is downloaded."""
    config = load_config(config_file, overrides=overrides or (), warn=warn)
    from pipeline.commands.models import model_parts, print_parts

    parts = model_parts(config)
    print_parts(parts)
    if diagram is not None:
        from pipeline.model_diagram import draw

        try:
            draw(parts, diagram)
        except OSError as error:
            raise CommandError(f"--diagram {diagram}: it cannot be written ({error.strerror}); give another") from error


@contextlib.contextmanager
def _output_folder(config: Config) -> Iterator[Path]:
    """Makes the output folder, keeps other runs out of it, and yields the log file of this run."""
    import fcntl

    directory = config.output_directory
    logs = directory / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise CommandError(
            f"the output folder {directory} cannot be written ({error.strerror}); give another with --output"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"another run is at work in {directory}; wait for it, or give another folder with --output"
            ) from error
        yield logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deeplab {version('deeplabv3plus-tfx')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The command's entry point: errors that a user can mend are told in words, without a traceback."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except (ConfigError, CommandError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}")
        if isinstance(error, DataRefusedError):
            print_problems(console, error.problems, error.page)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except RunInterrupted as interruption:
        console.print(str(interruption))
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
