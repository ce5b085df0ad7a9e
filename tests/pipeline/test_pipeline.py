"""The graph: which steps there are, and what the cache takes for changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration import metadata
from tfx.orchestration.portable import cache_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline import code
from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.output_locations import OutputLocations
from pipeline.pipeline import create_pipeline, run_options
from trainer.settings import RUN_OPTIONS_VARIABLE, TrainerSettings, with_run_options

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def steps(tmp_path: Path, *overrides: str) -> dict:
    config = load_config(DEMO, overrides=overrides, data=str(tmp_path), output=tmp_path)
    return {node.id: node for node in create_pipeline(config).components}


def test_masks_are_predicted_where_splits_are_named_and_after_all_else(tmp_path):
    without = steps(tmp_path)
    assert "BulkInferrer" not in without
    found = steps(tmp_path, "bulk_inference.splits=[train, eval]")
    assert set(found) - set(without) == {"BulkInferrer"}
    assert not found["BulkInferrer"].downstream_nodes
    assert found["Report"] in found["BulkInferrer"].upstream_nodes
    assert found["BulkInferrer"].exec_properties["splits"] == '["train", "eval"]'


def config_in(tmp_path: Path, *overrides: str) -> Config:
    return load_config(DEMO, overrides=overrides, data=str(tmp_path), output=tmp_path)


def cache_keys(config: Config) -> dict[str, str]:
    """By step, what TFX's cache looks it up by, but for its inputs."""
    graph = Compiler().compile(create_pipeline(config))
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    graph.deployment_config.Unpack(deployment)
    keys = {}
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(config.output_directory / "keys"))) as handle:
        for node in (each.pipeline_node for each in graph.nodes):
            context = cache_utils.get_cache_context(
                handle,
                pipeline_node=node,
                pipeline_info=graph.pipeline_info,
                executor_spec=deployment.executor_specs.get(node.node_info.id),
                parameters={key: value.SerializeToString() for key, value in node.parameters.parameters.items()},
            )
            keys[node.node_info.id] = context.name
    return keys


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {step for step in before if before[step] != after[step]}


@pytest.mark.parametrize("override", ["checkpoint_every=7", "num_gpus=0", "checkpoints=/elsewhere"])
def test_what_changes_nothing_about_the_model_trains_no_new_one(tmp_path, monkeypatch, override):
    plain, config = config_in(tmp_path), config_in(tmp_path, f"train.{override}")
    assert changed(cache_keys(plain), cache_keys(config)) == set()
    assert "Trainer" in changed(cache_keys(plain), cache_keys(config_in(tmp_path, "train.jit=true")))

    (trainer,) = (node for node in create_pipeline(config).components if node.id == "Trainer")
    for name, value in run_options(config, OutputLocations.local(config)).items():
        monkeypatch.setenv(name, value)
    given = with_run_options(json.loads(trainer.exec_properties["custom_config"]))
    assert TrainerSettings.model_validate(given["settings"]) == config.trainer_settings()
    assert given["checkpoints"] == OutputLocations.local(config).checkpoints


def test_without_options_of_the_run_the_trainer_takes_its_settings_as_they_are(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_OPTIONS_VARIABLE, raising=False)
    settings = config_in(tmp_path, "train.num_gpus=0").trainer_settings().model_dump(mode="json")
    given = with_run_options({"settings": settings, "checkpoints": "/here"})
    assert given == {"settings": settings, "checkpoints": "/here"}


@pytest.mark.parametrize(
    ("file", "steps_of_it"),
    [
        ("components/pusher/versions.py", {"Pusher"}),
        ("components/pages/templates/report.html", None),
        ("trainer/model/deeplabv3plus.py", {"Trainer", "Transform", "ModelExport"}),
        ("trainer/common/files.py", None),
        ("schema/labels.py", None),
        ("pipeline/pipeline.py", set()),
    ],
)
def test_changed_code_runs_the_steps_again_that_run_it(tmp_path, monkeypatch, file, steps_of_it):
    overrides = ("export.formats=[litert_int8]", "bulk_inference.splits=[eval]")
    before = cache_keys(config_in(tmp_path, *overrides))
    assert (Path(code.__file__).parents[1] / file).is_file()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read_bytes(self) + b"#" * self.as_posix().endswith(file))
    code.code_of.cache_clear()
    try:
        found = changed(before, cache_keys(config_in(tmp_path, *overrides)))
    finally:
        code.code_of.cache_clear()
    if steps_of_it is not None:
        assert found == steps_of_it
    else:
        ours = {step for step in before if step not in ("StatisticsGen", "PreviousStatistics", "Resolver", "LastModel")}
        assert ours - found <= {"Transform", "Trainer"} if "pages" in file else found == ours
