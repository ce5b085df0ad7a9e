"""A folder in the place of the object store.

Its layout is `<folder>/<scheme>/<bucket>/<key>`. Steps that use the store themselves reach the same tree through
`object_store/`. Beside the schemes lie `runs/`, `cache/` and `next_id`, which are not objects. An object and a longer
key below it cannot both exist here, as they could in a real store.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

_BUCKET = re.compile(r"(?P<scheme>[a-z][a-z0-9]+)://(?P<bucket>[^/?]+)(?P<key>/[^?]*)?(?P<query>\?.+)?")
SCHEMES = ("gs", "s3", "minio")


class LocationError(ValueError):
    """A URI that the backend cannot use."""


@dataclass(frozen=True)
class Location:
    """A place in an object store."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Reads a URI: `ParseBucketPathToConfig` in v2/objectstore/config.go, less `mem://`, which is for its tests.

        Raises:
            LocationError: it is none of gs, s3 or minio, or it has no bucket, or it climbs with `..`, which
                `sanitizeDownloadPath` in v2/objectstore/object_store.go refuses.
        """
        match = _BUCKET.fullmatch(uri)
        if match is None or match["scheme"] not in SCHEMES:
            raise LocationError(f"found {uri!r}; expected a URI of {', '.join(f'{name}://' for name in SCHEMES)}")
        key = (match["key"] or "").strip("/")
        if ".." in (match["bucket"], *key.split("/")):
            raise LocationError(f"found {uri!r}; expected a URI without '..'")
        return cls(match["scheme"], match["bucket"], key)

    @property
    def uri(self) -> str:
        """The URI, without a query."""
        return f"{self.scheme}://{PurePosixPath(self.bucket, self.key)}"

    def holds(self, other: Location) -> bool:
        """Whether another place is this one or below it. Stricter than `KeyFromURI`, which compares text."""
        mine, its = PurePosixPath(self.key), PurePosixPath(other.key)
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and its.is_relative_to(mine)


class ObjectStore:
    """The folder.

    Args:
        folder: it is made when it is not there.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, location: Location) -> Path:
        """Where an object lies, or would lie."""
        return self.folder / location.scheme / location.bucket / location.key

    def download(self, location: Location, target: Path) -> int:
        """Copies the objects below a key: `DownloadBlob` in v2/objectstore/object_store.go.

        A key that no object has is no error there: nothing is copied. Nor are empty folders, which a store has none of.

        Args:
            location: the key, of one object or of many.
            target: file or folder to make.

        Returns:
            How many bytes were copied.
        """
        return sum(_copy(source, target / part) for source, part in _files(self.path(location)))

    def upload(self, source: Path, location: Location) -> int:
        """Copies a file or a folder: `UploadBlob` in v2/objectstore/object_store.go.

        Folders are walked, links to files are followed, empty folders and missing files leave nothing.

        Returns:
            How many bytes were copied.

        Raises:
            OSError: something in it is not a plain file, such as a link to a folder.
        """
        return sum(_copy(file, self.path(location) / part) for file, part in _files(source))

    def next_id(self) -> int:
        """A number that this store has not given before, as ML Metadata numbers artifacts and executions."""
        file = self.folder / "next_id"
        with FileLock(self.folder / "next_id.lock"):
            number = int(file.read_text(encoding="ascii") or 0) + 1 if file.exists() else 1
            file.write_text(str(number), encoding="ascii")
        return number


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """The files of a path with what to append to the path of the copy; a single file appends nothing."""
    if not path.is_dir():
        if path.exists():
            yield path, Path()
        return
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.is_symlink():
            yield from ((file, child.name / part) for file, part in _files(child))
        else:
            yield child, Path(child.name)


def _copy(source: Path, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target.stat().st_size
