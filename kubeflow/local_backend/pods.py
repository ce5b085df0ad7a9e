"""What the platform document adds to a task's pod, as far as it can be had here: `extendPodSpecPatch` in v2/driver."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeflow.local_backend.checks import NOT_HERE
from kubeflow.local_backend.errors import BackendError
from kubeflow.local_backend.spec import Spec


def environment(container: Any, config: Any) -> dict[str, str]:
    """A program's variables: the specification's, then those of secrets and config maps.

    A cluster's secrets are not here. What one would set is taken from this process, or left out.

    Args:
        container: PipelineContainerSpec.
        config: KubernetesExecutorConfig.
    """
    result = {variable.name: variable.value for variable in container.env}
    for source in (*config.secret_as_env, *config.config_map_as_env):
        for pair in source.key_to_env:
            if pair.env_var in os.environ:
                result[pair.env_var] = os.environ[pair.env_var]
    return result


def claims(config: Any) -> dict[str, str]:
    """Names of the persistent volume claims by mount path."""
    return {
        mount.mount_path: mount.pvc_name_parameter.runtime_value.constant.string_value or mount.constant
        for mount in config.pvc_mount
    }


def mounts(config: Any, volumes: Mapping[str, Path]) -> dict[str, Path]:
    """Folders of this machine by mount path."""
    return {path: volumes[claim].absolute() for path, claim in claims(config).items() if claim in volumes}


def check_mounts(spec: Spec, volumes: Mapping[str, Path], *, own_root: bool) -> None:
    """Refuses what pods mount and cannot be had here.

    Args:
        spec: the pipeline.
        volumes: folders of this machine by claim.
        own_root: of the runner; without it nothing can be mounted, and a mount path must be there already.

    Raises:
        BackendError: something is not there.
    """
    for label, config in spec.platform.items():
        where = f"platforms.kubernetes.deploymentSpec.executors.{label}"
        for field in ("field_path_as_env", "generic_ephemeral_volume"):
            if getattr(config, field):
                raise BackendError("", f"{where}.{field}: {NOT_HERE}")
        for path, claim in claims(config).items():
            folder = volumes.get(claim)
            if not claim:
                raise BackendError("", f"{where}: the claim mounted at {path} has no constant name: {NOT_HERE}")
            if own_root and folder is None:
                raise BackendError("", f"{where}: which folder stands for the claim {claim!r}, mounted at {path}?")
            if not own_root and not _is_there(Path(path), folder):
                raise BackendError(
                    "",
                    f"{where}: the claim {claim!r} is mounted at {path}; programs see this machine's own folders, and "
                    f"{path} is not {folder or 'one of them'}",
                )
        for mount in (*config.secret_as_volume, *config.config_map_as_volume):
            if own_root or not Path(mount.mount_path).exists():
                raise BackendError("", f"{where}: files at {mount.mount_path} come from the cluster; {NOT_HERE}")


def _is_there(path: Path, folder: Path | None) -> bool:
    return path.exists() and (folder is None or path.samefile(folder))
