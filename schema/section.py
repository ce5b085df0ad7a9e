"""What the sections of the configuration are made of. Imports nothing but pydantic, so that every room may use it."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, Strict

# Strict, so that "3", true and 2.5 are not taken for whole numbers.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Positive = Annotated[Integer, Field(gt=0)]


class Section(BaseModel):
    """A section of the configuration file. Unknown keys are errors: a typing mistake must not train a wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def each_once(values: tuple) -> tuple:
    """The values as they are, for pydantic's `AfterValidator`.

    Raises:
        ValueError: one stands twice.
    """
    if len(set(values)) < len(values):
        raise ValueError("each is wanted once")
    return values


def sections_in(annotation: Any) -> list[type[Section]]:
    """The kinds of sections that a field holds, directly, as one of several kinds, or as the items of a list."""
    if inspect.isclass(annotation) and not get_args(annotation):
        return [annotation] if issubclass(annotation, Section) else []
    return [section for argument in get_args(annotation) for section in sections_in(argument)]
