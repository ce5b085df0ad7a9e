"""A compiled pipeline as the backend's own messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.records import BackendError

PLATFORM = "kubernetes"


@dataclass(frozen=True)
class Spec:
    """The contents of a package."""

    pipeline: Any
    """PipelineSpec."""
    executors: Mapping[str, Any]
    """ExecutorSpec by label."""
    platform: Mapping[str, Any]
    """KubernetesExecutorConfig by label, for the executors that have one."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Reads the YAML as `NewV2SpecTemplate` in apiserver/template/v2_template.go does.

        Unlike that function, refuse a document of an unknown kind: one misspelled key would otherwise drop all platform
        settings without a message.

        Raises:
            BackendError: the text is not a pipeline.
        """
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            documents = [document for document in yaml.load_all(text, loader) if document is not None]
        except yaml.YAMLError as error:
            raise BackendError("", f"the package is not YAML: {error}") from error
        for document in documents:
            if not isinstance(document, dict):
                raise BackendError("", f"a document of the package is not a mapping: {str(document)[:80]}")
        kinds = ["platform" if "platforms" in document else "pipeline" for document in documents]
        if kinds not in (["pipeline"], ["pipeline", "platform"]):
            found = ", ".join(kinds) or "none"
            raise BackendError(
                "", f"documents of the package: found {found}; expected pipeline first, then at most one platform"
            )
        pipeline = _message(documents[0], pipeline_spec_pb2.PipelineSpec(), "the pipeline's document")
        deployment = _message(
            json_format.MessageToDict(pipeline.deployment_spec),
            pipeline_spec_pb2.PipelineDeploymentConfig(),
            "deploymentSpec",
        )
        return cls(pipeline, dict(deployment.executors), _platform(documents[1]) if len(documents) > 1 else {})

    @property
    def tasks(self) -> Mapping[str, Any]:
        """PipelineTaskSpec by name."""
        return self.pipeline.root.dag.tasks

    def component(self, task: Any) -> Any:
        """The ComponentSpec of a task."""
        return self.pipeline.components[task.component_ref.name]

    def platform_of(self, component: Any) -> Any:
        """The KubernetesExecutorConfig of a component; an empty one if it has none."""
        config = self.platform.get(component.executor_label)
        return config if config is not None else kubernetes_executor_config_pb2.KubernetesExecutorConfig()


def _platform(document: dict[str, Any]) -> dict[str, Any]:
    """`containerExecutorTask` in v2/compiler/argocompiler/container.go parses each executor's part strictly."""
    message = _message(document, pipeline_spec_pb2.PlatformSpec(), "the platform document")
    if set(message.platforms) != {PLATFORM}:
        found = ", ".join(sorted(message.platforms)) or "none"
        raise BackendError("", f"the platform document is for {found}; the backend reads {PLATFORM} only")
    executors = message.platforms[PLATFORM].deployment_spec.executors
    return {
        label: _message(
            json_format.MessageToDict(executors[label]),
            kubernetes_executor_config_pb2.KubernetesExecutorConfig(),
            f"platforms.{PLATFORM}.deploymentSpec.executors.{label}",
        )
        for label in executors
    }


def _message(document: dict[str, Any], message: Any, place: str) -> Any:
    try:
        return json_format.ParseDict(document, message)
    except json_format.ParseError as error:
        raise BackendError("", f"{place}: {' '.join(str(error).split())}") from error
