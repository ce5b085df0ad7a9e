"""The `beam` section of the configuration: what runs the steps that process data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from trainer.section import Section

NEEDED_FLAGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "FnApiRunner": (),
    "DirectRunner": (),
    "PrismRunner": (),
    "DataflowRunner": (
        ("--project",),
        ("--region",),
        ("--temp_location",),
        ("--sdk_container_image", "--setup_file"),
    ),
    "FlinkRunner": (("--flink_master", "--job_endpoint"), ("--environment_type",)),
    "SparkRunner": (("--spark_master_url", "--spark_rest_url", "--job_endpoint"), ("--environment_type",)),
    "PortableRunner": (("--job_endpoint",), ("--environment_type",)),
}
"""By runner, the flags that it cannot do without; of each group one will do.

A cluster's workers have none of this project's code unless their environment brings it, and Beam's defaults for
addresses are clusters on this machine.
"""


def runner_of(arguments: Sequence[str]) -> str:
    """The runner that Beam's flags name, as Beam calls it; a class by its dotted path as it is."""
    found = _flags(arguments).get("--runner", "DirectRunner")
    names = {name.lower(): name for name in NEEDED_FLAGS}
    # Beam takes names in whatever case, with or without the last word, and classes by their dotted path.
    return names.get(found.lower()) or names.get(f"{found.lower()}runner") or found


def _sound(arguments: tuple[str, ...]) -> tuple[str, ...]:
    values = _flags(arguments)
    if "--runner" not in values:
        return arguments
    found, runner = values["--runner"], runner_of(arguments)
    if runner not in NEEDED_FLAGS and "." not in found:
        raise ValueError(f"--runner={found}: there is no such runner; known: {', '.join(NEEDED_FLAGS)}")
    for alternatives in NEEDED_FLAGS.get(runner, ()):
        if not any(values.get(flag) for flag in alternatives):
            raise ValueError(f"--runner={found} needs {' or '.join(alternatives)}")
    return arguments


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """The values of flags, which are written `--flag=value` or as two arguments."""
    values: dict[str, str] = {}
    flag = None
    for argument in arguments:
        if argument.startswith("--"):
            flag, _, value = argument.partition("=")
            if flag == "--runner" and flag in values:
                raise ValueError("--runner stands twice")
            values[flag] = value
        elif flag is None or values[flag]:
            raise ValueError(f"{argument!r} is no flag and no flag's value; wanted --flag=value")
        else:
            values[flag] = argument
    return values


class Beam(Section):
    """What runs the steps that process data: SegmentationExampleGen, StatisticsGen, Transform, Evaluator and
    BulkInferrer."""

    pipeline_args: Annotated[tuple[str, ...], AfterValidator(_sound)] = ("--runner=FnApiRunner",)
    """Beam's own flags. `FnApiRunner` is Beam's runner inside this process; `DataflowRunner`, `FlinkRunner`,
    `SparkRunner` and `PortableRunner` hand the work to a service, and need flags that say where."""
