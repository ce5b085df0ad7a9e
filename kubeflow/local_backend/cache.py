"""Results of earlier runs, found by a task's fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ENTRY_FORMAT = 2
"""Part of every fingerprint, so that entries of another form are not found."""


def fingerprint(component: Any, container: Any, executor_input: Any, claims: Iterable[str]) -> str:
    """What a task's results depend on, for the backend: `GenerateCacheKey` in v2/cacheutils/cache.go.

    The contents of files do not count: an input artifact counts by the number that ML Metadata gave it, so a task whose
    inputs came from the cache finds its own results there, and one whose input was made again does not. Volume claims
    (`getFingerPrint` in v2/driver/cache.go) and the environment count in some versions only.

    Args:
        component: ComponentSpec.
        container: PipelineContainerSpec, with its placeholders.
        executor_input: ExecutorInput with inputs and outputs; URIs of outputs do not count.
        claims: names of the persistent volume claims.
    """
    known = pipeline_spec_pb2.ExecutorInput()
    known.CopyFrom(executor_input)
    for items in known.outputs.artifacts.values():
        items.artifacts[0].ClearField("uri")
    program = type(container)()
    program.CopyFrom(container)
    program.ClearField("resources")
    parts = [message.SerializeToString(deterministic=True) for message in (known, component, program)]
    return hashlib.sha256(repr((ENTRY_FORMAT, sorted(set(claims)), parts)).encode()).hexdigest()


class Cache:
    """Results by fingerprint.

    Args:
        folder: of the store.
        pipeline: entries count for the pipeline of this name only (`GetExecutionCache` in v2/cacheutils/cache.go).
    """

    def __init__(self, folder: Path, pipeline: str):
        self._folder = folder / "cache" / pipeline

    def find(self, key: str) -> Any:
        """The newest results of a fingerprint, an ExecutorOutput; None if there are none."""
        file = self._folder / f"{key}.json"
        if not file.exists():
            return None
        return json_format.Parse(file.read_text(encoding="utf-8"), pipeline_spec_pb2.ExecutorOutput())

    def keep(self, key: str, results: Any) -> None:
        """Makes results the newest of a fingerprint."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{key}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json_format.MessageToJson(results), encoding="utf-8")
        partial.replace(file)
