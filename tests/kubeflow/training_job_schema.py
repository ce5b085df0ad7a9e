"""What Kubernetes is told of a training job, checked as its API server would.

The custom resources' own fields are those of their CRDs, transcribed from the Go types that the CRDs are generated
from (all Apache-2.0), as far as the pods:

- kubeflow/training-operator, pkg/apis/kubeflow.org/v1/tensorflow_types.go and common_types.go
- kubeflow/trainer, pkg/apis/trainer/v1alpha1/trainjob_types.go and trainingruntime_types.go
- kubernetes-sigs/jobset, api/jobset/v1alpha2/jobset_types.go

Jobs and pods are checked against the models of Kubernetes' own Python client, which are generated from its OpenAPI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kubernetes import client

NAME = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
"""RFC 1035; both kinds of job ask for it."""


@dataclass(frozen=True)
class Choice:
    """A text out of several."""

    values: tuple[str, ...]


RUN_POLICY = {
    "cleanPodPolicy": Choice(("", "All", "Running", "None")),
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "schedulingPolicy": dict,
    "suspend": bool,
    "managedBy": str,
}
REPLICA_SPEC = {
    "replicas": int,
    "restartPolicy": Choice(("Always", "OnFailure", "Never", "ExitCode")),
    "template": "V1PodTemplateSpec",
}
METADATA = "V1ObjectMeta"
JOB_SET = {
    "replicatedJobs": [{"name": str, "replicas": int, "template": "V1JobTemplateSpec"}],
    "failurePolicy": {"maxRestarts": int},
    "successPolicy": dict,
    "network": dict,
    "ttlSecondsAfterFinished": int,
}
SCHEMAS: dict[tuple[str, str], dict[str, Any]] = {
    ("kubeflow.org/v1", "TFJob"): {
        "metadata": METADATA,
        "spec": {
            "runPolicy": RUN_POLICY,
            "successPolicy": Choice(("", "AllWorkers")),
            "tfReplicaSpecs": dict.fromkeys(("PS", "Worker", "Chief", "Master", "Evaluator"), REPLICA_SPEC),
            "enableDynamicWorker": bool,
        },
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): {
        "metadata": METADATA,
        "spec": {
            "mlPolicy": {"numNodes": int, "torch": dict, "mpi": dict},
            "podGroupPolicy": dict,
            "template": {"metadata": METADATA, "spec": JOB_SET},
        },
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): {
        "metadata": METADATA,
        "spec": {
            "runtimeRef": {"name": str, "apiGroup": str, "kind": str},
            "trainer": {
                "image": str,
                "command": [str],
                "args": [str],
                "env": ["V1EnvVar"],
                "numNodes": int,
                "resourcesPerNode": "V1ResourceRequirements",
            },
            "suspend": bool,
        },
    },
}


def check(document: dict[str, Any]) -> None:
    """Raises AssertionError, with a path, at a field that is unknown or of another type."""
    head = {"apiVersion": str, "kind": str}
    _check(document, head | SCHEMAS[document["apiVersion"], document["kind"]], document["kind"])
    assert NAME.fullmatch(document["metadata"]["name"])


def _check(value: Any, schema: Any, path: str) -> None:
    if isinstance(schema, Choice):
        assert value in schema.values, f"{path}: {value!r}"
    elif isinstance(schema, str):
        _check_model(value, schema, path)
    elif isinstance(schema, list):
        assert isinstance(value, list), path
        for index, item in enumerate(value):
            _check(item, schema[0], f"{path}[{index}]")
    elif isinstance(schema, dict):
        assert isinstance(value, dict), path
        for key, item in value.items():
            assert key in schema, f"{path}: unknown field {key}"
            _check(item, schema[key], f"{path}.{key}")
    else:
        assert type(value) is schema, f"{path}: {value!r}"


def _check_model(value: Any, name: str, path: str) -> None:
    """Checks against a type as the client writes it: str, list[V1Container], dict(str, str), V1PodSpec."""
    if inner := re.fullmatch(r"list\[(.+)\]", name):
        assert isinstance(value, list), path
        for index, item in enumerate(value):
            _check_model(item, inner[1], f"{path}[{index}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)", name):
        assert isinstance(value, dict), path
        for key, item in value.items():
            _check_model(item, inner[1], f"{path}.{key}")
    elif name in ("str", "int", "bool", "float", "object"):
        assert name == "object" or type(value).__name__ == name, f"{path}: {value!r} is no {name}"
    else:
        model = getattr(client, name)
        fields = {model.attribute_map[key]: kind for key, kind in model.openapi_types.items()}
        assert isinstance(value, dict), path
        for key, item in value.items():
            assert key in fields, f"{path}: {name} has no field {key}"
            _check_model(item, fields[key], f"{path}.{key}")
        # The client refuses a model without its required fields.
        model(**{attribute: value.get(key) for attribute, key in model.attribute_map.items()})
