"""Downloads an archive that is known by its checksum: goes on where it broke off, retries, and tries several hosts."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30.0
"""For connecting, and for each wait for more bytes."""
WAITS_S = (1.0, 2.0, 5.0, 10.0)
"""Before each retry that follows on one that brought nothing new; then the next host is tried."""
RETRIED_CODES = (408, 429, 500, 502, 503, 504)
BROKEN_CONNECTION = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class FetchError(Exception):
    """Data cannot be fetched; the message says which, why, and what to do."""


class _HostError(Exception):
    """A host does not have the archive, or another one of that name."""


@dataclass(frozen=True)
class Archive:
    """A file to download."""

    name: str
    md5: str
    """Of the whole file, hexadecimal."""
    urls: tuple[str, ...]
    """Where it lies, in the order to try them."""


def download(archive: Archive, directory: Path, mirrors: Sequence[str], console: Console) -> Path:
    """Downloads an archive, unless it is there already. What a broken download has left in `<name>.part` is used.

    Args:
        archive: what to download.
        directory: where it is put.
        mirrors: addresses of folders that hold the archive; they are tried before its own.
        console: is told what happens; shows a progress bar if it is a terminal.

    Returns:
        The file, its checksum verified.

    Raises:
        FetchError: no host has given it, or the disk has no room for it.
        OSError: the folder cannot be written.
    """
    file, part = directory / archive.name, directory / f"{archive.name}.part"
    if file.exists():
        if (found := _md5(file)) == archive.md5:
            return file
        file.unlink()
        say(console, f"{file}: found MD5 {found}, wanted {archive.md5}; it was removed and is downloaded again")
    failures = []
    for url in addresses(archive, mirrors):
        say(console, f"downloading {url}")
        try:
            _download_verified(url, part, archive.md5, console)
        except _HostError as error:
            failures.append(f"{url}: {error}")
            say(console, failures[-1])
        else:
            return part.rename(file)
    raise FetchError(
        "\n".join([f"{archive.name} could not be downloaded:", *failures])
        + "\nRun the command again to go on, name a host with --mirror, or put the file into "
        + f"{directory} yourself"
    )


def addresses(archive: Archive, mirrors: Sequence[str]) -> list[str]:
    """Where to look for an archive: the mirrors first, each address once.

    Raises:
        FetchError: a mirror's address is not of HTTP.
    """
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise FetchError(f"--mirror {mirror}: it must begin with http:// or https://")
    return list(dict.fromkeys([*(f"{mirror.rstrip('/')}/{archive.name}" for mirror in mirrors), *archive.urls]))


def _download_verified(url: str, part: Path, md5: str, console: Console) -> None:
    while True:
        resumed = part.exists()
        _download_with_retries(url, part, console)
        if (found := _md5(part)) == md5:
            return
        part.unlink()
        problem = f"{part.stem}: found MD5 {found}, wanted {md5}; the file was removed"
        if not resumed:
            raise _HostError(problem)
        # What was there before may be at fault, of another host or another file.
        say(console, f"{problem} and is downloaded from its beginning")


def _download_with_retries(url: str, part: Path, console: Console) -> None:
    waits, best = iter(WAITS_S), 0
    while True:
        try:
            return _append(url, part, console)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                # The server has nothing beyond what is here; the checksum will tell whether that is all of it.
                return None
            problem = f"the server answered {error.code} {error.reason}"
            if error.code not in RETRIED_CODES:
                raise _HostError(problem) from error
        except BROKEN_CONNECTION as error:
            problem = str(error) or type(error).__name__
        size = part.stat().st_size if part.exists() else 0
        if size > best:
            waits, best = iter(WAITS_S), size
        if (wait := next(waits, None)) is None:
            raise _HostError(problem)
        say(console, f"{problem}; trying again in {wait:g} s")
        time.sleep(wait)


def _append(url: str, part: Path, console: Console) -> None:
    """One request for what is missing of a file; a server without ranges sends it from its beginning.

    Raises:
        ConnectionError: the connection broke off.
        OSError: another one of `BROKEN_CONNECTION`, or the file cannot be written.
    """
    size = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "deeplab"} | ({"Range": f"bytes={size}-"} if size else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        if response.status != 206:
            size = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
            raise _HostError(f"asked for bytes from {size} on, the server answered with others")
        length = response.headers.get("Content-Length")
        total = size + int(length) if length else None
        if total is not None:
            _require_space(part.parent, total - size)
        with _progress(console) as progress, part.open("ab" if size else "wb") as out:
            task = progress.add_task(escape(part.stem), completed=size, total=total)
            while chunk := response.read(CHUNK_BYTES):
                out.write(chunk)
                size += len(chunk)
                progress.update(task, completed=size)
    if total is not None and size < total:
        raise ConnectionError(f"the connection broke off after {size:,} of {total:,} bytes")


def _require_space(directory: Path, wanted: int) -> None:
    if (free := shutil.disk_usage(directory).free) < wanted:
        raise FetchError(
            f"{directory}: {free / 1e9:.1f} GB are free, the download wants {wanted / 1e9:.1f} GB; "
            "make room, or give another folder with --directory"
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _md5(file: Path) -> str:
    # Nothing is protected by it: it is the checksum that the archives are known by.
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def say(console: Console, sentence: str) -> None:
    """Prints a sentence; brackets in names are no markup."""
    console.print(escape(sentence))
