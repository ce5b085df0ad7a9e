"""Files on this machine or in an object store (`gs://`, `s3://`, or whatever fsspec knows)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import fsspec

LOGGER = logging.getLogger(__name__)

READERS = 16
"""Files that are read at the same time for their fingerprints; reading waits for disks and networks."""
MINIO_ENDPOINT = "http://minio-service.kubeflow:9000"
"""Where a standard installation of Kubeflow Pipelines keeps its artifacts; AWS_ENDPOINT_URL names another place."""
CONTENT_TAGS = ("md5Hash", "crc32c", "ETag", "etag", "content_md5")
"""What object stores say of a file's contents: Google's first two, S3's, others'."""
INCOMING = ".incoming-"
"""What the name of something begins with that is still being written, on a disk."""
OUTGOING = ".outgoing-"
"""And of a folder that is being removed."""
LOCK_FILE = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What disks say, such as some of a network, that have no locks or cannot flush a folder."""


def is_remote(uri: str) -> bool:
    """Whether it is a URI rather than a path of this machine."""
    return "://" in uri


def join(folder: str, *parts: str) -> str:
    """A place inside a folder, with one slash between the parts."""
    return "/".join([folder.rstrip("/") or "/", *parts]) if is_remote(folder) else str(Path(folder, *parts))


def name(uri: str) -> str:
    """The last part."""
    return uri.rstrip("/").rpartition("/")[2]


def read_bytes(uri: str) -> bytes:
    """A file's contents.

    Raises:
        OSError: it cannot be read.
    """
    if not is_remote(uri):
        return Path(uri).read_bytes()
    with _store(uri) as (system, path):
        return system.cat_file(path)


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file, which is there whole or not at all; on a disk the folders above it are made.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    if is_remote(uri):
        with _store(uri) as (system, path):
            system.pipe_file(path, content)
        return
    Path(uri).parent.mkdir(parents=True, exist_ok=True)
    incoming = _beside(Path(uri), INCOMING)
    try:
        incoming.write_bytes(content)
        _flush(incoming)
        incoming.replace(uri)
    finally:
        incoming.unlink(missing_ok=True)
    _flush(Path(uri).parent)


def list_files(folder: str, *, recursive: bool = False) -> dict[str, str]:
    """The files in a folder: what tells their contents apart, by name or, if recursive, by path inside the folder.

    The value is empty where only reading can tell, as on a disk; see `fingerprints`. Hidden files are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it cannot be read.
    """
    if not is_remote(folder):
        return dict.fromkeys(_local_files(Path(folder), recursive), "")
    with _store(folder) as (system, path):
        entries = list(system.find(path, detail=True).values()) if recursive else system.ls(path, detail=True)
        if not entries:
            raise FileNotFoundError(path)
    prefix = path.rstrip("/") + "/"
    found = {
        entry["name"][len(prefix) :]: _content_tag(entry)
        for entry in entries
        # An empty object whose name ends in a slash is how consoles of object stores show a folder.
        if entry["type"] == "file" and entry["name"].startswith(prefix) and not entry["name"].endswith("/")
    }
    return {key: tag for key, tag in found.items() if not _hidden(key)}


def list_folders(folder: str) -> list[str]:
    """The names of the folders in a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it cannot be read.
    """
    if not is_remote(folder):
        return [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    with _store(folder) as (system, path):
        return [name(entry["name"]) for entry in system.ls(path, detail=True) if entry["type"] == "directory"]


def is_file(uri: str) -> bool:
    """Whether a file is there; what cannot be read is none."""
    if not is_remote(uri):
        return Path(uri).is_file()
    with _store(uri) as (system, path):
        return system.isfile(path)


def files_at(uri: str) -> list[str]:
    """The file, or the files in the folder and in those inside it, that a path or URI stands for.

    Raises:
        FileNotFoundError: there is neither.
        OSError: it cannot be read.
    """
    return [uri] if is_file(uri) else [join(uri, file) for file in sorted(list_files(uri, recursive=True))]


def fingerprints(uris: Iterable[str]) -> dict[str, str]:
    """What tells the contents of files apart: a hash of the bytes, or what the object store says of them.

    Raises:
        OSError: one cannot be read.
    """
    uris = list(dict.fromkeys(uris))
    tags: dict[str, str] = {}
    for folder in {uri.rpartition("/")[0] for uri in uris if is_remote(uri)}:
        tags |= {join(folder, file): tag for file, tag in list_files(folder).items() if tag}
    unknown = [uri for uri in uris if uri not in tags]
    # One task for each reader; one for each file would take more memory than all else.
    with ThreadPoolExecutor(READERS) as readers:
        for hashes in readers.map(_hashes, (unknown[start::READERS] for start in range(READERS))):
            tags |= hashes
    return tags


def _hashes(uris: Iterable[str]) -> dict[str, str]:
    return {uri: _hash(uri) for uri in uris}


def _hash(uri: str) -> str:
    try:
        return hashlib.blake2b(read_bytes(uri), digest_size=16).hexdigest()
    except OSError as error:
        # Told with all that is wrong when the file is read for its contents.
        return str(error)


def _local_files(folder: Path, recursive: bool) -> list[str]:
    if not recursive:
        return [entry.name for entry in os.scandir(folder) if not _hidden(entry.name) and entry.is_file()]
    found = []
    # Without onerror a folder that is not there would have no files in silence.
    for directory, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        place = Path(directory)
        if place != folder and any(parent.samefile(place) for parent in place.parents if parent.is_relative_to(folder)):
            raise OSError(errno.ELOOP, "a link leads back to a folder above it", directory)
        folders[:] = [each for each in folders if not _hidden(each)]
        found += [os.path.relpath(os.path.join(directory, file), folder) for file in files if not _hidden(file)]
    return found


def _raise(error: OSError) -> None:
    raise error


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _content_tag(entry: dict[str, Any]) -> str:
    tag = next((str(entry[key]) for key in CONTENT_TAGS if entry.get(key)), "")
    return f"{entry['size']} {tag}" if tag else ""


def upload_folder(folder: str, uri: str, *, last: str | None = None) -> None:
    """Copies a folder of this machine into an object store, or another folder.

    Args:
        folder: of this machine.
        uri: URI or path that its contents become.
        last: path inside the folder of a file that is written after all others, as a sign that they are there.

    Raises:
        OSError: it cannot be read or written.
    """
    for file in sorted(_local_files(Path(folder), recursive=True), key=lambda file: (file == last, file)):
        target = join(uri, file)
        if is_remote(uri):
            upload_file(str(Path(folder, file)), target)
        else:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder, file), target)


def publish_folder(folder: str, uri: str, *, last: str) -> None:
    """Copies a folder of this machine to a place where somebody may be watching.

    On a disk it appears there whole, by a renaming, and stays whatever happens to the machine. An object store knows no
    renaming: there `last` is written after all others, as a sign that they are there.

    Args:
        folder: of this machine.
        uri: URI or path that its contents become; there must be nothing yet.
        last: path inside the folder.

    Raises:
        OSError: it cannot be read or written; nothing is left at the place.
    """
    if is_remote(uri):
        try:
            upload_folder(folder, uri, last=last)
        except OSError:
            with contextlib.suppress(OSError):
                remove(uri)
            raise
        return
    incoming = _beside(Path(uri), INCOMING)
    try:
        upload_folder(folder, str(incoming))
        for directory, _, names in os.walk(incoming):
            for each in (*names, "."):
                _flush(Path(directory, each))
        incoming.rename(uri)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    # It is there, and whoever reads it may have seen it; that a machine going down might undo it is no failure.
    with contextlib.suppress(OSError):
        _flush(Path(uri).parent)


def withdraw_folder(uri: str, *, first: str) -> None:
    """Removes what `publish_folder` has put there, in the opposite order.

    Args:
        uri: URI or path of the folder.
        first: path inside it of what is removed before all others from an object store.

    Raises:
        OSError: it cannot be removed.
    """
    if is_remote(uri):
        remove(join(uri, first))
        remove(uri)
        return
    outgoing = _beside(Path(uri), OUTGOING)
    Path(uri).rename(outgoing)
    shutil.rmtree(outgoing)


def clear_unfinished(folder: str) -> None:
    """Removes what killed processes were writing into, or removing from, a folder of this machine; who works there now
    must be kept out (`exclusive`). What cannot be removed stays."""
    for entry in os.scandir(folder):
        if entry.name.startswith((INCOMING, OUTGOING)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


@contextmanager
def exclusive(folder: str) -> Iterator[bool]:
    """Waits until no other process is inside this for the same folder, on this machine or another that sees the disk.

    A process that dies is inside no longer.

    Args:
        folder: path or URI; a path must be there.

    Yields:
        Whether others are kept out: neither object stores nor all network disks have locks.

    Raises:
        OSError: the folder cannot be written.
    """
    if is_remote(folder):
        yield False
        return
    with Path(folder, LOCK_FILE).open("w") as lock:
        yield _locked(lock.fileno(), folder)


def _locked(lock: int, folder: str) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        LOGGER.warning("another process is at work in %s; waiting for it", folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _beside(place: Path, prefix: str) -> Path:
    """A name of its own in the same folder, and so on the same disk."""
    return place.with_name(f"{prefix}{place.name}-{secrets.token_hex(4)}")


def _flush(place: Path) -> None:
    """Has the disk keep a file, or the names in a folder, if the machine goes down."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (place.is_dir() and error.errno in UNSUPPORTED):
            raise
    finally:
        os.close(descriptor)


def upload_file(file: str, uri: str) -> None:
    """Copies a file of this machine into an object store, where it is there whole or not at all.

    Raises:
        OSError: it cannot be read or written.
    """
    with _store(uri) as (system, path):
        system.put_file(file, path)


def remove(uri: str) -> None:
    """Removes a file, or a folder with all that is in it, from an object store.

    Raises:
        OSError: it cannot be removed.
    """
    with _store(uri) as (system, path):
        system.rm(path, recursive=True)


def download_folder(uri: str, folder: str) -> None:
    """Copies a folder of an object store, or of this machine, to a folder of this machine.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it cannot be read or written.
    """
    for file in list_files(uri, recursive=True):
        target = Path(folder, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_remote(uri):
            with _store(join(uri, file)) as (system, path):
                system.get_file(path, str(target))
        else:
            shutil.copyfile(Path(uri, file), target)


def fetched(uri: str, folder: str) -> str:
    """A path of this machine where the file or folder of a URI is: a copy, or the path that it is already.

    Args:
        uri: URI or path.
        folder: that a copy is put into.

    Raises:
        FileNotFoundError: there is neither.
        OSError: it cannot be read.
    """
    if not is_remote(uri):
        if not Path(uri).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
        return uri
    target = Path(folder, name(uri))
    if is_file(uri):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _store(uri) as (system, path):
            system.get_file(path, str(target))
    else:
        download_folder(uri, str(target))
    return str(target)


@cache
def _file_system(protocol: str, process: int) -> fsspec.AbstractFileSystem:
    if protocol == "minio" and protocol not in fsspec.available_protocols():
        # Kubeflow Pipelines' name for its own store, which speaks S3's language.
        endpoint = os.environ.get("AWS_ENDPOINT_URL", MINIO_ENDPOINT)
        return _minio_file_system()(endpoint_url=endpoint, use_listings_cache=False)
    # A client is not to be used in a fork of the process that made it.
    # What is listed is compared with earlier runs, so none of it may be remembered.
    return fsspec.filesystem(protocol, use_listings_cache=False)


def _minio_file_system() -> type[fsspec.AbstractFileSystem]:
    from s3fs import S3FileSystem

    class MinioFileSystem(S3FileSystem):
        """S3 under the name that Kubeflow Pipelines gives to its own store."""

        protocol = ("minio",)

    return MinioFileSystem


@contextmanager
def _store(uri: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """The object store of a URI and the path in it. What goes wrong inside becomes an OSError that names the URI."""
    try:
        system = _file_system(uri.partition("://")[0], os.getpid())
        yield system, system._strip_protocol(uri)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri) from error
    # Each store's client has exceptions of its own, such as for credentials that are missing or refused.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise OSError(errno.EIO, f"{type(error).__name__}: {reason}", uri) from error
