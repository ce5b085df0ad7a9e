"""Runs a task's program inside its image, as strictly as a cluster may.

No root, no capabilities, no new privileges, nothing writable but `/tmp` and what is mounted. With docker or podman this
is a `run` of theirs. Without them, buildah lays out the image's files, and bubblewrap makes them the root of a process
that then gives up root; that takes root here and `setpriv` in the image, which Debian has.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from kubeflow.local_backend.containers import OBJECT_STORE, OBJECT_STORE_PACKAGE, SEEN, Container, run_process

STORE_FOLDER = "/object-store"
"""Where a program sees the folder that stands for the object store."""
STORE_PACKAGE_FOLDER = "/object-store-package"
"""Where it sees what lets fsspec use that folder."""
UNPRIVILEGED = (10001, 10001)
"""User and group where the folders belong to root: the Dockerfile's."""

_DROP_PRIVILEGES = ("--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")


@dataclass(frozen=True)
class Mount:
    """A folder of this machine in a container."""

    source: Path
    target: str
    read_only: bool = False


def engine_command(
    engine: str,
    image: str,
    command: Sequence[str],
    *,
    name: str,
    env: Iterable[str] = (),
    mounts: Sequence[Mount] = (),
    user: tuple[int, int] = UNPRIVILEGED,
) -> list[str]:
    """The command line that runs a program in a container of docker or podman.

    Args:
        engine: `docker` or `podman`.
        image: its name.
        command: the program and its arguments; they take the place of the image's entry point, as in a pod.
        name: of the container, by which it can be ended.
        env: names of the environment variables to hand on; their values, which may be secrets, are the engine's own and
            do not stand on its command line.
        mounts: folders; without one at `/tmp`, an empty one that goes with the container.
        user: number and group of the user.
    """
    program, *arguments = command
    options = ["--rm", "--name", name, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    # Otherwise SELinux, where there is one, keeps containers from folders that were not made for them.
    options += ["--security-opt", "label=disable"]
    options += ["--user", "{}:{}".format(*user)]
    if engine == "podman" and os.geteuid() != 0:
        options += ["--userns", "keep-id"]
    if "/tmp" not in {mount.target for mount in mounts}:
        options += ["--tmpfs", "/tmp"]
    for mount in mounts:
        read_only = ",readonly" if mount.read_only else ""
        options += ["--mount", f"type=bind,source={mount.source},target={mount.target}{read_only}"]
    for variable in env:
        options += ["--env", variable]
    return [engine, "run", *options, "--entrypoint", program, image, *arguments]


def sandbox_command(
    root: Path,
    command: Sequence[str],
    *,
    mounts: Sequence[Mount] = (),
    user: tuple[int, int] = UNPRIVILEGED,
    work_folder: str = "/",
) -> list[str]:
    """The command line that runs a program in an image's files with bubblewrap, as root and before root is given up.

    The environment is that of the process which runs it.

    Args:
        root: the folder with the image's files; nothing is changed in it.
        command: the program and its arguments.
        mounts: folders; without one at `/tmp`, an empty one that goes with the process.
        user: number and group of the user.
        work_folder: the current folder, in the image.
    """
    options = ["--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    for entry in sorted(root.iterdir()):
        place = f"/{entry.name}"
        if entry.is_symlink():
            options += ["--symlink", str(entry.readlink()), place]
        elif entry.is_dir() and not any(entry.iterdir()):
            options += ["--dir", place]  # not bound, so that places for mounts can be made in it
        else:
            options += ["--ro-bind", str(entry), place]
    options += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
    # Names of hosts are this machine's, as an engine sees to.
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        if (root / file[1:]).is_file():
            options += ["--ro-bind", str(Path(file).resolve()), file]
    if "/tmp" not in {mount.target for mount in mounts}:
        options += ["--perms", "1777", "--tmpfs", "/tmp"]
    for mount in mounts:
        options += ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target]
    options += ["--remount-ro", "/", "--chdir", work_folder]
    for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
        options += ["--cap-add", capability]  # for setpriv, which then drops them
    numbers = ["--reuid", str(user[0]), "--regid", str(user[1])]
    return ["bwrap", *options, "--", "setpriv", *numbers, *_DROP_PRIVILEGES, "--", *command]


def find_engine() -> str:
    """The first of docker, podman and buildah with bubblewrap that works.

    Raises:
        FileNotFoundError: there is none.
    """
    for engine in ("docker", "podman", "buildah"):
        if engine == "buildah" and not (shutil.which("bwrap") and os.geteuid() == 0):
            continue
        # docker's command may be there without its daemon.
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    raise FileNotFoundError(
        "no engine runs images here: neither docker nor podman answers, and there is no buildah with bubblewrap that "
        "root could use; start or install one of them"
    )


class Images(AbstractContextManager):
    """Runs programs inside their images, which must be there.

    A context manager: what buildah lays out, a copy of the image with storage driver `vfs`, is removed at the end.

    Args:
        folders: of this machine that the programs see where they are, such as one with data; they cannot write there.
    """

    own_root = True

    def __init__(self, folders: Sequence[Path] = ()):
        self._engine = find_engine()
        self._folders = folders
        self._laid_out: dict[str, _Files] = {}
        self._cleanup = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._laid_out.clear()
        self._cleanup.close()

    def run(self, container: Container) -> int:
        """See `ContainerRunner.run`."""
        for folder in self._folders:
            # Folders to mount on that bubblewrap made itself, such as in the container's /tmp, would be root's alone.
            if any(folder.is_relative_to(seen) for seen in SEEN):
                (container.root / str(folder)[1:]).mkdir(parents=True)
        user = _user_of(container)
        mounts = [
            *(Mount(container.root / folder[1:], folder) for folder in SEEN),
            Mount(container.store, STORE_FOLDER),
            Mount(OBJECT_STORE_PACKAGE, STORE_PACKAGE_FOLDER, read_only=True),
            *(Mount(folder, str(folder), read_only=True) for folder in self._folders),
        ]
        env = {OBJECT_STORE: STORE_FOLDER, "PYTHONPATH": STORE_PACKAGE_FOLDER, **container.env}
        with ExitStack() as ended:
            if self._engine == "buildah":
                files = self._files(container.image)
                command = sandbox_command(
                    files.root, container.command, mounts=mounts, user=user, work_folder=files.work_folder
                )
                env = {**files.env, **env}
            else:
                name = f"deeplab-{uuid.uuid4().hex}"
                command = engine_command(
                    self._engine, container.image, container.command, name=name, env=env, mounts=mounts, user=user
                )
                env = {**os.environ, **env}
                # The engine's command can end without its container.
                ended.callback(subprocess.run, [self._engine, "rm", "--force", name], capture_output=True, check=False)
            # Where it is here; the environment's PATH may be the image's.
            command[0] = shutil.which(command[0]) or command[0]
            return run_process(command, container, env=env)

    def _files(self, image: str) -> _Files:
        if image not in self._laid_out:
            name = _ask("buildah", "from", "--pull-never", image)
            self._cleanup.callback(_ask, "buildah", "rm", name)
            root = Path(_ask("buildah", "mount", name))
            config = json.loads(_ask("buildah", "inspect", name))["OCIv1"]["config"]
            variables = dict(entry.split("=", 1) for entry in config.get("Env", ()))
            self._laid_out[image] = _Files(root, variables, config.get("WorkingDir", "/"))
        return self._laid_out[image]


@dataclass(frozen=True)
class _Files:
    """An image's files, laid out."""

    root: Path
    env: Mapping[str, str]
    work_folder: str


def _user_of(container: Container) -> tuple[int, int]:
    """Whose the container's folders are; root's are handed to an ordinary user."""
    owner = container.root.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    for folder in (container.root, container.store):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *UNPRIVILEGED, follow_symlinks=False)
    return UNPRIVILEGED


def _ask(*command: str) -> str:
    """What a command prints.

    Raises:
        OSError: it failed.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout.strip()
