"""Which model the Evaluator compares the new one with."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.evaluator.executor import without_other_classes
from trainer.labels import LABELS_FILE, Labels


@pytest.fixture
def model(artifact):
    """Makes a Model artifact, which says what its classes are if they are given."""

    def make(name: str, classes: list[str] | None):
        made = artifact(standard_artifacts.Model, name)
        made.set_string_custom_property("tfx_version", "1.21.0")
        file = Path(made.uri, "Format-Serving", LABELS_FILE)
        file.parent.mkdir(parents=True)
        if classes:
            file.write_text(Labels.model_validate({"classes": classes}).model_dump_json())
        return made

    return make


@pytest.mark.parametrize("classes", [["background", "cat"], None])
def test_a_model_of_the_same_classes_or_of_unknown_ones_is_compared_with(model, classes, caplog):
    inputs = {"model": [model("now", ["background", "cat"])], "baseline_model": [model("before", classes)]}
    assert without_other_classes(inputs) == inputs
    assert not caplog.records


@pytest.mark.parametrize("classes", [["background", "cat", "dog"], ["cat", "background"], ["background", "dog"]])
def test_a_model_of_other_classes_is_not(model, classes, caplog):
    now = model("now", ["background", "cat"])
    with caplog.at_level(logging.WARNING):
        left = without_other_classes({"model": [now], "baseline_model": [model("before", classes)]})
    assert left == {"model": [now], "baseline_model": []}
    assert "the new one is compared with none" in caplog.text


@pytest.mark.parametrize("nothing", [{}, {"baseline_model": []}])
def test_the_first_model_is_compared_with_none(model, nothing):
    inputs = {"model": [model("now", ["background", "cat"])], **nothing}
    assert without_other_classes(inputs) == inputs
