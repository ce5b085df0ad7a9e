"""The compiled pipeline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow import entrypoint
from kubeflow.compiler import compile_pipeline, quantity
from kubeflow.package import Package, PackageError
from pipeline.code import code_of
from pipeline.config.config import ConfigError
from pipeline.config.loading import load_config
from trainer.settings import RUN_OPTIONS_VARIABLE

CONFIG = Path(__file__).with_name("kubeflow.yaml")
GOLDEN = Path(__file__).with_name("golden.yaml")
UPDATE = "DEEPLAB_UPDATE_GOLDEN"


def compiled(*overrides: str, **options) -> Package:
    return compile_pipeline(load_config(CONFIG, overrides=overrides), **options)


@pytest.fixture(scope="module")
def package() -> Package:
    return compiled()


@pytest.fixture(scope="module")
def tasks(package) -> dict:
    return package.spec["root"]["dag"]["tasks"]


@pytest.fixture(scope="module")
def executors(package) -> dict:
    return package.spec["deploymentSpec"]["executors"]


def test_the_file_is_as_it_was(package, tasks):
    # What changes with each change of the code is left out.
    settings = tasks["SegmentationExampleGen"]["inputs"]["parameters"]["runtime_settings"]["runtimeValue"]["constant"]
    text = package.text.replace(settings, "SETTINGS")
    executors = package.spec["deploymentSpec"]["executors"].values()
    steps = [entrypoint.Component.model_validate_json(item["container"]["args"][1]) for item in executors]
    for code in (code_of("trainer"), *(step.code for step in steps)):
        text = text.replace(code, "CODE")
    if os.environ.get(UPDATE):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"if this is what you want, run again with {UPDATE}=1"


def test_other_formats_are_made_between_the_trainer_and_the_pusher(tasks):
    assert "ModelExport" not in tasks
    exporting = compiled("export.formats=[litert_int8, onnx]", "kubeflow.steps.ModelExport.memory=8Gi").spec
    inputs = {name: task["inputs"] for name, task in exporting["root"]["dag"]["tasks"].items()}
    for step, key, producer in (
        ("ModelExport", "model", "Trainer"),
        ("Pusher", "exports", "ModelExport"),
        ("Report", "exports", "ModelExport"),
    ):
        assert inputs[step]["artifacts"][key]["taskOutputArtifact"]["producerTask"] == producer
    formats = inputs["ModelExport"]["parameters"]["formats"]["runtimeValue"]["constant"]
    assert json.loads(formats) == ["litert_int8", "onnx"]


def test_masks_are_predicted_by_a_blessed_model_once_it_is_pushed(tasks):
    assert "BulkInferrer" not in tasks
    spec = compiled("bulk_inference.splits=[eval]", "kubeflow.steps.BulkInferrer.memory=8Gi").spec
    task = spec["root"]["dag"]["tasks"]["BulkInferrer"]
    producers = {key: item["taskOutputArtifact"]["producerTask"] for key, item in task["inputs"]["artifacts"].items()}
    assert producers == {
        "examples": "SegmentationExampleGen",
        "model": "Trainer",
        "model_blessing": "Evaluator",
        "infra_blessing": "InfraValidator",
    }
    assert "Report" in task["dependentTasks"]
    assert json.loads(task["inputs"]["parameters"]["splits"]["runtimeValue"]["constant"]) == ["eval"]
    arguments = spec["deploymentSpec"]["executors"]["exec-BulkInferrer"]["container"]["args"]
    assert entrypoint.Component.model_validate_json(arguments[1]).beam_pipeline_args == ["--runner=FnApiRunner"]
    # What comes last must not keep the run's record back.
    assert "BulkInferrer" not in spec["root"]["dag"]["tasks"]["RunRecord"]["dependentTasks"]


def test_both_documents_are_what_kubeflows_protocols_say(package):
    spec = json_format.ParseDict(package.spec, pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    deployment = json_format.ParseDict(package.spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    platform = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(platform) <= set(deployment.executors)
    for executor in platform.values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_the_sdk_loads_it(package):
    loaded = components.load_component_from_text(package.text)
    assert set(loaded.component_spec.inputs) == {"data", "span", "steps", "run_name", "force"}


def test_nothing_in_it_is_resolved_or_imported(executors):
    assert all(set(executor) == {"container"} for executor in executors.values())


def test_our_own_steps_wait_for_no_component_but_themselves():
    executors = compiled("export.formats=[onnx]", "bulk_inference.splits=[eval]").spec["deploymentSpec"]["executors"]
    steps = [entrypoint.Component.model_validate_json(item["container"]["args"][1]) for item in executors.values()]
    paths = [path for step in steps for path in (step.executor, step.driver) if path and path.startswith("components.")]
    # The Evaluator's is TFX's own but for a detail, and judging takes all that it brings.
    modules = sorted({path.rpartition(".")[0] for path in paths} - {"components.evaluator.executor"})
    code = (
        f"import sys, kubeflow.entrypoint, {', '.join(modules)}\n"
        "heavy = {'tfx.components', 'tensorflow_model_analysis', 'kfp.client'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environments = [{each["name"]: each["value"] for each in item["container"]["env"]} for item in executors.values()]
    environment = {**os.environ, **environments[0]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "components.pusher.component" in modules


def test_names_are_such_as_kubernetes_takes(package, tasks):
    assert package.name == "golden-voc"
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", name) for name in [*tasks, *package.spec["components"]])


def test_every_input_comes_from_a_task_that_is_waited_for(package, tasks):
    for name, task in tasks.items():
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            producer = source["taskOutputArtifact"]["producerTask"]
            assert producer in task["dependentTasks"], name
            outputs = package.spec["components"][f"comp-{producer}"]["outputDefinitions"]["artifacts"]
            assert source["taskOutputArtifact"]["outputArtifactKey"] in outputs
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if "taskOutputParameter" in source:
                assert source["taskOutputParameter"]["producerTask"] in task["dependentTasks"]


def test_what_looks_at_the_world_outside_is_not_cached(tasks):
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert set(tasks) - cached == {"PreviousRun", "SegmentationExampleGen", "RunRecord"}


def test_the_baseline_and_the_weights_to_start_from_are_the_last_pushed_model(tasks):
    for step, key in (("Evaluator", "baseline_model"), ("Trainer", "base_model")):
        source = tasks[step]["inputs"]["artifacts"][key]["taskOutputArtifact"]
        assert source == {"producerTask": "PreviousRun", "outputArtifactKey": "model"}


def test_without_new_data_all_that_follows_is_left_out(tasks):
    assert tasks["StatisticsGen"]["triggerPolicy"]["condition"] == "inputs.parameter_values['runtime_new_data'] == true"
    skipped = {"StatisticsGen"}
    while more := {name for name, task in tasks.items() if skipped & set(task.get("dependentTasks", ()))} - skipped:
        skipped |= more
    assert set(tasks) - skipped == {"PreviousRun", "SegmentationExampleGen", "CuratedSchema"}


def test_what_can_be_changed_from_run_to_run_has_types_and_defaults(package):
    defaults = {name: (item["parameterType"], item["defaultValue"]) for name, item in package.parameters.items()}
    assert defaults == {
        "data": ("STRING", "s3://data/week-{SPAN}/VOC2012"),
        "span": ("NUMBER_INTEGER", -1),
        "steps": ("NUMBER_INTEGER", 300),
        "run_name": ("STRING", ""),
        "force": ("BOOLEAN", False),
    }
    package.check_parameters({"steps": 5, "force": True})
    with pytest.raises(PackageError, match="parameter stepps: the pipeline has no such parameter; it has: data, force"):
        package.check_parameters({"stepps": 5})
    with pytest.raises(PackageError, match="parameter steps: found '5', wanted NUMBER_INTEGER"):
        package.check_parameters({"steps": "5"})
    with pytest.raises(PackageError, match="parameter steps: found True"):
        package.check_parameters({"steps": True})


def test_the_trainer_gets_its_nodes(package, tasks, executors):
    container = executors["exec-Trainer"]["container"]
    assert container["image"] == "registry.example/deeplab:1"
    assert container["resources"]["accelerator"] == {
        "count": "2",
        "resourceCount": "2",
        "type": "nvidia.com/gpu",
        "resourceType": "nvidia.com/gpu",
    }
    assert container["resources"]["resourceCpuLimit"] == "7500m"
    assert container["resources"]["cpuLimit"] == 7.5
    assert container["resources"]["memoryLimit"] == pytest.approx(34.36, abs=0.01)
    assert {item["name"] for item in container["env"]} == {
        "AWS_ENDPOINT_URL",
        "DEEPLAB_RUN_OPTIONS",
        "NCCL_DEBUG",
        "_KFP_RUNTIME",
    }
    assert tasks["Trainer"]["retryPolicy"]["maxRetryCount"] == 5
    pod = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-Trainer"]
    assert pod["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert [item["key"] for item in pod["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert pod["emptyDirMounts"][0]["sizeLimit"] == "8Gi"
    assert pod["activeDeadlineSeconds"] == "86400"
    # The secrets of all steps are there beside its own.
    assert [item["secretName"] for item in pod["secretAsEnv"]] == ["mlpipeline-minio-artifact"]
    assert [item["secretName"] for item in pod["secretAsVolume"]] == ["licence"]


def test_steps_without_words_of_their_own_get_those_of_all_steps(package, executors):
    container = executors["exec-Evaluator"]["container"]
    assert container["resources"]["resourceMemoryLimit"] == "4Gi"
    assert "accelerator" not in container["resources"]
    pod = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-Evaluator"]
    assert set(pod) == {"secretAsEnv"}


def test_another_setting_is_another_version(package):
    assert compiled().version == package.version
    assert compiled("hps.lr=0.5").version != package.version


def test_epochs_leave_the_number_of_steps_open():
    assert compiled("hps.steps=null", "hps.epochs=3").parameters["steps"]["defaultValue"] == 0


def test_a_warm_start_of_another_length_leaves_the_number_of_steps_open():
    assert compiled("train.warm_start={steps: 30}").parameters["steps"]["defaultValue"] == 0
    assert compiled("train.warm_start={lr: 0.1}").parameters["steps"]["defaultValue"] == 300


def test_without_anything_for_kubernetes_there_is_one_document():
    assert compiled("kubeflow={image: x, root: s3://bucket}").platform == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kubeflow.image=null", "kubeflow.image: is not given; wanted is the name of the image"),
        ("kubeflow.root=null", "kubeflow.root: is not given; wanted is a URI such as gs://"),
        (
            "kubeflow.root=/mnt/artifacts",
            "kubeflow.root: found '/mnt/artifacts'; it must be a URI of gs://, s3://,",
        ),
        ("kubeflow.root=http://bucket/x", "it must be a URI of gs://, s3://, minio://"),
        ("kubeflow.root=gs://", "with a bucket"),
        ("kubeflow.steps.Trainer.gpu={count: 2}", "kubeflow.steps.Trainer.gpu.type: missing"),
        ("kubeflow.steps.Trainer.gpu={type: nvidia.com/gpu, count: 0}", "gpu.count: found 0; input should be greater"),
        ("kubeflow.steps.Trainer.memory=32 GB", "a quantity as Kubernetes writes it is wanted"),
        ("kubeflow.steps.Treiner.cpu='1'", "kubeflow.steps.Treiner"),
        ("kubeflow.all_steps.secrets=[{name: x}]", "give either env, keys and environment variables, or path"),
        ("kubeflow.all_steps.tolerations=[{operator: Equal}]", "Equal needs one"),
        (
            "data={root: /home/me/VOC2012}",
            "data.root or data.pattern: found '/home/me/VOC2012', a path that the step",
        ),
        ("push.directory=/srv/models", "push.directory: found '/srv/models', a path that the step Pusher does not see"),
        ("data={}", "no data folder"),
        ("push.directory=file:///models", "it must be a path, or a URI of gs://, s3://, minio://"),
        ("kubeflow.root=s3://b/p?region=eu", "with a bucket and no query"),
        ("name=exp_", "name: found 'exp_'"),
        (
            "beam.pipeline_args=['--runner=flink', '--job_endpoint=localhost:1', '--environment_type=LOOPBACK']",
            "beam.pipeline_args: found --runner=FlinkRunner, whose workers cannot see the files of a step on Kubeflow",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_sent(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        compiled(override)


def test_a_path_in_a_mounted_volume_will_do():
    package = compiled(
        "data={root: /data/VOC2012}",
        "kubeflow.all_steps.volumes=[{claim: voc, path: /data}]",
        "push.directory=/data/models",
    )
    assert package.parameters["data"]["defaultValue"] == "/data/VOC2012"


def test_models_are_pushed_where_the_next_run_looks_for_them():
    volumes = "[{{claim: {}, path: /models}}]"
    overrides = [
        "push.directory=/models/voc",
        f"kubeflow.steps.Pusher.volumes={volumes.format('one')}",
        "kubeflow.steps.PreviousRun.volumes={}",
    ]
    with pytest.raises(ConfigError, match="Pusher and PreviousRun see other volumes at '/models/voc'"):
        compiled(*overrides[:2], overrides[2].format(volumes.format("other")))
    assert compiled(*overrides[:2], overrides[2].format(volumes.format("one")))


def test_a_step_that_fails_after_hours_is_tried_again(tasks):
    # Argo counts this from the beginning of the first attempt.
    assert tasks["Trainer"]["retryPolicy"]["backoffMaxDuration"] == "2592000s"


def test_quantities():
    assert [quantity(text) for text in ("500m", "2", "1.5", "1k", "2Gi")] == [0.5, 2, 1.5, 1000, 2**31]


def test_what_is_no_compiled_pipeline_is_refused(tmp_path):
    file = tmp_path / "pipeline.yaml"
    for text in ("", "a: b", "[1", json.dumps({"pipelineInfo": {}}), yaml.safe_dump([1])):
        file.write_text(text)
        with pytest.raises(PackageError, match="not a compiled pipeline"):
            Package.read(file)


def test_options_of_the_run_alone_are_no_reason_to_train_again(package, executors):
    """They reach the Trainer by its environment, and are no part of the hash of what is trained."""

    def settings_of(compiled: Package) -> str:
        inputs = compiled.spec["root"]["dag"]["tasks"]["SegmentationExampleGen"]["inputs"]["parameters"]
        return inputs["runtime_settings"]["runtimeValue"]["constant"]

    other = compiled("train.checkpoint_every=7", "train.checkpoints=gs://elsewhere")
    environment = other.spec["deploymentSpec"]["executors"]["exec-Trainer"]["container"]["env"]
    (options,) = (json.loads(each["value"]) for each in environment if each["name"] == RUN_OPTIONS_VARIABLE)
    assert options["train"]["checkpoint_every"] == 7
    assert options["checkpoints"] == "gs://elsewhere/Golden_Voc"
    for step, executor in other.spec["deploymentSpec"]["executors"].items():
        if step != "exec-Trainer":
            assert executor == executors[step]
    assert settings_of(other) == settings_of(package) != settings_of(compiled("train.jit=true"))
