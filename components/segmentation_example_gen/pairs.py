"""Pairs of a picture and its mask: what they are, and whether they are sound."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from components.artifacts.problems import DataError, Problem, refusal
from components.segmentation_example_gen.images import ImageFile, read_picture
from components.segmentation_example_gen.masks import Mask
from schema.labels import Labels
from trainer.common.files import fingerprints


@dataclass(frozen=True)
class Pair:
    """A picture and where its labels come from."""

    id: str
    image: str
    """Path or URI."""
    mask: Mask | None
    """None: it has no labels, and is there to be predicted."""
    span: int | None = None


@dataclass(frozen=True)
class Sample:
    """A pair that has been read and found sound."""

    picture: ImageFile
    mask: np.ndarray | None
    """uint8[H, W], class indices, `IGNORE_LABEL` where ignored."""


@dataclass
class Listing:
    """What a split's lists and folders name."""

    pairs: list[Pair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with single entries, which are left out of the pairs."""


def read_pair(pair: Pair, labels: Labels) -> Sample:
    """Decodes a pair and checks that it can be trained on.

    Args:
        pair: what to read.
        labels: what the mask may hold.

    Raises:
        DataError: with everything that is wrong with the picture and with the mask.
    """
    problems: list[Problem] = []
    picture = mask = None
    try:
        picture = read_picture(pair.image)
    except DataError as error:
        problems += error.problems
    if pair.mask is not None:
        try:
            mask = pair.mask.decode(labels)
        except DataError as error:
            problems += error.problems
        except Exception as error:
            # What hostile files can make of the libraries that read them ends no run without the file's name.
            problems.append(Problem(pair.mask.file, f"cannot be decoded: {type(error).__name__}: {error}"))
    if picture is not None and mask is not None and mask.shape != (picture.height, picture.width):
        turned = mask.shape == (picture.width, picture.height)
        hint = "; is one of them turned? EXIF's orientation of the picture is followed" if turned else ""
        assert pair.mask is not None
        what = (
            f"{mask.shape[1]} x {mask.shape[0]} pixels, but its picture {pair.image} has "
            f"{picture.width} x {picture.height}{hint}"
        )
        problems.append(Problem(pair.mask.file, what))
    if problems or picture is None:
        raise DataError(*problems)
    return Sample(picture, mask)


def check_pair(pair: Pair, split: str, labels: Labels) -> tuple[list[Problem], frozenset[int]]:
    """What is wrong with a pair, and the class indices in its mask; see `read_pair`."""
    try:
        sample = read_pair(pair, labels)
    except DataError as error:
        return problems_of(pair, split, error), frozenset()
    return [], frozenset() if sample.mask is None else frozenset(np.unique(sample.mask).tolist())


def problems_of(pair: Pair, split: str, error: DataError) -> list[Problem]:
    """The problems of an error, with the pair that they are of."""
    mask = pair.mask.file if pair.mask is not None else ""
    return [replace(problem, split=split, pair=pair.id, image=pair.image, mask=mask) for problem in error.problems]


def fingerprint(splits: Mapping[str, Iterable[Pair]], problems: Iterable[Problem] = ()) -> str:
    """A hash of everything that ingestion reads: which pairs are in which split, and every picture's and mask's bytes.

    Args:
        splits: the pairs.
        problems: of the lists; when they are mended, the data are other data.

    Raises:
        DataError: an object store cannot be asked.
    """
    splits = {split: list(pairs) for split, pairs in splits.items()}
    files = [file for pairs in splits.values() for pair in pairs for file in _files(pair)]
    try:
        contents = fingerprints(files)
    except OSError as error:
        raise refusal(error.filename or "the data", f"cannot be read: {error.strerror or error}") from error
    digest = hashlib.blake2b("\n".join(map(str, problems)).encode(), digest_size=16)
    for split, pairs in sorted(splits.items()):
        digest.update(f"split {split}\n".encode())
        for pair in pairs:
            digest.update(f"pair {pair.id}\n{pair.mask.content if pair.mask else ''}\n".encode())
            digest.update(" ".join(contents[file] for file in _files(pair)).encode())
    return digest.hexdigest()


def _files(pair: Pair) -> tuple[str, ...]:
    return (pair.image, *(pair.mask.files if pair.mask else ()))
