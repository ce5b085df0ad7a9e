"""Where Kubeflow's launcher keeps the object store's files inside a step's container."""

from __future__ import annotations

import os

MOUNTS = {"gs": "/gcs", "s3": "/s3", "minio": "/minio"}
"""Folder by scheme: LocalPathForURI in backend/src/v2/component/launcher_v2.go of kubeflow/pipelines."""
LOCAL_ROOT = "DEEPLAB_LAUNCHER_ROOT"
"""Environment variable with a folder that these folders lie in, where a step runs without a container of its own."""


def local_path(uri: str) -> str:
    """The launcher's path of a URI; anything else as it is."""
    scheme, found, rest = uri.partition("://")
    return f"{os.environ.get(LOCAL_ROOT, '')}{MOUNTS[scheme]}/{rest}" if found and scheme in MOUNTS else uri
