"""A data set as it is to be ingested: which spans, and which pairs are in which split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.artifacts.problems import DataError, Problem
from components.segmentation_example_gen.pairs import Pair
from components.segmentation_example_gen.sources.source import SPAN, Source
from schema.features import EVAL_SPLIT, TRAIN_SPLIT
from trainer.common import files


@dataclass
class DataSet:
    """What is there to be read. Nothing of it has been decoded yet."""

    splits: dict[str, list[Pair]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with single entries of lists and folders."""
    spans: tuple[int, ...] = ()
    """Those that are read, the newest last; none for data without spans."""

    @property
    def overlap(self) -> list[str]:
        """The ids of pictures that are both learnt from and judged on."""
        train, evaluated = ({pair.id for pair in self.splits.get(name, ())} for name in (TRAIN_SPLIT, EVAL_SPLIT))
        return sorted(train & evaluated)


def read_dataset(source: Source) -> DataSet:
    """Lists a data set's splits, in the spans that are to be read.

    Raises:
        DataError: a folder, list or JSON file as a whole is not usable, or a split is empty.
    """
    roots = span_roots(source)
    dataset = DataSet(
        {name: [] for name in source.split_names()}, spans=tuple(span for span in roots if span is not None)
    )
    unusable: list[Problem] = []
    for span, root in roots.items():
        if not files.is_remote(root):
            try:
                found = Path(root).is_dir()
            except OSError as error:
                unusable.append(Problem(root, f"cannot be read: {error.strerror}"))
                continue
            if not found:
                unusable.append(Problem(root, "there is no such data folder"))
                continue
        for name in dataset.splits:
            try:
                listing = source.list_split(root, name)
            except DataError as error:
                unusable += error.problems
                continue
            # Spans number their pictures as they like; the same name in another span is another picture.
            prefix = "" if span is None else f"{span}/"
            dataset.splits[name] += [replace(pair, id=prefix + pair.id, span=span) for pair in listing.pairs]
            dataset.problems += [
                replace(problem, split=name, pair=problem.pair and prefix + problem.pair)
                for problem in listing.problems
            ]
    if unusable:
        # What concerns the whole folder is found once for each split.
        raise DataError(*dict.fromkeys(unusable))
    if source.val_ratio is not None:
        _split_by_hash(dataset, source.val_ratio, source.val_seed)
    dataset.problems = list(dict.fromkeys(dataset.problems))
    # Whatever is wrong with an entry, the pair that it would make is not used in spite of it.
    doubtful = {problem.pair for problem in dataset.problems if problem.pair}
    for name, pairs in dataset.splits.items():
        dataset.splits[name] = [pair for pair in pairs if pair.id not in doubtful]
    empty = [name for name, pairs in dataset.splits.items() if not pairs]
    if empty:
        reason = f"the split {empty[0]} has no pairs"
        if source.val_ratio is not None:
            reason += f"; val_ratio {source.val_ratio} divides {sum(map(len, dataset.splits.values()))}"
        raise DataError(*dataset.problems, Problem(str(source.place), reason))
    return dataset


_HANDED_ON: dict[tuple[str, str | None], DataSet] = {}


def hand_on(dataset: DataSet, source: Source, fingerprint: str | None = None) -> None:
    """Keeps a data set for its next reader in this process: from check to driver, from driver to executor.

    Args:
        source: what was listed.
        fingerprint: of the contents; None where it is not known yet.
    """
    _HANDED_ON.clear()
    _HANDED_ON[source.model_dump_json(), fingerprint] = dataset


def handed_on_dataset(source: Source, fingerprint: str | None = None) -> DataSet:
    """The data set that was handed on with this fingerprint; otherwise it is listed.

    Raises:
        DataError: see `read_dataset`.
    """
    return _HANDED_ON.pop((source.model_dump_json(), fingerprint), None) or read_dataset(source)


def span_roots(source: Source) -> dict[int | None, str]:
    """The folders to read, by span, the newest last; by None without spans.

    Raises:
        DataError: there are none, two of one number, or the folder that holds them cannot be read.
    """
    if source.root is not None:
        return {None: source.root}
    assert source.pattern is not None, "the configuration makes sure of one of them"
    before, after = source.pattern.split(SPAN)
    parent, _, prefix = before.rpartition("/")
    suffix, slash, rest = after.partition("/")
    form = re.compile(re.escape(prefix) + r"(\d{1,18})" + re.escape(suffix))
    parent = parent or "/"
    try:
        folders = sorted(files.list_folders(parent))
    except OSError as error:
        raise DataError(Problem(parent, f"cannot be read: {error.strerror or error}")) from error
    found: dict[int, str] = {}
    for folder in folders:
        if match := form.fullmatch(folder):
            span = int(match[1])
            if span in found:
                raise DataError(Problem(files.join(parent, folder), f"is span {span}, and so is {found[span]}"))
            found[span] = files.join(parent, folder, *([rest] if slash and rest else []))
    if not found:
        raise DataError(
            Problem(source.pattern, f"there is no span; wanted folders such as {prefix}1{suffix} in {parent}")
        )
    if source.span is not None and source.span not in found:
        known = ", ".join(map(str, sorted(found)))
        raise DataError(Problem(source.pattern, f"there is no span {source.span}; there are {known}"))
    newest = max(found) if source.span is None else source.span
    return {span: found[span] for span in [span for span in sorted(found) if span <= newest][-source.window :]}


def _split_by_hash(dataset: DataSet, val_ratio: float, seed: int) -> None:
    """Puts train and eval together and divides them anew, each picture by a hash of its id alone."""
    pool: dict[str, Pair] = {}
    for name in (TRAIN_SPLIT, EVAL_SPLIT):
        for pair in dataset.splits.get(name, ()):
            other = pool.setdefault(pair.id, pair)
            if other != pair:
                dataset.problems.append(
                    Problem(
                        pair.mask.file if pair.mask else pair.image,
                        f"{pair.id!r} has another picture or mask in the other split; nobody can tell which is meant",
                        split=name,
                        pair=pair.id,
                    )
                )
    dataset.splits |= {TRAIN_SPLIT: [], EVAL_SPLIT: []}

    def split_of(pair_id: str) -> str:
        # A picture's is the same in every span.
        picture_id = pair_id.partition("/")[2] if dataset.spans else pair_id
        return EVAL_SPLIT if _share(picture_id, seed) < val_ratio else TRAIN_SPLIT

    for pair in pool.values():
        dataset.splits[split_of(pair.id)].append(pair)
    # What is missing is missing where it would have come to.
    dataset.problems = [replace(each, split=split_of(each.pair)) if each.pair else each for each in dataset.problems]


def _share(picture_id: str, seed: int) -> float:
    """A number in [0, 1) that depends on the id and the seed alone."""
    digest = hashlib.blake2b(f"{seed} {picture_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def quarantine(dataset: DataSet, problems: list[Problem], allowed: float) -> None:
    """Decides whether the pairs with problems may be left out.

    Args:
        dataset: the pairs that were read.
        problems: of pairs, and of entries of lists that have come to no pair.
        allowed: the largest share of them.

    Raises:
        DataError: they may not, with all the problems.
    """
    read = {(split, pair.id) for split, pairs in dataset.splits.items() for pair in pairs}
    bad = {problem.entry for problem in problems}
    if len(bad) > allowed * len(read | bad):
        policy = f"{len(bad)} of {len(read | bad)} pairs are not sound, and a share of {allowed:g} is allowed"
        raise DataError(*problems, *([Problem("data.max_quarantined", policy)] if allowed else []))
    left = Counter(split for split, _ in read - bad)
    if empty := [split for split in dataset.splits if not left[split]]:
        raise DataError(*problems, Problem(f"data.splits.{empty[0]}", "no sound pair is left in it"))
