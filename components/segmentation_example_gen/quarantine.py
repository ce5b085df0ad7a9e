"""Which pairs may be left out."""

from __future__ import annotations

from collections import Counter

from components.segmentation_example_gen.dataset import DataSet
from components.segmentation_example_gen.problems import DataError, Problem


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
