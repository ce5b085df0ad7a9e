"""What can be changed from run to run."""

from __future__ import annotations

import json

import pytest

from kubeflow.runtime_parameters import apply, check, what_is_learnt_from
from pipeline.config.config import ConfigError


def source(runtime: dict, **data: object) -> dict:
    properties = {"data": json.dumps({"root": None, "pattern": None, "span": None, "window": 1} | data)}
    return json.loads(apply(properties, runtime)["data"])


def test_the_data_may_lie_elsewhere():
    assert source({"data": "s3://b/voc", "span": -1}, root="/here")["root"] == "s3://b/voc"
    moved = source({"data": "s3://b/week-{SPAN}", "span": -1}, root="/here")
    assert (moved["root"], moved["pattern"]) == (None, "s3://b/week-{SPAN}")


def test_a_folder_has_no_spans():
    moved = source({"data": "s3://b/voc", "span": -1}, pattern="/week-{SPAN}", window=3)
    assert (moved["pattern"], moved["span"], moved["window"]) == (None, None, 1)


def test_the_newest_span_is_the_newest_whatever_is_configured():
    assert source({"data": "", "span": -1}, pattern="/week-{SPAN}", span=3)["span"] is None
    assert source({"data": "", "span": 5}, pattern="/week-{SPAN}", span=3)["span"] == 5


def test_steps_take_the_place_of_epochs_and_of_a_warm_start_s_length():
    hps = {"steps": None, "epochs": 2.0, "lr": 0.1}
    warm_start = {"steps": 3, "epochs": None, "lr": 0.01}
    settings = {"hps": hps, "train": {"warm_start": warm_start}}
    properties = {"custom_config": json.dumps({"settings": settings})}
    changed = json.loads(apply(properties, {"steps": 7})["custom_config"])["settings"]
    assert changed["hps"] == {"steps": 7, "epochs": None, "lr": 0.1}
    assert changed["train"]["warm_start"] == {"steps": None, "epochs": None, "lr": 0.01}
    assert apply(properties, {"steps": 0}) == properties


def test_data_settings_and_steps_tell_trainings_apart():
    told = {what_is_learnt_from(*given) for given in (("a", "b", 1), ("c", "b", 1), ("a", "c", 1), ("a", "b", 2))}
    assert len(told) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "parameter steps: found -1; it must be positive"),
        ({"span": -2}, "parameter span: found -2; it must be a span"),
        ({"span": 3}, "parameter span: found 3, but the data are no pattern of spans"),
    ],
)
def test_what_only_a_step_would_find_out_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        check(values, has_spans=False)
    check({"span": 3, "steps": 0}, has_spans=True)
