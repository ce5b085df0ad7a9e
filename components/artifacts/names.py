"""Names of files and properties that several steps use."""

from __future__ import annotations

LAST_PUSHED = "last_pushed"
"""Custom property of PreviousRun's model: where it was pushed to; empty if there is none."""

PAGE_FILE = "index.html"
"""The page of a report, a data report or a list of problems, in the folder of its artifact."""

FINGERPRINT = "input_fingerprint"
"""Execution property, and custom property of the examples; both names are TFX's."""

SPANS = "spans"
"""Custom property of the examples: the numbers of all their spans, separated by commas."""
