"""The configuration's section `bulk_inference`: whose masks each new model predicts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from trainer.section import Section, each_once


class BulkInference(Section):
    """Whose masks each new blessed model predicts. `docs/prediction.md` tells what is written, and how other TFRecords
    are predicted."""

    splits: Annotated[tuple[Literal["train", "eval", "test"], ...], AfterValidator(each_once)] = ()
    """Any of the run's own splits, such as `test`, whose pictures have no labels. Empty: none, and there is no such
    step."""
