"""The commands `deeplab compile`, `submit` and `schedule`, and the backend kfp-local of `deeplab run`.

Kubeflow's client is imported only where one of them runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from kubeflow import runtime_parameters, training_job_command
from kubeflow.package import Package, PackageError
from kubeflow.storage import check_places
from pipeline.commands import main as command_line
from pipeline.commands.options import CommandError, ConfigFile, Overrides, warn
from pipeline.config.config import Config, ConfigError
from pipeline.config.kubeflow import Kubeflow
from pipeline.config.loading import load_config, with_data
from pipeline.cron import NO_TIME_ZONE, Cron

if TYPE_CHECKING:
    from kubeflow.client.connection import Connection
    from kubeflow.client.submit import SubmittedRun
    from pipeline.commands.console import ConsoleReporter
    from pipeline.runs.results import RunResult

main = command_line.main
command_line.app.command("training-job")(training_job_command.command)


class _CreateByDefault(TyperGroup):
    """`deeplab schedule CONFIG ...` is `deeplab schedule create CONFIG ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["create", *args]
        return super().parse_args(ctx, args)


schedule_app = typer.Typer(
    help="Run the pipeline by the clock: deeplab schedule CONFIG --cron '0 0 3 * * 1'; see to what is scheduled.",
    cls=_CreateByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
)
command_line.app.add_typer(schedule_app, name="schedule")

DataUri = Annotated[
    str | None, typer.Option("--data", metavar="URI", help="The data set; the pipeline's parameter `data`.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="A runtime parameter, such as steps=100. Repeatable."),
]
ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="CONFIG", help="Endpoint, namespace and login from a configuration.")
]
Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="URL", help="Kubeflow Pipelines' address.")]
Namespace = Annotated[str | None, typer.Option("--namespace", help="The namespace, in an installation of several.")]


def _kfp_local(config: Config, reporter: ConsoleReporter, *, in_image: bool) -> RunResult | None:
    """Compiled, and run as Kubeflow would."""
    from kubeflow import local_run
    from kubeflow.local_backend.records import BackendError

    try:
        return local_run.run(config, reporter, in_image=in_image)
    except (BackendError, FileNotFoundError) as error:
        raise CommandError(str(error)) from error


command_line.BACKENDS["kfp-local"] = _kfp_local


@command_line.app.command("compile")
def compile_(
    config_file: ConfigFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "pipeline.yaml"
    ),
    data: DataUri = None,
    overrides: Overrides = None,
) -> None:
    """Write the pipeline as Kubeflow takes it: one YAML file of two documents. Nothing is sent."""
    package = _compiled(load_config(config_file, overrides=overrides or (), data=data, warn=warn))
    try:
        output.write_text(package.text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output {output}: it cannot be written ({error.strerror}); give another") from error
    _say(f"{package.version}: {len(package.spec['root']['dag']['tasks'])} steps in {output}")


@command_line.app.command()
def submit(
    config_file: ConfigFile,
    data: DataUri = None,
    overrides: Overrides = None,
    parameters: Parameters = None,
    run_name: Annotated[str | None, typer.Option("--run-name", metavar="NAME", help="A name not yet taken.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the steps until the run has ended.")] = False,
) -> None:
    """Run the pipeline on Kubeflow. What is uploaded already is not uploaded again."""
    config = load_config(config_file, overrides=overrides or (), warn=warn)
    given, texts = _given(config, data, parameters)
    from kubeflow.client import submit as submitting
    from kubeflow.client.connection import connect

    # Compiling takes half a minute: who cannot log in hears of it before.
    connection = connect(config.kubeflow)
    with _package_errors():
        package = _compiled(_to_compile(config, given))
        values = _parameters(package, texts, given)
        run = submitting.start(connection, package, config.kubeflow, values, run_name)
    _say(f"run {run.name} ({run.run_id}) of {package.version}: {run.link}")
    if wait:
        _wait(connection, config.kubeflow, package, run)


def _wait(connection: Connection, settings: Kubeflow, package: Package, run: SubmittedRun) -> None:
    """Shows the steps until the run has ended."""
    from kubeflow.client import submit as submitting
    from kubeflow.client.connection import connect

    steps = list(package.spec["root"]["dag"]["tasks"])
    try:
        for step in submitting.watch(connection, lambda: connect(settings), run, steps):
            _say(f"{step.name}: {step.state.lower()}")
    except KeyboardInterrupt:
        _say(f"no longer watched; the run goes on: {run.link}")
        raise typer.Exit(130) from None
    _say(f"run {run.name}: succeeded")


@schedule_app.command()
def create(
    config_file: ConfigFile,
    cron: Annotated[
        str,
        typer.Option(
            "--cron", help="Six fields, seconds first, such as '0 0 3 * * 1': Mondays at three, Kubeflow's time."
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Of the schedule; otherwise the pipeline's.")] = None,
    data: DataUri = None,
    overrides: Overrides = None,
    parameters: Parameters = None,
    time_zone: Annotated[str | None, typer.Option("--time-zone", hidden=True)] = None,
) -> None:
    """Run the pipeline by the clock. A schedule of this name that is there is replaced."""
    config = load_config(config_file, overrides=overrides or (), warn=warn)
    if time_zone is not None:
        raise ConfigError(f"--time-zone {time_zone}: {NO_TIME_ZONE}")
    when = Cron.parse(cron)
    if len(cron.split()) == 5 and not cron.startswith("@"):
        _say(f"cron {cron!r} has five fields; Kubeflow's begins with the seconds: {when.text!r}")
    given, texts = _given(config, data, parameters)
    from kubeflow.client import schedule
    from kubeflow.client.connection import connect

    connection = connect(config.kubeflow)
    with _package_errors():
        package = _compiled(_to_compile(config, given))
        values = _parameters(package, texts, given)
        outcome = schedule.put(connection, package, config.kubeflow, name or package.name, when, values)
    done = outcome.schedule
    told = {"made": "is made", "enabled": "was paused and runs again", "nothing": "is in force already"}[outcome.done]
    _say(f"schedule {done.name} ({done.schedule_id}) {told}: {done.cron} of {outcome.version}")
    for old in outcome.replaced:
        _say(f"it takes the place of {old}, which is deleted")


@schedule_app.command("list")
def list_(config: ConfigOption = None, endpoint: Endpoint = None, namespace: Namespace = None) -> None:
    """Show what is scheduled."""
    from kubeflow.client import schedule

    rows = schedule.rows(_connection(config, endpoint, namespace))
    if not rows:
        _say("nothing is scheduled")
        return
    lines = [("name", "id", "cron", "enabled", "version", "next run if UTC", "last run", "error")]
    for row in rows:
        one = row.schedule
        following = f"{row.next_run:%Y-%m-%d %H:%M}" if row.next_run else ""
        enabled = "yes" if one.enabled else "no"
        lines.append((one.name, one.schedule_id, one.cron, enabled, row.version, following, row.last_run, one.error))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        # Not rich's table, which would cut ids to the terminal's width.
        _say("  ".join(f"{cell or '-':{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


@schedule_app.command()
def pause(
    name: ScheduleName, config: ConfigOption = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Start no more runs until it is resumed."""
    from kubeflow.client import schedule

    paused = schedule.pause(_connection(config, endpoint, namespace), name)
    _say(f"schedule {name} {'is paused' if paused else 'was paused already'}")


@schedule_app.command()
def resume(
    name: ScheduleName, config: ConfigOption = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Start runs again. What was missed is not made up for."""
    from kubeflow.client import schedule

    resumed = schedule.resume(_connection(config, endpoint, namespace), name)
    _say(f"schedule {name} {'was running already' if resumed.enabled else 'runs again'}: {resumed.cron}")


@schedule_app.command()
def delete(
    name: ScheduleName, config: ConfigOption = None, endpoint: Endpoint = None, namespace: Namespace = None
) -> None:
    """Take a schedule away. Its runs stay."""
    from kubeflow.client import schedule

    for one in schedule.delete(_connection(config, endpoint, namespace), name):
        _say(f"schedule {name} ({one.schedule_id}) is deleted")


def _connection(config: Path | None, endpoint: str | None, namespace: str | None) -> Connection:
    from kubeflow.client.connection import connect

    given = {key: value for key, value in (("endpoint", endpoint), ("namespace", namespace)) if value is not None}
    if config is not None:
        return connect(
            load_config(
                config, overrides=[f"kubeflow.{key}={value}" for key, value in given.items()], warn=warn
            ).kubeflow
        )
    if endpoint is None:
        raise ConfigError("where is Kubeflow? Give --config CONFIG, or --endpoint URL")
    try:
        return connect(Kubeflow.model_validate(given))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ConfigError(f"--{wrong['loc'][0]} {wrong['input']}: {wrong['msg']}") from None


def _given(config: Config, data: str | None, parameters: Sequence[str] | None) -> tuple[Config, list[str]]:
    """The configuration with this run's data, and the runtime parameters as they are given, with the data among them.

    Raises:
        ConfigError: the data are given twice, or there is something that the steps cannot reach.
    """
    texts = list(parameters or ())
    named = [text.partition("=")[2] for text in texts if text.partition("=")[0] == runtime_parameters.DATA]
    if len(named) + (data is not None) > 1:
        raise ConfigError("--data and --parameter data=... name the data twice; give one of them")
    place = named[0] if named else data
    given = config if place is None else with_data(config, place)
    check_places(given)
    if place is not None:
        texts = [text for text in texts if text.partition("=")[0] != runtime_parameters.DATA]
        texts.append(f"{runtime_parameters.DATA}={given.data_source.place}")
    return given, texts


def _to_compile(config: Config, given: Config) -> Config:
    """The configuration as it is, so that other data are no other version; with this run's if it has none."""
    try:
        check_places(config)
    except ConfigError:
        return given
    return config


def _compiled(config: Config) -> Package:
    from pipeline.commands.console import captured_output

    # TensorFlow's and TFX's notices on being imported; what is wrong comes as an exception.
    with captured_output(Path(os.devnull), verbose=False):
        from kubeflow.compiler import compile_pipeline

        return compile_pipeline(config)


def _parameters(package: Package, texts: Sequence[str], given: Config) -> dict[str, Any]:
    from kubeflow.client.submit import read_parameters

    values = read_parameters(package, texts)
    runtime_parameters.check(values, has_spans=given.data.pattern is not None)
    return values


@contextmanager
def _package_errors() -> Iterator[None]:
    try:
        yield
    except PackageError as error:
        raise CommandError(str(error)) from error


def _say(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(escape(line))
