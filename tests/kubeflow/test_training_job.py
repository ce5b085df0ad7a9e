"""The manifests of a training on several nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import training_job_schema as schema
import typer
import yaml
from typer.testing import CliRunner

from kubeflow import training_job_command
from kubeflow.training_job import job_name, training_job
from kubeflow.training_worker import main as worker
from kubeflow.training_worker import train
from pipeline.config.config import Config, ConfigError
from pipeline.config.loading import load_config
from trainer.settings import TrainerSettings
from trainer.training.checkpoints import FINISHED, TrainingFolder

PLACES = {"examples": "s3://data/examples", "transform_graph": "s3://data/graph", "output": "s3://data/model"}
STEP = """
      cpu: "8"
      memory: 32Gi
      gpu: {type: nvidia.com/gpu, count: 2}
      node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
      tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}]
      shared_memory: 8Gi
      volumes: [{claim: voc, path: /mnt/data}]
      env: {AWS_ENDPOINT_URL: "http://minio:9000"}
      secrets: [{name: s3, env: {id: AWS_ACCESS_KEY_ID}}, {name: gcp, path: /var/secrets/gcp}]
      retries: 3
      timeout: 3600
"""
CONFIG = f"""
name: My_Experiment
base_model: MobileNetV2
hps: {{batch_size: 16}}
kubeflow:
  image: registry.example/deeplab:1
  namespace: team
  service_account: trainer
  steps:
    Trainer: {STEP}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def config(file) -> Config:
    return load_config(file)


def documents(config: Config, kind: str, workers: int = 2) -> list[dict]:
    return list(yaml.safe_load_all(training_job(config, kind, workers=workers, **PLACES)))


def pod_of(document: dict) -> dict:
    spec = document["spec"]
    if document["kind"] == "TFJob":
        return spec["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    return spec["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("kind", ["TFJob", "TrainJob"])
def test_the_api_server_would_take_it(config, kind):
    for document in documents(config, kind):
        schema.check(document)


def test_the_schema_refuses_what_the_api_server_would(config):
    (job,) = documents(config, "TFJob")
    job["spec"]["tfReplicaSpecs"]["Worker"]["replica"] = 2
    with pytest.raises(AssertionError, match="unknown field replica"):
        schema.check(job)
    (job,) = documents(config, "TFJob")
    pod_of(job)["nodeselector"] = {}
    with pytest.raises(AssertionError, match="V1PodSpec has no field nodeselector"):
        schema.check(job)


@pytest.mark.parametrize("kind", ["TFJob", "TrainJob"])
def test_the_pods_get_what_the_step_trainer_asks_for(config, kind):
    pod = pod_of(documents(config, kind)[0])
    (container,) = pod["containers"]
    wanted = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert container["resources"] == {"requests": wanted, "limits": wanted}
    assert container["image"] == "registry.example/deeplab:1"
    assert pod["serviceAccountName"] == "trainer"
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    sources = {volume.pop("name"): volume for volume in pod["volumes"]}
    mounted = {mount["mountPath"]: sources[mount["name"]] for mount in container["volumeMounts"]}
    assert mounted == {
        "/mnt/data": {"persistentVolumeClaim": {"claimName": "voc"}},
        "/var/secrets/gcp": {"secret": {"secretName": "gcp"}},
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
    }
    environment = {each.pop("name"): each for each in container["env"]}
    assert environment["AWS_ENDPOINT_URL"] == {"value": "http://minio:9000"}
    assert environment["AWS_ACCESS_KEY_ID"] == {"valueFrom": {"secretKeyRef": {"name": "s3", "key": "id"}}}


def test_a_tf_job_is_tried_again_and_ended_in_time(config):
    (job,) = documents(config, "TFJob")
    assert job["metadata"] == {"name": "my-experiment", "namespace": "team"}
    assert job["spec"]["runPolicy"] == {"backoffLimit": 3, "cleanPodPolicy": "Running", "activeDeadlineSeconds": 3600}
    # The operator finds container and port by these names.
    (container,) = pod_of(job)["containers"]
    assert (container["name"], container["ports"]) == ("tensorflow", [{"name": "tfjob-port", "containerPort": 2222}])
    assert not any(each["name"] == "TF_CONFIG" for each in container["env"])


def test_a_train_job_states_tf_config(config):
    runtime, job = documents(config, "TrainJob", workers=4)
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["trainer"]["numNodes"] == runtime["spec"]["mlPolicy"]["numNodes"] == 4
    environment = pod_of(runtime)["containers"][0]["env"]
    names = [each["name"] for each in environment]
    # Kubernetes puts a variable's value in only after the variable.
    assert names.index("WORKER_INDEX") < names.index("TF_CONFIG")
    text = environment[names.index("TF_CONFIG")]["value"].replace("$(WORKER_INDEX)", "3")
    assert json.loads(text) == {
        "cluster": {"worker": [f"my-experiment-node-0-{index}.my-experiment:2222" for index in range(4)]},
        "task": {"type": "worker", "index": 3},
    }


def test_one_worker_needs_no_cluster(config):
    runtime, _ = documents(config, "TrainJob", workers=1)
    assert "TF_CONFIG" not in {each["name"] for each in pod_of(runtime)["containers"][0]["env"]}


def test_the_worker_takes_the_command(config, monkeypatch):
    (job,) = documents(config, "TFJob")
    command = pod_of(job)["containers"][0]["command"]
    assert command[:3] == ["python", "-m", "kubeflow.training_worker"]
    taken: list = []
    monkeypatch.setattr("kubeflow.training_worker.train", lambda *arguments: taken.extend(arguments))
    worker(command[3:])
    examples, graph, settings, output = taken
    assert (examples, graph, output) == tuple(PLACES.values())
    assert TrainerSettings.model_validate(settings) == config.trainer_settings()


def test_a_training_is_finished_when_its_model_is_uploaded(tmp_path, monkeypatch):
    def train_and_export(fn_args) -> TrainingFolder:
        Path(fn_args.serving_model_dir).mkdir(parents=True)
        Path(fn_args.serving_model_dir, "saved_model.pb").touch()
        return TrainingFolder(fn_args.custom_config["checkpoints"])

    monkeypatch.setattr("trainer.run.train_and_export", train_and_export)
    for split in ("train", "eval"):
        (tmp_path / f"Split-{split}").mkdir()
    checkpoints, in_the_way = tmp_path / "checkpoints", tmp_path / "file"
    in_the_way.touch()

    def work(output: Path) -> None:
        train(str(tmp_path), str(tmp_path), {"train": {"checkpoints": str(checkpoints)}}, str(output))

    with pytest.raises(OSError, match="file"):
        work(in_the_way / "model")
    assert not (checkpoints / FINISHED).exists()
    work(tmp_path / "model")
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").exists()
    assert (checkpoints / FINISHED).exists()


def refusal(file: Path, *overrides: str, workers: int = 2, **places: str) -> str:
    with pytest.raises(ConfigError) as error:
        training_job(load_config(file, overrides=overrides), "TFJob", workers=workers, **{**PLACES, **places})
    return str(error.value)


def test_what_cannot_work_is_refused(file, tmp_path):
    assert "kubeflow.image: missing" in refusal(file, "kubeflow.image=null")
    assert "16, which cannot be dealt out evenly to 6 replicas (3 workers, each with 2 GPUs)" in refusal(
        file, workers=3
    )
    assert "--output: found /tmp/model, which the workers cannot see" in refusal(file, output="/tmp/model")
    weights = tmp_path / "weights.h5"
    weights.touch()
    assert "train.init_from: found" in refusal(file, f"train.init_from={weights}")


def test_paths_on_a_volume_are_taken(config):
    text = training_job(config, "TFJob", workers=2, **{**PLACES, "output": "/mnt/data/model"})
    assert "--output=/mnt/data/model" in text


def test_names_that_kubernetes_takes():
    assert job_name("VOC 2012_try") == "voc-2012-try"
    assert job_name("2nd") == "nd"
    assert job_name("x" * 49 + "-y") == "x" * 49
    assert job_name("___") == "training"


def test_the_command_writes_the_file(file, tmp_path):
    app = typer.Typer()
    app.command()(training_job_command.command)
    output = tmp_path / "job.yaml"
    arguments = [str(file), "--kind=TrainJob", "--workers=2", "-o", str(output)]
    arguments += [f"--{key.replace('_', '-')}={value}" for key, value in PLACES.items()]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"kubectl apply -f {output}" in result.output
    assert output.read_text() == training_job(load_config(file), "TrainJob", workers=2, **PLACES)
