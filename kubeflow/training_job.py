"""A Kubernetes manifest that trains on several nodes, outside the pipeline: TFJob or TrainJob.

TFJob is the Training Operator's (kubeflow.org/v1), which gives every worker its TF_CONFIG. TrainJob is Kubeflow
Trainer's (trainer.kubeflow.org/v1alpha1), which knows nothing of TensorFlow
(https://github.com/kubeflow/trainer/issues/2699): there the manifest itself states TF_CONFIG, from the names that
JobSet gives to the pods.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

from pipeline.config.config import Config, ConfigError
from pipeline.config.kubeflow import Step
from trainer.common.files import is_remote
from trainer.settings import NAMED_WEIGHTS

Kind = Literal["TFJob", "TrainJob"]
PORT = 2222
"""Where workers find each other; TFJob's own default."""
NAME_LENGTH = 50
"""The longest name of a job: pods are named after it, in at most 63 letters."""
INDEX_VARIABLE = "WORKER_INDEX"
INDEX_FIELD = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
"""Which pod of an indexed Job it is: the annotation that Kubernetes gives it."""


def training_job(
    config: Config,
    kind: Kind,
    *,
    workers: int,
    examples: str,
    transform_graph: str,
    output: str,
    name: str | None = None,
) -> str:
    """Writes the manifest; nodes, resources, volumes and secrets are those of the pipeline's step Trainer.

    Args:
        config: the experiment.
        kind: whose job it is.
        workers: pods that train one network together; each trains on all of its GPUs.
        examples: URI of SegmentationExampleGen's examples.
        transform_graph: URI of Transform's graph.
        output: URI that the model is written to.
        name: of the job. Without it, the experiment's, as far as Kubernetes allows.

    Returns:
        YAML for `kubectl apply`.

    Raises:
        ConfigError: something is missing, or cannot be on the nodes.
    """
    step = config.kubeflow.step("Trainer")
    _check(config, step, workers, {"--examples": examples, "--transform-graph": transform_graph, "--output": output})
    name = job_name(name or config.name)
    command = ["python", "-m", "kubeflow.training_worker", f"--examples={examples}"]
    command += [f"--transform-graph={transform_graph}", f"--output={output}"]
    # Kubernetes would take $(NAME) for a variable.
    command.append("--settings=" + config.trainer_settings().model_dump_json().replace("$(", "$$("))
    metadata = {"name": name} | ({"namespace": config.kubeflow.namespace} if config.kubeflow.namespace else {})
    make = {"TFJob": _tf_job, "TrainJob": _train_job}[kind]
    documents = make(config, step, metadata, workers, command)
    return yaml.safe_dump_all(documents, sort_keys=False, width=10**6)


def job_name(text: str) -> str:
    """A text as a name that Kubernetes takes (RFC 1035)."""
    return re.sub(r"^[^a-z]+|[^a-z0-9]+$", "", re.sub(r"[^a-z0-9-]+", "-", text.lower())[:NAME_LENGTH]) or "training"


def _check(config: Config, step: Step, workers: int, places: dict[str, str]) -> None:
    if config.kubeflow.image is None:
        raise ConfigError("kubeflow.image: missing; the workers run in it")
    replicas = workers * (step.gpu.count if step.gpu else 1)
    if config.hps.batch_size % replicas:
        raise ConfigError(
            f"hps.batch_size is {config.hps.batch_size}, which cannot be dealt out evenly to {replicas} replicas "
            f"({workers} workers, each with {step.gpu.count if step.gpu else 'no'} GPUs)"
        )
    mounted = [volume.path for volume in step.volumes]
    train = config.trainer_settings().train
    if train.weights not in NAMED_WEIGHTS:
        places = {**places, "train.init_from": train.weights}
    if train.checkpoints is not None:
        places = {**places, "train.checkpoints": train.checkpoints}
    for origin, place in places.items():
        if not is_remote(place) and not any(PurePosixPath(place).is_relative_to(path) for path in mounted):
            found = ", ".join(mounted) or "none"
            raise ConfigError(
                f"{origin}: found {place}, which the workers cannot see; give a URI such as gs:// or s3://, or a path "
                f"in one of the step Trainer's volumes (there: {found})"
            )


def _tf_job(config: Config, step: Step, metadata: dict, workers: int, command: list[str]) -> list[dict]:
    # One worker cannot go on without the others: a new one finds them waiting for it, or starting anew.
    worker = {"replicas": workers, "restartPolicy": "OnFailure"}
    worker["template"] = {"spec": _pod(config, step, _container(config, step, "tensorflow", "tfjob-port", command, []))}
    policy = {"backoffLimit": step.retries, "cleanPodPolicy": "Running"}
    if step.timeout:
        policy["activeDeadlineSeconds"] = step.timeout
    spec = {"runPolicy": policy, "tfReplicaSpecs": {"Worker": worker}}
    return [{"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": metadata, "spec": spec}]


def _train_job(config: Config, step: Step, metadata: dict, workers: int, command: list[str]) -> list[dict]:
    name = metadata["name"]
    # JobSet's pods of the replicated job `node` have these names, in a subdomain of the job's name.
    hosts = [f"{name}-node-0-{index}.{name}:{PORT}" for index in range(workers)]
    task = f'"task": {{"type": "worker", "index": $({INDEX_VARIABLE})}}'
    distributed: list[dict] = [
        {"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": INDEX_FIELD}}},
        # After the variable that it names.
        {"name": "TF_CONFIG", "value": f'{{"cluster": {json.dumps({"worker": hosts})}, {task}}}'},
    ]
    container = _container(config, step, "node", "workers", command, distributed if workers > 1 else [])
    # The job set as a whole is tried again, not a pod alone.
    job: dict[str, Any] = {"backoffLimit": 0, "template": {"spec": _pod(config, step, container, restart="Never")}}
    if step.timeout:
        job["activeDeadlineSeconds"] = step.timeout
    node = {
        "name": "node",
        "template": {"metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}, "spec": job},
    }
    group = "trainer.kubeflow.org/v1alpha1"
    runtime = {
        "apiVersion": group,
        "kind": "TrainingRuntime",
        "metadata": {**metadata, "labels": {"trainer.kubeflow.org/framework": "tensorflow"}},
        "spec": {
            "mlPolicy": {"numNodes": workers},
            "template": {"spec": {"failurePolicy": {"maxRestarts": step.retries}, "replicatedJobs": [node]}},
        },
    }
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": name}
    spec = {"runtimeRef": reference, "trainer": {"numNodes": workers}}
    return [runtime, {"apiVersion": group, "kind": "TrainJob", "metadata": metadata, "spec": spec}]


def _container(
    config: Config, step: Step, name: str, port_name: str, command: list[str], environment: list[dict]
) -> dict[str, Any]:
    resources = {key: value for key, value in (("cpu", step.cpu), ("memory", step.memory)) if value}
    if step.gpu:
        resources[step.gpu.type] = str(step.gpu.count)
    environment = [*environment, *({"name": key, "value": value} for key, value in step.env.items())]
    environment += [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
        for secret in step.secrets
        for key, variable in secret.env.items()
    ]
    mounts = [{"name": volume["name"], "mountPath": path} for path, volume in _volumes(step).items()]
    return {
        "name": name,
        "image": config.kubeflow.image,
        "command": command,
        "ports": [{"name": port_name, "containerPort": PORT}],
        **({"env": environment} if environment else {}),
        # Asked for and not exceeded.
        **({"resources": {"requests": resources, "limits": resources.copy()}} if resources else {}),
        **({"volumeMounts": mounts} if mounts else {}),
    }


def _pod(config: Config, step: Step, container: dict[str, Any], restart: str | None = None) -> dict[str, Any]:
    tolerations = [
        {
            key: value
            for key, value in (
                ("key", each.key),
                ("operator", each.operator),
                ("value", each.value),
                ("effect", each.effect),
                ("tolerationSeconds", each.seconds),
            )
            if value is not None
        }
        for each in step.tolerations
    ]
    parts = {
        "restartPolicy": restart,
        "serviceAccountName": config.kubeflow.service_account,
        "nodeSelector": step.node_selector,
        "tolerations": tolerations,
        "volumes": list(_volumes(step).values()),
    }
    return {**{key: part for key, part in parts.items() if part}, "containers": [container]}


def _volumes(step: Step) -> dict[str, dict[str, Any]]:
    """The pod's volumes by the path that they are mounted at."""
    sources: dict[str, dict[str, Any]] = {}
    for volume in step.volumes:
        sources[volume.path] = {"persistentVolumeClaim": {"claimName": volume.claim}}
    for secret in step.secrets:
        if secret.path:
            sources[secret.path] = {"secret": {"secretName": secret.name}}
    if step.shared_memory:
        sources["/dev/shm"] = {"emptyDir": {"medium": "Memory", "sizeLimit": step.shared_memory}}
    return {path: {"name": f"volume-{index}", **source} for index, (path, source) in enumerate(sources.items())}
