"""The command line that a task's program gets."""

import json
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.launcher import local_path
from kubeflow.local_backend.placeholders import PlaceholderError, command_line

INPUT = {
    "inputs": {
        "parameterValues": {"n": 3, "s": "a b", "flag": True, "list": [1, 2], "nothing": None, "tricky": "{{$}}"},
        "artifacts": {
            "data": {"artifacts": [{"name": "1", "uri": "gs://bucket/data"}]},
            "page": {"artifacts": [{"name": "2", "uri": "https://example.org/x"}]},
        },
    },
    "outputs": {
        "parameters": {"size": {"outputFile": "/tmp/kfp/outputs/size"}},
        "artifacts": {"model": {"artifacts": [{"uri": "s3://bucket/model"}]}},
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
}


def filled(*arguments: str) -> list[str]:
    executor_input: Any = json_format.ParseDict(INPUT, pipeline_spec_pb2.ExecutorInput())
    return command_line(list(arguments), executor_input, lambda uri: f"/pod{local_path(uri)}")


@pytest.mark.parametrize(
    ("argument", "result"),
    [
        ("--n={{$.inputs.parameters['n']}}", "--n=3"),
        ("{{$.inputs.parameters['s']}}{{$.inputs.parameters['s']}}", "a ba b"),
        ("{{$.inputs.parameters['flag']}}", "true"),
        ("{{$.inputs.parameters['list']}}", "[1,2]"),
        ("{{$.inputs.parameters['nothing']}}", ""),
        ("{{$.inputs.artifacts['data'].uri}}", "gs://bucket/data"),
        ("{{$.inputs.artifacts['data'].path}}", "/pod/gcs/bucket/data"),
        ("{{$.inputs.artifacts['page'].uri}}", "https://example.org/x"),
        ("{{$.outputs.artifacts['model'].uri}}", "s3://bucket/model"),
        ("{{$.outputs.artifacts['model'].path}}", "/pod/s3/bucket/model"),
        ("{{$.outputs.parameters['size'].output_file}}", "/tmp/kfp/outputs/size"),
        ("{{$.inputs.parameters['tricky']}}", "{{$}}"),
        # What the launcher does not know stays.
        ("{{$.inputs.artifacts['page'].path}}", "{{$.inputs.artifacts['page'].path}}"),
        ("{{$.outputs.output_file}}", "{{$.outputs.output_file}}"),
        ('{"Other": 1}', '{"Other": 1}'),
        ('{"Concat": ["--s=", "{{$.inputs.parameters[\'s\']}}"]}', "--s=a b"),
        ('{"Concat": ["a", {"IfPresent": {"InputName": "n", "Then": ["b", "c"]}}]}', "abc"),
        ('{"IfPresent": {"InputName": "gone", "Then": "a", "Else": "b"}}', "b"),
    ],
)
def test_an_argument(argument: str, result: str) -> None:
    assert filled(argument) == [result]


def test_a_structure_may_stand_for_several_arguments_or_none() -> None:
    then = '"Then": ["--n", "{{$.inputs.parameters[\'n\']}}"]'
    assert filled("a", f'{{"IfPresent": {{"InputName": "n", {then}}}}}', "b") == ["a", "--n", "3", "b"]
    assert filled("a", f'{{"IfPresent": {{"InputName": "gone", {then}}}}}', "b") == ["a", "b"]
    assert filled(f'{{"IfPresent": {{"InputName": "nothing", {then}}}}}') == []


def test_the_whole_input_is_json() -> None:
    text = filled("{{$}}")[0].replace('"tricky":"{{$}}"', '"tricky":"{{$}}"')
    assert json.loads(text) == INPUT


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("{{$.inputs.parameters['gone']}}", "input parameter gone has no value"),
        ('{"Concat": ["{{$.inputs.parameters[\'gone\']}}"]}', "input parameter gone has no value"),
        ('{"Concat": [', "Expecting"),
        ('{"Concat": [1]}', "neither IfPresent nor Concat"),
        ('{"Concat": ["a"], "more": 1}', "neither IfPresent nor Concat"),
        ('{"IfPresent": {"InputName": "n", "Then": 1}}', "neither IfPresent nor Concat"),
        ('{"IfPresent": {"InputName": "n"}}', "neither IfPresent nor Concat"),
        ('{"IfPresent": {"InputName": "n", "Then": "a", "Also": "b"}}', "neither IfPresent nor Concat"),
    ],
)
def test_what_cannot_be_filled_in(argument: str, problem: str) -> None:
    with pytest.raises(PlaceholderError, match=problem):
        filled(argument)
