"""What values and artifacts look like after ML Metadata."""

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.launcher import published, to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.5, "a": None}, '{"a":null,"b":1.5}'),
        ({"b": [3, "é"], "a": -2.0}, '{"a":-2,"b":[3,"é"]}'),
    ],
)
def test_text_of_a_message(value: dict[str, Any], text: str) -> None:
    assert to_json(json_format.ParseDict(value, struct_pb2.Struct())) == text


def artifact(metadata: dict[str, Any]) -> Any:
    fields = {"uri": "gs://b/a", "type": {"schemaTitle": "system.Model"}, "metadata": metadata}
    return json_format.ParseDict(fields, pipeline_spec_pb2.RuntimeArtifact())


def test_a_published_artifact_has_lost_its_type_and_some_shapes() -> None:
    metadata = {"s": "x", "n": 2, "b": True, "l": [1], "d": {"k": "v"}}
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
