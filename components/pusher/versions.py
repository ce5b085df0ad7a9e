"""The versions in a folder of pushed models: folders whose names are numbers, of which servers take the highest.

A version never changes. Whatever is to be served is pushed as a new one with a higher number, an earlier model too.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from schema.section import Section
from trainer.common import files

SAVED_MODEL_FILE = "saved_model.pb"
"""A version that has it is complete: in an object store it is written last and removed first."""
LATEST_FILE = "latest.json"
BEGUN_FILE = ".push-begun"
"""In an object store, when the push of a version began, in seconds since 1970; written before all else."""
ABANDONED_SECONDS = 24 * 60 * 60
"""A push that began so long ago and is not complete is at work no longer."""
PUSHED_DESTINATION = "pushed_destination"
"""Property of a `PushedModel`: path or URI of the version. TFX's own Pusher calls it so."""
NUMBER = "^[0-9]{1,18}$"
"""TensorFlow Serving's version numbers have 64 bits."""


class Latest(Section):
    """Which version is the current one, as `latest.json` tells."""

    # A later release may have written more.
    model_config = ConfigDict(extra="ignore")

    version: Annotated[str, Field(pattern=NUMBER)]
    """For readers that cannot list a folder. It may be one behind, after a push that was killed at its very end."""
    pushed: str
    """When, in ISO 8601 and UTC."""
    rollbacks: dict[str, str] = {}
    """Of each version there that a rollback made: the version whose contents it has."""


class PushError(RuntimeError):
    """The folder cannot be pushed into, or not be rolled back; the message says why and what to do."""


def push(model: str, folder: str, keep: int | None = None) -> str:
    """Makes a model the newest version.

    Killed at any point, it leaves the folder as it was or with the new version, whole.

    Args:
        model: folder of this machine with a SavedModel.
        folder: path or URI of the versions.
        keep: how many of the newest versions stay; None keeps all.

    Returns:
        The new version's number.

    Raises:
        PushError: it cannot be done; the versions are as they were.
    """
    with _in_words(folder):
        if not files.is_remote(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        with files.exclusive(folder) as alone:
            _clear_abandoned(folder, alone)
            version = _add(model, folder)
            if keep is not None:
                remove_outdated(folder, keep)
            return version


def rollback(folder: str, to: str | None = None) -> tuple[str, str]:
    """Makes an earlier version the current one, by pushing its contents as a new version.

    Args:
        folder: path or URI of the versions.
        to: the earlier version; by default the newest one before that which the current version's contents are from.

    Returns:
        The new version's number, and the version whose contents it has.

    Raises:
        PushError: there is no such version, or it cannot be done; the versions are as they were.
    """
    with _in_words(folder):
        # Not even a lock is to be made where there are no models.
        _existing_versions(folder)
        with files.exclusive(folder):
            origins = rollbacks(folder)
            there = _existing_versions(folder)
            current = there[0]
            origin = origins.get(current, current)
            if to is None:
                to = next((version for version in there if int(version) < int(origin)), None)
            if to is None:
                only = "is the only version" if len(there) == 1 else "has the contents of the oldest version"
                raise PushError(f"{folder}: {current} {only}, so there is none before it to roll back to")
            if to not in there:
                raise PushError(f"{folder}: there is no version {to}; there are {', '.join(there)}")
            if origins.get(to, to) == origin:
                raise PushError(f"{folder}: the current version, {current}, has the contents of {to} already")
            with tempfile.TemporaryDirectory() as temporary:
                model = files.fetched(files.join(folder, to), temporary)
                return _add(model, folder, rollback_to=origins.get(to, to)), to


def current_version(folder: str) -> str | None:
    """The newest complete version, which is what servers take; None if there is none.

    Args:
        folder: path or URI of the versions.

    Raises:
        OSError: the place cannot be read.
    """
    return next(_complete_versions(folder), None)


def rollbacks(folder: str) -> dict[str, str]:
    """Of each version there that a rollback made: the version whose contents it has.

    Args:
        folder: path or URI of the versions.

    Raises:
        PushError: `latest.json` is damaged.
        OSError: it cannot be read.
    """
    latest = read_latest(folder)
    return latest.rollbacks if latest else {}


def read_latest(folder: str) -> Latest | None:
    """What `latest.json` says; None if it is not there.

    Raises:
        PushError: it is damaged.
        OSError: it cannot be read.
    """
    place = files.join(folder, LATEST_FILE)
    try:
        return Latest.model_validate_json(files.read_bytes(place))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        reasons = "; ".join(" ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
        raise PushError(
            f"{place}: does not say which version is the current one ({reasons}); remove it, and what rollbacks have "
            "made counts as pushed by itself"
        ) from error


def remove_outdated(folder: str, keep: int) -> None:
    """Removes all complete versions but the newest ones; warns if one cannot be removed.

    Args:
        folder: path or URI of the versions.
        keep: how many of the newest stay.
    """
    try:
        for version in list(_complete_versions(folder))[keep:]:
            files.withdraw_folder(files.join(folder, version), first=SAVED_MODEL_FILE)
    except OSError as error:
        logging.warning("%s: earlier versions cannot be removed, the next push tries again: %s", folder, error)


def _existing_versions(folder: str) -> list[str]:
    there = list(_complete_versions(folder))
    if not there:
        raise PushError(f"{folder}: there is no version of a pushed model; wanted is the folder they are pushed to")
    return there


def _write_latest(folder: str, latest: Latest) -> None:
    files.write_bytes(files.join(folder, LATEST_FILE), (latest.model_dump_json(indent=2) + "\n").encode())


def _add(model: str, folder: str, rollback_to: str | None = None) -> str:
    if not Path(model, SAVED_MODEL_FILE).is_file():
        raise PushError(f"{model}: is no SavedModel, there is no {SAVED_MODEL_FILE}")
    latest = read_latest(folder)
    there = _versions(folder)
    # Those of killed rollbacks too: a model of one's own must never pass for a copy.
    taken = [*there, latest.version, *latest.rollbacks] if latest else there
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    version = str(max([int(time.time()), *(int(number) + 1 for number in taken)]))
    origins = {made: origin for made, origin in (latest.rollbacks if latest else {}).items() if made in there}
    if rollback_to is not None:
        origins[version] = rollback_to
        before = latest or Latest(version=_existing_versions(folder)[0], pushed=now)
        # First: killed behind the version, that would pass for one of its own.
        _write_latest(folder, before.model_copy(update={"rollbacks": origins}))
    place = files.join(folder, version)
    if files.is_remote(folder):
        files.write_bytes(files.join(place, BEGUN_FILE), str(int(time.time())).encode())
    files.publish_folder(model, place, last=SAVED_MODEL_FILE)
    try:
        _write_latest(folder, Latest(version=version, pushed=now, rollbacks=origins))
    except OSError:
        with contextlib.suppress(OSError):
            files.withdraw_folder(place, first=SAVED_MODEL_FILE)
        raise
    return version


def _clear_abandoned(folder: str, alone: bool) -> None:
    """Removes what killed pushes have left."""
    if alone:
        files.clear_unfinished(folder)
    if not files.is_remote(folder):
        return
    for version in _versions(folder):
        place = files.join(folder, version)
        if not _is_complete(folder, version):
            # What is not of a push, or being removed by another one, is left alone.
            with contextlib.suppress(OSError, ValueError):
                began = int(files.read_bytes(files.join(place, BEGUN_FILE)))
                if began < time.time() - ABANDONED_SECONDS:
                    files.remove(place)


def _versions(folder: str) -> list[str]:
    """The numbers of all versions, complete or not, the highest first."""
    try:
        names = files.list_folders(folder)
    except FileNotFoundError:
        return []
    return sorted((name for name in names if re.fullmatch(NUMBER, name)), key=int, reverse=True)


def _complete_versions(folder: str) -> Iterator[str]:
    """The highest first."""
    return (version for version in _versions(folder) if _is_complete(folder, version))


def _is_complete(folder: str, version: str) -> bool:
    try:
        return SAVED_MODEL_FILE in files.list_files(files.join(folder, version))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _in_words(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PushError(
            f"{folder}: cannot be pushed into ({error.strerror or error}); the versions there are as they were. Make "
            "room or allow writing there, or give another folder (push.directory)"
        ) from error
