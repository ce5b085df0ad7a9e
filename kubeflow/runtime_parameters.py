"""What can be changed from run to run without compiling again, and how it changes a step's execution properties."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from components.segmentation_example_gen.sources.source import placed_at
from kubeflow.run_record.record import TOLD
from pipeline.config.config import ConfigError

DATA = "data"
SPAN = "span"
STEPS = "steps"
FORCE = "force"
SETTINGS = "settings"
"""No parameter of the pipeline: a hash of its settings."""

AS_CONFIGURED = 0
"""Value of `steps`: the number, or the epochs, that the configuration names."""
NEWEST = -1
"""Value of `span`: the newest that is there."""

PREFIX = "runtime_"
"""Of the parameters' names among a step's inputs, which are its execution properties otherwise."""


def with_data(exec_properties: Mapping[str, Any], data: str, span: int) -> dict[str, Any]:
    """SegmentationExampleGen's execution properties with another place or span of the data.

    Args:
        exec_properties: as configured.
        data: folder, URI, or pattern with {SPAN}; empty for the configured one.
        span: number of the newest span to be read; `NEWEST` for the newest that is there.
    """
    source = json.loads(exec_properties["data"])
    # The parameter's default is the configured one, so that NEWEST means the newest.
    source["span"] = None if span == NEWEST else span
    if data:
        source |= placed_at(data)
    return {**exec_properties, "data": json.dumps(source)}


def with_steps(exec_properties: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The Trainer's execution properties with another number of optimisation steps; `AS_CONFIGURED` changes nothing."""
    if steps == AS_CONFIGURED:
        return dict(exec_properties)
    custom_config = json.loads(exec_properties["custom_config"])
    for section in (custom_config["settings"]["hps"], custom_config["settings"]["train"]["warm_start"]):
        section |= {"steps": None, "epochs": None}
    custom_config["settings"]["hps"]["steps"] = steps
    return {**exec_properties, "custom_config": json.dumps(custom_config)}


def what_is_learnt_from(fingerprint: str, settings: str, steps: int) -> str:
    """What tells a training apart from others: the same data, settings and steps would give the same model again.

    Args:
        fingerprint: of the data.
        settings: a hash of the compiled pipeline's settings.
        steps: the runtime parameter.
    """
    return hashlib.sha256(f"{fingerprint} {settings} {steps}".encode()).hexdigest()[:32]


def check(values: Mapping[str, Any], *, has_spans: bool) -> None:
    """Refuses values that only a step would find out to be wrong.

    Args:
        values: by name, of the right types.
        has_spans: whether the data are a pattern of spans.

    Raises:
        ConfigError: naming the parameter.
    """
    if (steps := values.get(STEPS, AS_CONFIGURED)) < AS_CONFIGURED:
        raise ConfigError(
            f"parameter {STEPS}: found {steps}; it must be positive, or {AS_CONFIGURED} for as configured"
        )
    if (span := values.get(SPAN, NEWEST)) < NEWEST:
        raise ConfigError(f"parameter {SPAN}: found {span}; it must be a span's number, or {NEWEST} for the newest")
    if span != NEWEST and not has_spans:
        raise ConfigError(f"parameter {SPAN}: found {span}, but the data are no pattern of spans")


def apply(exec_properties: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
    """A step's execution properties as the runtime parameters that it is given want them."""
    result = dict(exec_properties)
    if DATA in runtime:
        result = with_data(result, runtime[DATA], int(runtime[SPAN]))
    if STEPS in runtime and "custom_config" in result:
        result = with_steps(result, int(runtime[STEPS]))
    return result | {key: runtime[key] for key in TOLD if key in runtime}
