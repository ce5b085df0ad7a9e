"""What a step's container runs: between Kubeflow's launcher and TFX's executors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec
from tfx.dsl.components.base import base_executor

from components.artifacts.measurements import Measurement
from components.segmentation_example_gen.sources import VocData
from kubeflow import entrypoint
from kubeflow.entrypoint import Component, EntrypointError
from kubeflow.launcher_paths import LOCAL_ROOT, local_path
from kubeflow.run_record.record import Record, write_record
from pipeline.code import code_of

ROOT = "minio://mlpipeline/v2/demo/run/step/1"
EXAMPLE_GEN = Component(
    step="SegmentationExampleGen",
    code="",
    executor="components.segmentation_example_gen.executor.Executor",
    driver="components.segmentation_example_gen.driver.Driver",
    inputs={},
    outputs={
        "examples": "tfx.types.standard_artifacts.Examples",
        "problems": "components.artifacts.types.DataProblems",
    },
    integers=(),
    output_parameters={"new_data": ("examples", "new_data")},
    beam_pipeline_args=["--runner=FnApiRunner"],
)


@pytest.fixture(autouse=True)
def launcher_root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(LOCAL_ROOT, str(tmp_path / "pod"))
    return tmp_path / "pod"


class Echo(base_executor.BaseExecutor):
    """Remembers what it was given."""

    given: tuple[Any, ...]

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        type(self).given = (input_dict, output_dict, exec_properties)
        for (artifact,) in output_dict.values():
            Path(artifact.uri, "made").write_text("by the executor")
            artifact.set_int_custom_property("blessed", 1)
            artifact.set_json_value_custom_property("by split", {"train": 1})


def echo(**changes) -> Component:
    values = {
        "step": "Echo",
        "code": "",
        "executor": f"{__name__}.Echo",
        "driver": None,
        "inputs": {"model": "tfx.types.standard_artifacts.Model"},
        "outputs": {"blessing": "tfx.types.standard_artifacts.ModelBlessing"},
        "integers": ("flag",),
        "output_parameters": {},
        "beam_pipeline_args": [],
    }
    return Component.model_validate(values | changes)


def executor_input(
    inputs: dict[str, dict] | None = None, outputs: tuple[str, ...] = (), **parameters: Any
) -> spec.ExecutorInput:
    """What the launcher says: input artifacts come without a type."""
    return json_format.ParseDict(
        {
            "inputs": {
                "artifacts": {key: {"artifacts": [value]} for key, value in (inputs or {}).items()},
                "parameterValues": parameters,
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [{"uri": f"{ROOT}/{key}"}]} for key in outputs},
                "outputFile": local_path(f"{ROOT}/output_metadata.json"),
            },
        },
        spec.ExecutorInput(),
    )


def test_uris_become_the_launchers_folders(launcher_root, monkeypatch):
    assert local_path("s3://bucket/a/b") == f"{launcher_root}/s3/bucket/a/b"
    monkeypatch.delenv(LOCAL_ROOT)
    assert local_path("gs://bucket/a") == "/gcs/bucket/a"
    assert local_path("minio://bucket/a") == "/minio/bucket/a"
    assert local_path("/data/VOC2012") == "/data/VOC2012"


def test_an_executor_gets_typed_artifacts_and_the_launcher_its_uris_back(launcher_root):
    model = {
        "uri": "s3://bucket/model",
        "metadata": {
            "tfx_version": "1.21.0",
            "count": 3.0,
            "share": 0.25,
            "nested": {"struct": {"train": 1.0}},
            "display_name": "model",
            "store_session_info": '{"Provider": "s3"}',
        },
    }
    output = entrypoint.run(echo(), executor_input({"model": model}, ("blessing",), flag=1.0, name="x", rate=0.5))
    inputs, _, exec_properties = Echo.given
    (given,) = inputs["model"]
    assert type(given).__name__ == "Model"
    assert given.uri == f"{launcher_root}/s3/bucket/model"
    assert given.get_int_custom_property("count") == 3
    assert given.get_float_custom_property("share") == 0.25
    assert given.get_json_value_custom_property("nested") == {"train": 1.0}
    assert set(given.mlmd_artifact.custom_properties) == {"tfx_version", "count", "share", "nested"}
    assert exec_properties == {"flag": 1, "name": "x", "rate": 0.5}
    assert type(exec_properties["flag"]) is int

    (told,) = output.artifacts["blessing"].artifacts
    assert told.uri == f"{ROOT}/blessing"
    metadata = json_format.MessageToDict(told.metadata)
    assert metadata.pop("tfx_version")
    assert Measurement.model_validate_json(metadata.pop("measured")).step == "Echo"
    assert metadata == {"blessed": 1.0, "by split": {"train": 1.0}}
    assert (launcher_root / "minio/mlpipeline/v2/demo/run/step/1/blessing/made").exists()


def test_what_stands_for_nothing_is_not_given_to_an_executor():
    entrypoint.run(echo(), executor_input({"model": {"uri": "s3://b/m", "metadata": {"absent": 1.0}}}, ("blessing",)))
    assert Echo.given[0] == {"model": []}


def test_a_missing_artifact_is_named():
    with pytest.raises(EntrypointError, match="input model: the launcher gives no artifact, wanted is one of tfx"):
        entrypoint.run(echo(), executor_input({}, ("blessing",)))
    with pytest.raises(EntrypointError, match="output blessing: the launcher gives no artifact"):
        entrypoint.run(echo(), executor_input({"model": {"uri": "s3://b/m"}}))


def test_a_property_that_a_parameter_needs_is_missed():
    component = echo(output_parameters={"new": ("blessing", "new_data")})
    with pytest.raises(EntrypointError, match="output parameter new: the step has left no property new_data of bless"):
        entrypoint.run(component, executor_input({"model": {"uri": "s3://b/m"}}, ("blessing",)))


def test_the_program_writes_the_launchers_output_file(launcher_root):
    given = executor_input({"model": {"uri": "s3://b/m"}}, ("blessing",))
    text = json_format.MessageToJson(given)
    entrypoint.main(["--component", echo().model_dump_json(), "--executor-input", text])
    file = launcher_root / "minio/mlpipeline/v2/demo/run/step/1/output_metadata.json"
    assert json.loads(file.read_text())["artifacts"]["blessing"]["artifacts"][0]["uri"] == f"{ROOT}/blessing"
    given.outputs.output_file = ""
    with pytest.raises(EntrypointError, match="names no output file"):
        entrypoint.main(["--component", echo().model_dump_json(), "--executor-input", json_format.MessageToJson(given)])


def test_an_image_of_other_code_is_told(caplog):
    text = json_format.MessageToJson(executor_input({"model": {"uri": "s3://b/m"}}, ("blessing",)))
    for code, told in ((code_of(echo().executor), 0), ("of last week", 1)):
        caplog.clear()
        entrypoint.main(["--component", echo(code=code).model_dump_json(), "--executor-input", text])
        assert caplog.text.count("was the image built anew?") == told


def examples_of(
    data: str,
    *,
    learnt_from: str = "",
    span: float = -1,
    force: bool = False,
    steps: float = 3,
    settings: str = "abc",
):
    return entrypoint.run(
        EXAMPLE_GEN,
        executor_input(
            outputs=("examples", "problems"),
            data=VocData(root="/elsewhere").model_dump_json(),
            problem_folder="/nowhere",
            runtime_data=data,
            runtime_span=span,
            runtime_steps=steps,
            runtime_force=force,
            runtime_settings=settings,
            runtime_learnt_from=learnt_from,
        ),
    )


@pytest.fixture
def spans(tmp_path, devkit_root) -> str:
    for number in (1, 2):
        (tmp_path / f"week-{number}").mkdir()
        (tmp_path / f"week-{number}" / "VOC2012").symlink_to(devkit_root)
    return str(tmp_path / "week-{SPAN}" / "VOC2012")


def test_example_gens_driver_is_run_and_finds_the_newest_span(spans, launcher_root):
    output = examples_of(spans)
    metadata = json_format.MessageToDict(output.artifacts["examples"].artifacts[0].metadata)
    assert metadata["span"] == 2
    assert metadata["spans"] == "2"
    assert metadata["split_names"] == '["eval", "train"]'
    assert len(metadata["input_fingerprint"]) > 20
    assert output.parameter_values["new_data"].bool_value is True
    folder = launcher_root / "minio/mlpipeline/v2/demo/run/step/1/examples/Split-train"
    assert [file.name for file in folder.iterdir()] == ["data_tfrecord-00000-of-00001"]


def test_driver_and_executor_share_a_listing(spans, monkeypatch):
    asked = []
    list_split = VocData.list_split
    monkeypatch.setattr(
        VocData, "list_split", lambda self, root, name: asked.append((root, name)) or list_split(self, root, name)
    )
    examples_of(spans)
    assert sorted(name for _, name in asked) == ["eval", "train"]


def test_another_span_can_be_asked_for(spans):
    output = examples_of(spans, span=1.0)
    assert json_format.MessageToDict(output.artifacts["examples"].artifacts[0].metadata)["spans"] == "1"


def test_data_that_the_last_run_has_learnt_from_are_not_ingested_again(spans, launcher_root):
    first = examples_of(spans, span=1.0)
    learnt_from = json_format.MessageToDict(first.artifacts["examples"].artifacts[0].metadata)["learnt_from"]
    folder = launcher_root / "minio/mlpipeline/v2/demo/run/step/1/examples/Split-train"
    for file in folder.iterdir():
        file.unlink()

    again = examples_of(spans, span=1.0, learnt_from=learnt_from)
    assert again.parameter_values["new_data"].bool_value is False
    assert list(folder.iterdir()) == []

    for changes in ({"force": True}, {"steps": 4}, {"span": 2}, {"settings": "def"}):
        output = examples_of(spans, **({"span": 1.0, "learnt_from": learnt_from} | changes))
        assert output.parameter_values["new_data"].bool_value is True, changes


PREVIOUS_RUN = Component(
    step="PreviousRun",
    code="",
    executor="kubeflow.run_record.component.PreviousRun_Executor",
    driver=None,
    inputs={},
    outputs={
        "model": "tfx.types.standard_artifacts.Model",
        "statistics": "tfx.types.standard_artifacts.ExampleStatistics",
    },
    integers=(),
    output_parameters={"learnt_from": ("statistics", "learnt_from")},
    beam_pipeline_args=[],
)


def previous_run(folder: Path) -> spec.ExecutorOutput:
    given = executor_input(
        outputs=("model", "statistics"), records=str(folder / "runs"), pushed_models=str(folder / "models")
    )
    return entrypoint.run(PREVIOUS_RUN, given)


def test_before_the_first_run_there_is_nothing(tmp_path):
    output = previous_run(tmp_path)
    assert output.parameter_values["learnt_from"].string_value == ""
    for key in ("model", "statistics"):
        assert json_format.MessageToDict(output.artifacts[key].artifacts[0].metadata)["absent"] == 1


def test_the_last_pushed_model_and_the_last_runs_statistics_are_found(tmp_path, launcher_root):
    for version, file in (("100", "saved_model.pb"), ("99", "saved_model.pb"), ("101", "variables")):
        (tmp_path / "models" / version).mkdir(parents=True)
        (tmp_path / "models" / version / file).write_text(version)
    (tmp_path / "statistics" / "Split-train").mkdir(parents=True)
    (tmp_path / "statistics" / "Split-train" / "FeatureStats.pb").write_text("statistics")
    record = Record(
        id="20260101",
        name="",
        finished="2026-01-01",
        learnt_from="these",
        spans="1",
        mean_iou=0.5,
        baseline_mean_iou=None,
        blessed=False,
        reasons=(),
        pushed_to=None,
        started_from=None,
    )
    write_record(str(tmp_path / "runs"), record, str(tmp_path / "statistics"))
    output = previous_run(tmp_path)
    assert output.parameter_values["learnt_from"].string_value == "these"
    folder = launcher_root / "minio/mlpipeline/v2/demo/run/step/1"
    # Version 101 is not complete.
    assert (folder / "model/Format-Serving/saved_model.pb").read_text() == "100"
    assert (folder / "statistics/Split-train/FeatureStats.pb").exists()
    model, statistics = (
        json_format.MessageToDict(output.artifacts[key].artifacts[0].metadata) for key in ("model", "statistics")
    )
    assert model["last_pushed"] == str(tmp_path / "models/100")
    assert statistics["split_names"] == '["train"]'
    assert "absent" not in model | statistics
