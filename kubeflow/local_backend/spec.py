"""A compiled pipeline as the backend's own messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow.local_backend.errors import BackendError

PLATFORM = "kubernetes"


@dataclass(frozen=True)
class Spec:
    """What a package says."""

    pipeline: Any
    """PipelineSpec."""
    executors: Mapping[str, Any]
    """ExecutorSpec by label."""
    platform: Mapping[str, Any]
    """KubernetesExecutorConfig by label; of those executors that have one."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Reads the YAML as `NewV2SpecTemplate` in apiserver/template/v2_template.go does.

        That function takes the documents by what they hold, in any order, and passes over a document that is neither
        a PipelineSpec nor a platform specification for Kubernetes. Passing over means that a misspelt platform setting
        drops all of them without a word, so here such a document is refused.

        Raises:
            BackendError: the text is no pipeline.
        """
        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            documents = [document for document in yaml.load_all(text, loader) if document is not None]
        except yaml.YAMLError as error:
            raise BackendError("", f"the package is no YAML: {error}") from error
        pipelines: list[dict[str, Any]] = []
        platforms: list[dict[str, Any]] = []
        for document in documents:
            if not isinstance(document, dict):
                raise BackendError("", f"a document of the package is no mapping: {str(document)[:80]}")
            (platforms if "platforms" in document else pipelines).append(document)
        if len(pipelines) != 1 or len(platforms) > 1:
            raise BackendError(
                "",
                f"found {len(pipelines)} pipeline and {len(platforms)} platform documents in the package; one pipeline "
                "document is wanted and at most one for the platform",
            )
        if documents[0] is not pipelines[0]:
            raise BackendError("", "the pipeline's document must be the package's first: kfp's client reads it there")
        pipeline = _message(pipelines[0], pipeline_spec_pb2.PipelineSpec(), "the pipeline's document")
        # GetDeploymentConfig in v2/compiler/visitor.go drops what it does not know, because of an "@type" field.
        deployment = _message(
            json_format.MessageToDict(pipeline.deployment_spec),
            pipeline_spec_pb2.PipelineDeploymentConfig(),
            "deploymentSpec",
            ignore_unknown_fields=True,
        )
        return cls(pipeline, dict(deployment.executors), _platform(platforms[0]) if platforms else {})

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
    if PLATFORM not in message.platforms:
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


def _message(document: dict[str, Any], message: Any, place: str, *, ignore_unknown_fields: bool = False) -> Any:
    try:
        return json_format.ParseDict(document, message, ignore_unknown_fields=ignore_unknown_fields)
    except json_format.ParseError as error:
        raise BackendError("", f"{place}: {' '.join(str(error).split())}") from error


def value_of(python: Any) -> Any:
    """A protobuf Value.

    Args:
        python: what JSON can say.
    """
    return json_format.ParseDict(python, struct_pb2.Value())
