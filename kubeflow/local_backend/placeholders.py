"""A task's command line: what of it the driver and the launcher replace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from kubeflow.local_backend.metadata import to_json, value_to_text
from kubeflow.local_backend.store import Location, LocationError

_INPUT_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


class PlaceholderError(ValueError):
    """A command line cannot be filled in."""


def command_line(arguments: list[str], executor_input: Any, path_of: Callable[[str], str]) -> list[str]:
    """The command that the launcher starts.

    `compileCmdAndArgs` in v2/component/launcher_v2.go replaces `{{$}}` first and then all others, in no certain order:
    a value that looks like a placeholder itself may or may not be replaced; here the order is alphabetical.
    `{"IfPresent": ...}` and `{"Concat": ...}` are resolved in late versions (`resolveCondition` in v2/driver/util.go,
    `compileCmdAndArgs`); early ones hand them to the program as they stand.

    Args:
        arguments: the container's command and args. The launcher starts the first with all others behind it.
        executor_input: ExecutorInput with the defaults of parameters filled in.
        path_of: the launcher's local path of a URI.

    Raises:
        PlaceholderError: a parameter has no value (`resolveSinglePlaceholder` in v2/driver/util.go; early
            versions leave the placeholder), or a structure is malformed.
    """
    parameters = executor_input.inputs.parameter_values
    present = {name for name in parameters if parameters[name].WhichOneof("kind") != "null_value"}
    templates = [part for text in arguments for part in _expanded(text, present)]
    for template in templates:
        for name in _INPUT_PARAMETER.findall(template):
            if name not in parameters:
                raise PlaceholderError(f"argument {template!r}: input parameter {name} has no value")
    replacements = _replacements(executor_input, path_of)
    return [_replaced(template, replacements) for template in templates]


def _replaced(template: str, replacements: list[tuple[str, str]]) -> str:
    for placeholder, replacement in replacements:
        template = template.replace(placeholder, replacement)
    return template


def _replacements(executor_input: Any, path_of: Callable[[str], str]) -> list[tuple[str, str]]:
    """Placeholders and their values: `getPlaceholders` in v2/component/launcher_v2.go."""
    found: dict[str, str] = {}
    for side, lists in (("inputs", executor_input.inputs.artifacts), ("outputs", executor_input.outputs.artifacts)):
        for name in lists:
            for artifact in lists[name].artifacts[:1]:
                found[f"{{{{$.{side}.artifacts['{name}'].uri}}}}"] = artifact.uri
                try:
                    Location.parse(artifact.uri)
                except LocationError:
                    continue
                found[f"{{{{$.{side}.artifacts['{name}'].path}}}}"] = path_of(artifact.uri)
    for name, value in executor_input.inputs.parameter_values.items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = value_to_text(value)
    for name, parameter in executor_input.outputs.parameters.items():
        found[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    # The launcher has no {{$.outputs.output_file}}: the file's name is in {{$}}.
    return [("{{$}}", to_json(executor_input)), *sorted(found.items())]


def _expanded(argument: str, present: set[str]) -> Iterator[str]:
    """An argument, or those that a structure stands for: none, one or more."""
    if not argument.lstrip().startswith(('{"IfPresent":', '{"Concat":')):
        yield argument
        return
    try:
        structure = json.loads(argument)
    except ValueError as error:
        raise PlaceholderError(f"argument {argument!r}: {error}") from error
    yield from _resolved(structure, argument, present)


def _resolved(structure: Any, argument: str, present: set[str]) -> Iterator[str]:
    match structure:
        case str():
            yield structure
        case list():
            for item in structure:
                yield from _resolved(item, argument, present)
        case {"Concat": list(items), **rest} if not rest:
            yield "".join(part for item in items for part in _resolved(item, argument, present))
        case {"IfPresent": {"InputName": str(name), "Then": then, **rest}} if set(rest) <= {"Else"}:
            chosen = then if name in present else rest.get("Else")
            if chosen is not None:
                yield from _resolved(chosen, argument, present)
        case _:
            raise PlaceholderError(f"argument {argument!r}: neither IfPresent nor Concat nor text: {structure!r}")
