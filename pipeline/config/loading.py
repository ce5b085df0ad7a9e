"""Loading a configuration file, and its errors in words."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.segmentation_example_gen.sources import kind_of_tag
from components.segmentation_example_gen.sources.source import SPAN, placed_at
from pipeline.config.config import Config, ConfigError
from pipeline.config.seed import from_seed, is_seed_config
from schema.section import Section, sections_in
from trainer.common.files import is_remote
from trainer.settings import EARLIER_MODELS, NAMED_WEIGHTS


def load_config(
    file: Path,
    *,
    overrides: Sequence[str] = (),
    data: str | None = None,
    output: Path | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> Config:
    """Reads a configuration file, ours or one of the seed's (`pipeline.config.seed`).

    Args:
        file: YAML or JSON.
        overrides: `key=value` with dots between the levels of the key and YAML as the value; they win over the file.
        data: wins over `data.root`, or with {SPAN} in it over `data.pattern`.
        output: wins over `output`.
        warn: is told what the file asks for that is not followed, a sentence each.

    Raises:
        ConfigError: naming the file and everything that is wrong with it.
    """
    values = _read(file)
    for override in overrides:
        _apply(values, override)
    if data is not None:
        place, other = ("pattern", "root") if SPAN in data else ("root", "pattern")
        _set(values, ["data", place], data, f"--data {data}")
        values["data"].pop(other, None)
    if output is not None:
        values["output"] = str(output)
    if is_seed_config(values):
        set_here = [override.partition("=")[0] for override in overrides]
        values = from_seed(values, lambda sentence: warn(f"{file}: {sentence}"), set_here)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {_in_words(details)}" for details in error.errors())) from error
    weights = config.trainer_settings().train.weights
    if weights not in NAMED_WEIGHTS and not is_remote(weights) and not Path(weights).exists():
        raise ConfigError(
            f"{file}: train.init_from: found {config.train.weights!r}, and there is no such file or folder; "
            f"allowed: {', '.join([*EARLIER_MODELS, *NAMED_WEIGHTS])}, or the path or URI of a .h5 or .keras file or "
            "of a SavedModel"
        )
    return config


def with_data(config: Config, place: str) -> Config:
    """The same configuration with data from another folder or URI, or with {SPAN} in it, a pattern of spans.

    Raises:
        ConfigError: the place cannot be used.
    """
    values = config.model_dump(exclude_unset=True)
    try:
        return Config.model_validate(values | {"data": values.get("data", {}) | placed_at(place)})
    except ValidationError as error:
        raise ConfigError("\n".join(_in_words(details) for details in error.errors())) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: there is no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    try:
        values = json.loads(text) if file.suffix == ".json" else yaml.load(text, _Loader)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}, line {error.lineno}: not JSON: {error.msg}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: holds {type(values).__name__}, wanted keys and values")
    return values


class _Loader(yaml.SafeLoader):
    """YAML with two of its surprises mended: 4e-5 is a number, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _apply(values: dict[str, Any], override: str) -> None:
    """Applies one `key=value` of the command line."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: wanted key=value, such as --set hps.steps=100")
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error
    _set(values, key.split("."), value, f"--set {override}")


def _set(values: dict[str, Any], path: list[str], value: Any, source: str) -> None:
    """Sets a value in nested dictionaries, making those that are missing."""
    for depth, key in enumerate(path[:-1]):
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {'.'.join(path[: depth + 1])} is no section, it has no keys")
    values[path[-1]] = value


def _in_words(error: Any) -> str:
    """One error of pydantic as: key, what was found, what is allowed."""
    # A tag of a union, which has spaces, is no key.
    path = [part for part in error["loc"] if " " not in str(part)]
    key = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        known = ", ".join(_section(error["loc"][:-1]).model_fields)
        return f"{key}: unknown key; allowed here: {known}"
    if error["type"] == "missing":
        return f"{key}: missing, and it has no default"
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if isinstance(error["input"], dict):
        return f"{key}: {message}"
    return f"{key}: found {error['input']!r}; {message[0].lower()}{message[1:]}"


def _section(path: Sequence[str | int]) -> type[Section]:
    """The section that a path of keys, indices and tags of unions leads to."""
    section: type[Section] = Config
    kinds: list[type[Section]] = []
    for key in path:
        if kind := kind_of_tag(key):
            kinds = [kind]
        elif isinstance(key, str) and " " not in key:
            kinds = sections_in((kinds[0] if kinds else section).model_fields[key].annotation)
    return kinds[0] if kinds else section
