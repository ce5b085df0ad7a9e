"""How values and artifacts change on their way through ML Metadata.

The backend keeps artifacts in ML Metadata; what comes out is not what went in, and a task must bear it.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.spec import value_of

ParameterType = pipeline_spec_pb2.ParameterType
SESSION = json.dumps({"Provider": "", "Params": {"fromEnv": "true"}}, separators=(",", ":"))
"""What `store_session_info` is here: SessionInfo in v2/objectstore/config.go, credentials from the environment."""
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_DOUBLE = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def value_to_text(value: Any) -> str:
    """A Value as text: `PbValueToText` in v2/metadata/converter.go, which placeholders follow too.

    Numbers are written without an exponent; lists and structs are JSON as Go writes it: no spaces, keys sorted,
    `<`, `>` and `&` escaped.
    """
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "number_value":
        text = format(Decimal(repr(value.number_value)), "f")
        return text.removesuffix(".0")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind in ("list_value", "struct_value"):
        return to_json(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return ""


def to_json(message: Any) -> str:
    """A message as Go's protojson writes it, on one line: whole numbers without a fraction, keys of maps sorted."""
    return json.dumps(
        _whole(json_format.MessageToDict(message)), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    )


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def text_to_value(text: str, parameter_type: int) -> Any:
    """An output parameter's file as a Value: `TextToPbValue` in v2/metadata/converter.go.

    That function takes `inf` and `nan` too, but they cannot be written into the JSON that the next task gets.

    Raises:
        ValueError: the text is not of the type.
    """
    stripped = text.strip()
    if parameter_type == ParameterType.STRING:
        return value_of(text)
    if parameter_type == ParameterType.NUMBER_INTEGER and _INTEGER.fullmatch(stripped) and abs(int(stripped)) < 2**63:
        return value_of(float(stripped))
    if parameter_type == ParameterType.NUMBER_DOUBLE and _DOUBLE.fullmatch(stripped) and math.isfinite(float(stripped)):
        return value_of(float(stripped))
    if parameter_type == ParameterType.BOOLEAN and stripped in _TRUE + _FALSE:
        return value_of(stripped in _TRUE)
    wanted = {ParameterType.LIST: list, ParameterType.STRUCT: dict}.get(parameter_type)
    if wanted:
        parsed = json.loads(text)
        if isinstance(parsed, wanted):
            return value_of(parsed)
    raise ValueError(f"found {text[:80]!r}, wanted {type_name(parameter_type)}")


def type_name(parameter_type: int) -> str:
    """Such as NUMBER_INTEGER."""
    return str(ParameterType.ParameterTypeEnum.Name(parameter_type))


def published(artifact: Any, *, name: str, identity: str) -> Any:
    """An output artifact as later tasks get to see it.

    `RecordArtifact` in v2/metadata/client.go adds `display_name` and `store_session_info`; `StructValueToMLMDValue`
    and `toRuntimeArtifact` in v2/metadata/converter.go turn booleans into numbers, and put lists under `list` and
    structs under `struct`; the type is lost (`Schema: ""` in `GetOutputArtifactsByExecutionId`).

    Args:
        artifact: RuntimeArtifact.
        name: the output's key.
        identity: the number that ML Metadata gives it; it becomes the artifact's name.

    Raises:
        ValueError: its metadata hold a null, which ML Metadata cannot.
    """
    result = pipeline_spec_pb2.RuntimeArtifact(name=identity, uri=artifact.uri)
    result.type.instance_schema = ""
    metadata = result.metadata.fields
    for key, value in artifact.metadata.fields.items():
        if key == "_kfp_workspace":
            continue
        kind = value.WhichOneof("kind")
        if kind in (None, "null_value"):
            raise ValueError(f"output {name}: its metadata {key} is null, which ML Metadata cannot keep")
        if kind == "bool_value":
            metadata[key].number_value = float(value.bool_value)
        elif kind == "list_value":
            metadata[key].struct_value.fields["list"].CopyFrom(value)
        elif kind == "struct_value":
            metadata[key].struct_value.fields["struct"].CopyFrom(value)
        else:
            metadata[key].CopyFrom(value)
    if "display_name" not in metadata:
        metadata["display_name"].string_value = name
    if "store_session_info" not in metadata:
        metadata["store_session_info"].string_value = SESSION
    return result
