"""Results of earlier runs, found by a task's fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from kubeflow.local_backend.metadata import type_name


def fingerprint(component: Any, container: Any, executor_input: Any, claims: Iterable[str]) -> str:
    """What a task's results depend on, for the backend: `GenerateCacheKey` in v2/cacheutils/cache.go.

    Not what is in the files: an input artifact counts by the number that ML Metadata gave it, so a task whose inputs
    came from the cache finds its own results there, and one whose input was made anew does not. Volume claims
    (`getFingerPrint` in v2/driver/cache.go) and the environment count in late versions only.

    Args:
        component: ComponentSpec.
        container: PipelineContainerSpec, not filled in.
        executor_input: ExecutorInput with inputs and outputs; URIs of outputs do not count.
        claims: names of the persistent volume claims.
    """
    inputs, outputs = executor_input.inputs, executor_input.outputs
    key = {
        "inputArtifactNames": {
            name: [artifact.name for artifact in inputs.artifacts[name].artifacts] for name in inputs.artifacts
        },
        "inputParameterValues": {
            name: json_format.MessageToDict(value) for name, value in inputs.parameter_values.items()
        },
        "outputArtifactsSpec": {name: _without_uri(outputs.artifacts[name].artifacts[0]) for name in outputs.artifacts},
        "outputParametersSpec": {
            name: type_name(component.output_definitions.parameters[name].parameter_type) for name in outputs.parameters
        },
        "containerSpec": {
            "image": container.image,
            "cmdArgs": [*container.command, *container.args],
            "pvcNames": sorted(set(claims)),
            "env": [[variable.name, variable.value] for variable in container.env],
        },
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def import_key(artifact: Any, schema: Any) -> str:
    """What an imported artifact is found again by: `FindMatchedArtifact` in v2/metadata/client.go.

    Args:
        artifact: RuntimeArtifact with its URI and metadata.
        schema: ArtifactTypeSchema.
    """
    key = [json_format.MessageToDict(message) for message in (artifact, schema)]
    return f"import-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()}"


def _without_uri(artifact: Any) -> dict[str, Any]:
    fields = json_format.MessageToDict(artifact)
    return {name: fields[name] for name in ("name", "type", "metadata") if name in fields}


class Cache:
    """Where fingerprints lead to results.

    Args:
        folder: of the store.
        pipeline: entries count for the pipeline of this name only (`GetExecutionCache` in v2/cacheutils/cache.go).
    """

    def __init__(self, folder: Path, pipeline: str):
        self._folder = folder / "cache" / pipeline

    def find(self, key: str) -> dict[str, Any] | None:
        """The newest results of a fingerprint: `parameters` and `artifacts` as JSON."""
        file = self._folder / f"{key}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def keep(self, key: str, results: dict[str, Any]) -> None:
        """Makes results the newest of a fingerprint."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{key}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(results), encoding="utf-8")
        partial.replace(file)
