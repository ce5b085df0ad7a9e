"""Artifact types that TFX does not have, and what its blessings say."""

from __future__ import annotations

from tfx import types

BLESSED = "blessed"
"""TFX's custom property of a blessing: 1 if it is positive and 0 otherwise."""


def all_blessed(*blessings: types.Artifact | None) -> bool:
    """Whether every blessing is positive, of those that there are."""
    return all(blessing.get_int_custom_property(BLESSED) == 1 for blessing in blessings if blessing)


class ExportedModels(types.Artifact):
    """A model in other formats, a folder each, and `exports.json`, which says what became of which."""

    TYPE_NAME = "ExportedModels"


class RunReport(types.Artifact):
    """What a run came to: a page to look at, `index.html`."""

    TYPE_NAME = "RunReport"


class DataReportPage(types.Artifact):
    """What is in the data: a page to look at, `index.html`."""

    TYPE_NAME = "DataReport"


class DataProblems(types.Artifact):
    """What was found wrong with the data: `problems.json` and a page to look at, `index.html`."""

    TYPE_NAME = "DataProblems"
