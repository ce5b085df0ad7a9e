"""fsspec file systems for gs, s3 and minio in a folder, for programs that the local backend starts.

The folder of this file is on such a program's PYTHONPATH. fsspec finds the file systems by the entry points in the
metadata beside it, which come before those of installed packages; a program that does not import fsspec pays nothing,
and a `sitecustomize` of the user's stays what it is. The environment variable DEEPLAB_OBJECT_STORE names the folder,
whose layout is that of `kubeflow.local_backend.store`.

They behave as object stores: there are no empty folders, an object is there from the moment it is closed, and making a
folder does nothing. Buckets need not be made either.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from fsspec import AbstractFileSystem


class _Upload(io.BufferedWriter):
    """An object while it is written; it appears under its name when it is closed."""

    def __init__(self, target: Path, partial: Path):
        super().__init__(io.FileIO(partial, "ab"))
        self._target = target
        self._partial = partial

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._partial.replace(self._target)


class FolderObjectStore(AbstractFileSystem):
    """Objects as files. Further arguments, such as credentials and endpoints, mean nothing here."""

    scheme: ClassVar[str]
    root_marker = ""
    cachable = False

    @property
    def _store(self) -> Path:
        return Path(os.environ["DEEPLAB_OBJECT_STORE"])

    def _file(self, path: str) -> Path:
        stripped = self._strip_protocol(path)
        if ".." in stripped.split("/"):
            raise ValueError(f"{path}: a key without '..' is wanted")
        return self._store / self.scheme / stripped

    def _entry(self, path: Path) -> dict[str, Any] | None:
        name = path.relative_to(self._store / self.scheme).as_posix()
        if path.is_file():
            status = path.stat()
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            return {"name": name, "size": status.st_size, "type": "file", "mtime": modified, "LastModified": modified}
        if any(file.is_file() for file in path.rglob("*")):
            return {"name": "" if name == "." else name, "size": 0, "type": "directory"}
        return None

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        entry = self._entry(self._file(path))
        if entry is None:
            raise FileNotFoundError(path)
        return entry

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        entry = self.info(path)
        entries = [entry]
        if entry["type"] == "directory":
            entries = [found for child in sorted(self._file(path).iterdir()) if (found := self._entry(child))]
        return entries if detail else [found["name"] for found in entries]

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> BinaryIO:
        file = self._file(path)
        if mode == "rb":
            if not file.is_file():
                raise FileNotFoundError(path)
            return file.open("rb")
        if mode not in ("wb", "ab", "xb"):
            raise ValueError(f"mode {mode!r}: rb, wb, xb or ab is wanted")
        if mode == "xb" and file.exists():
            raise FileExistsError(path)
        uploads = self._store / ".uploads"
        uploads.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=uploads)
        os.close(handle)
        if mode == "ab" and file.is_file():
            shutil.copyfile(file, partial)
        return _Upload(file, Path(partial))

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        if self.isdir(path1):
            return
        with self.open(path1, "rb") as source, self.open(path2, "wb") as target:
            shutil.copyfileobj(source, target)

    def rm_file(self, path: str) -> None:
        file = self._file(path)
        if not file.is_file():
            raise FileNotFoundError(path)
        file.unlink()
        for folder in file.parents:
            if folder == self._store / self.scheme or any(folder.iterdir()):
                break
            folder.rmdir()

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        for found in self.expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if self._file(found).is_file():
                self.rm_file(found)
            elif not recursive:
                raise FileNotFoundError(found)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Nothing: there are no folders."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: there are no folders."""

    def rmdir(self, path: str) -> None:
        """Nothing: there are no folders."""

    def created(self, path: str) -> datetime:
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        return self.info(path)["LastModified"]


class GsFolder(FolderObjectStore):
    """Google Cloud Storage."""

    scheme = "gs"
    protocol = ("gs", "gcs")


class S3Folder(FolderObjectStore):
    """S3."""

    scheme = "s3"
    protocol = ("s3", "s3a")


class MinioFolder(FolderObjectStore):
    """MinIO, under the scheme that Kubeflow gives it."""

    scheme = "minio"
    protocol = "minio"
