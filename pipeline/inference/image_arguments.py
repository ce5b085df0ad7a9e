"""Which pictures a command's arguments mean, and under which names it writes what becomes of them."""

from __future__ import annotations

import glob
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from PIL import Image

from components.artifacts.predictions import MASK_FILES, PROBLEMS_FILE
from components.artifacts.problems import DataError, Problem, refusal
from components.segmentation_example_gen.sources.source import leads_outside, not_utf8, text_of
from components.segmentation_example_gen.sources.voc import IMAGE_FOLDER
from schema.labels import LABELS_FILE
from trainer.common import files

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Of the files that folders and patterns stand for, in small letters or capitals."""
MASK_ENDING = ".png"
"""Of what is written for a picture: its mask, a palette PNG."""
OVERLAY_COMMENT = b"overlay by deeplab predict"
"""In an overlay, a JPEG, by which it is told from others."""
LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class ChosenPicture:
    """A picture that an argument means."""

    file: str
    """Path or URI."""
    name: str
    """What is written for it: a path inside the output folder, without suffix."""


def choose(arguments: Sequence[str], image_folder: str | None = None) -> tuple[list[ChosenPicture], list[Problem]]:
    """Lists the pictures that arguments mean, in their order and each once. None of them is opened.

    A file keeps its name; what is in a folder, a list or below `image_folder` keeps its path inside it.

    Args:
        arguments: files, folders, patterns such as `photos/*.jpg`, and lists (.txt), one path or id per line. Paths in
            lists start from the list's folder.
        image_folder: where the ids of lists are looked for; a VOC devkit stands for its JPEGImages.

    Returns:
        The pictures, and the entries of lists that lead to none.

    Raises:
        DataError: an argument means no picture, a list cannot be read, or two pictures would get the same name.
    """
    unusable: list[Problem] = []
    problems: list[Problem] = []
    chosen: dict[str, ChosenPicture] = {}
    if image_folder is not None:
        if not any(map(_is_list, arguments)):
            unusable.append(Problem(image_folder, f"is for the ids of lists, and there is no list ({LIST_SUFFIX})"))
        devkit = files.join(image_folder, IMAGE_FOLDER)
        image_folder = devkit if not files.is_remote(devkit) and Path(devkit).is_dir() else image_folder
    for argument in arguments:
        try:
            for picture in _meant(argument, image_folder, problems):
                if not_utf8(picture.file):
                    problems.append(Problem(ascii(picture.file), "its name is not UTF-8; rename it"))
                else:
                    chosen.setdefault(_same(picture.file), picture)
        except DataError as error:
            unusable += error.problems
        except OSError as error:
            unusable.append(Problem(argument, f"cannot be read: {error.strerror or error}"))
    if problem := _of_one_name(chosen.values()):
        unusable.append(problem)
    if unusable:
        raise DataError(*unusable)
    return list(chosen.values()), problems


def check_output(chosen: Iterable[ChosenPicture], output: str, endings: Sequence[str]) -> None:
    """Makes sure that nothing that is written takes the place of a picture.

    Args:
        chosen: the pictures.
        output: the folder that is written to.
        endings: what is put behind the name of a picture to name what is written for it.

    Raises:
        DataError: something would take the place of one that is read, or of a file that is of no earlier time; or what
            is there cannot be read.
    """
    chosen = list(chosen)
    try:
        # A bucket is asked once, and not for every picture.
        there = set(files.list_files(output, recursive=True)) if files.is_remote(output) else None
    except FileNotFoundError:
        there = set()
    except OSError as error:
        raise refusal(output, f"cannot be read: {error.strerror or error}") from error
    read = {_same(picture.file) for picture in chosen}
    for picture in chosen:
        for ending in endings:
            name = picture.name + ending
            written = files.join(output, name)
            if _same(written) in read:
                raise refusal(written, f"would be written for {picture.file}, but is a picture itself; use another -o")
            if (Path(written).exists() if there is None else name in there) and _is_foreign(written):
                raise refusal(
                    written, f"would be replaced by what is predicted of {picture.file}, but is no such; use another -o"
                )


def choose_examples(pattern: str, output: str) -> list[str]:
    """Lists the files that a pattern means, and makes sure that none of them is written to.

    Args:
        pattern: of TFRecord files of this machine.
        output: folder of this machine.

    Returns:
        Their paths, in order.

    Raises:
        DataError: they are not of this machine, nothing matches, or what is there would be replaced.
    """
    for place in (pattern, output):
        if files.is_remote(place):
            raise refusal(place, "TFRecords are read from this machine and written to it; copy them, or use a folder")
    found = [file for file in _matching(pattern) if files.is_file(file)]
    if not found:
        raise refusal(pattern, "matches no file; wanted are TFRecords of tf.Examples, plain or gzipped (.gz)")
    for file in found:
        if Path(file).parent.resolve() == Path(output).resolve() and fnmatch(files.name(file), MASK_FILES):
            raise refusal(file, "would be replaced by the masks of its pictures; use another -o")
    for name in (files.name(LABELS_FILE), PROBLEMS_FILE):
        if Path(output, name).exists() and not any(Path(output).glob(MASK_FILES)):
            raise refusal(f"{output}/{name}", "is no earlier prediction's, and would be replaced; use another -o")
    return found


def _matching(pattern: str) -> list[str]:
    """The paths of this machine that match a pattern, in order; `**` stands for any number of folders."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def _meant(argument: str, image_folder: str | None, problems: list[Problem]) -> Iterator[ChosenPicture]:
    if _is_list(argument):
        yield from _in_list(argument, image_folder, problems)
    elif files.is_file(argument):
        yield ChosenPicture(argument, _stem(files.name(argument)))
    elif files.is_remote(argument) or Path(argument).is_dir():
        yield from _in_folder(argument)
    else:
        found = [match for match in _matching(argument) if _is_picture(match)]
        if not found:
            what = "matches no picture" if glob.has_magic(argument) else "there is no such file or folder"
            raise refusal(argument, f"{what}; wanted are pictures ({', '.join(SUFFIXES)}), folders or lists of them")
        yield from (ChosenPicture(match, _stem(files.name(match))) for match in found if files.is_file(match))


def _in_folder(folder: str) -> Iterator[ChosenPicture]:
    try:
        found = sorted(filter(_is_picture, files.list_files(folder, recursive=True)))
    except FileNotFoundError as error:
        raise refusal(folder, "there is no such file or folder") from error
    except OSError as error:
        raise refusal(folder, f"cannot be read: {error.strerror or error}") from error
    if not found:
        raise refusal(folder, f"holds no pictures; wanted are {', '.join(SUFFIXES)}")
    yield from (ChosenPicture(files.join(folder, path), _stem(path)) for path in found)


def _in_list(list_file: str, image_folder: str | None, problems: list[Problem]) -> Iterator[ChosenPicture]:
    entries = [line.strip() for line in text_of(list_file, "list").splitlines()]
    if not any(entries):
        raise refusal(list_file, "the list is empty; it must name one picture per line")
    folder = list_file.rpartition("/")[0] if files.is_remote(list_file) else str(Path(list_file).parent)
    for number, entry in enumerate(entries, start=1):
        if not entry:
            continue
        file, wanted = _found(entry, image_folder, folder)
        if file is None:
            problems.append(Problem(f"{list_file}, line {number}", f"{entry!r}: {wanted}"))
        else:
            inside = not files.is_remote(entry) and not leads_outside(entry)
            yield ChosenPicture(file, _stem(entry if inside else files.name(entry)))


def _found(entry: str, image_folder: str | None, list_folder: str) -> tuple[str | None, str]:
    """The file that an entry of a list means, and what to say if there is none."""
    if image_folder is None:
        file = entry if files.is_remote(entry) else files.join(list_folder, entry)
        hint = "" if _is_picture(entry) else "; if it is an id, say with --images where its picture is"
        return (file if files.is_file(file) else None), f"there is no {file}{hint}"
    if leads_outside(entry):
        return None, f"is not the name of a picture inside {image_folder}"
    for name in (entry, *(entry + suffix for suffix in SUFFIXES)):
        file = files.join(image_folder, name)
        if files.is_file(file):
            return file, ""
    return None, f"has no picture in {image_folder}"


def _of_one_name(chosen: Iterable[ChosenPicture]) -> Problem | None:
    seen: dict[str, str] = {}
    for picture in chosen:
        other = seen.setdefault(picture.name, picture.file)
        if other != picture.file:
            return Problem(
                picture.file,
                f"has the same name as {other}, and one result would overwrite the other; name the folder that holds "
                "both, whose folders are kept, or predict them into two",
            )
    return None


def _is_list(argument: str) -> bool:
    return argument.lower().endswith(LIST_SUFFIX)


def _is_picture(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _stem(path: str) -> str:
    """A path without the suffix of a picture; ids may have dots in them."""
    return str(PurePosixPath(path).with_suffix("")) if _is_picture(path) else str(PurePosixPath(path))


def _is_foreign(file: str) -> bool:
    """Whether a file is neither a PNG with a palette, as masks are, nor an overlay."""
    try:
        with warnings.catch_warnings():
            # Only the header is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(files.read_bytes(file)) if files.is_remote(file) else file) as image:
                is_mask = (image.format, image.mode) == ("PNG", "P")
                return not is_mask and image.info.get("comment") != OVERLAY_COMMENT
    except (OSError, Image.DecompressionBombError):
        return True


def _same(file: str) -> str:
    """What tells whether two paths are of one file. Links of files stay: each has a mask of its own name."""
    return file if files.is_remote(file) else str(Path(file).parent.resolve() / Path(file).name)
