"""What values and artifacts look like after ML Metadata."""

from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.metadata import ParameterType, published, text_to_value, value_to_text
from kubeflow.local_backend.spec import value_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (3, "3"),
        (0.5, "0.5"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (-2.0, "-2"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ([1, "<é>"], '[1,"\\u003cé\\u003e"]'),
        ({"b": 1.5, "a": None}, '{"a":null,"b":1.5}'),
    ],
)
def test_text_of_a_value(value: Any, text: str) -> None:
    assert value_to_text(value_of(value)) == text


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (" a\n", "STRING", " a\n"),
        (" 3\n", "NUMBER_INTEGER", 3),
        ("-1.5e3", "NUMBER_DOUBLE", -1500),
        ("T", "BOOLEAN", True),
        ("0", "BOOLEAN", False),
        ("[1]", "LIST", [1]),
        ('{"a": 1}', "STRUCT", {"a": 1}),
    ],
)
def test_value_of_a_text(text: str, kind: str, value: Any) -> None:
    assert json_format.MessageToDict(text_to_value(text, ParameterType.ParameterTypeEnum.Value(kind))) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("3.0", "NUMBER_INTEGER"),
        ("1_000", "NUMBER_INTEGER"),
        ("", "NUMBER_INTEGER"),
        ("9223372036854775808", "NUMBER_INTEGER"),
        ("1_0.5", "NUMBER_DOUBLE"),
        ("nan", "NUMBER_DOUBLE"),
        ("1e999", "NUMBER_DOUBLE"),
        ("yes", "BOOLEAN"),
        ("{}", "LIST"),
        ("[]", "STRUCT"),
        ("[", "LIST"),
        ("x", "TASK_FINAL_STATUS"),
    ],
)
def test_text_that_is_not_of_the_type(text: str, kind: str) -> None:
    with pytest.raises(ValueError):
        text_to_value(text, ParameterType.ParameterTypeEnum.Value(kind))


def artifact(metadata: dict[str, Any]) -> Any:
    fields = {"uri": "gs://b/a", "type": {"schemaTitle": "system.Model"}, "metadata": metadata}
    return json_format.ParseDict(fields, pipeline_spec_pb2.RuntimeArtifact())


def test_a_published_artifact_has_lost_its_type_and_some_shapes() -> None:
    metadata = {"s": "x", "n": 2, "b": True, "l": [1], "d": {"k": "v"}, "_kfp_workspace": True}
    result = json_format.MessageToDict(published(artifact(metadata), name="model", identity="7"))
    assert result == {
        "name": "7",
        "uri": "gs://b/a",
        "type": {"instanceSchema": ""},
        "metadata": {
            "s": "x",
            "n": 2.0,
            "b": 1.0,
            "l": {"list": [1.0]},
            "d": {"struct": {"k": "v"}},
            "display_name": "model",
            "store_session_info": '{"Provider":"","Params":{"fromEnv":"true"}}',
        },
    }


def test_names_that_a_step_gives_are_kept() -> None:
    result = published(artifact({"display_name": "mine"}), name="model", identity="7")
    assert result.metadata.fields["display_name"].string_value == "mine"


def test_a_null_cannot_be_published() -> None:
    with pytest.raises(ValueError, match="output model: its metadata gone is null"):
        published(artifact({"gone": None}), name="model", identity="7")
