"""The model card, from an evaluation made by hand."""

from __future__ import annotations

import json

import pytest
from made_evaluation import evaluation_of, exports_of

from components.artifacts.evaluation import Evaluation
from components.pusher.model_card import CardFacts, as_markdown, model_card
from schema.labels import Labels

LABELS = Labels.model_validate({"classes": ["background", "cat", "dog|wolf"]})


def card_of(evaluation: Evaluation) -> dict:
    facts = CardFacts(
        name="demo",
        deeplab="0.1",
        base_model="MobileNetV2",
        image_size=129,
        output_stride=16,
        data={"format": "voc"},
    )
    training = {
        "steps": 60,
        "settings": {"hps": {"lr": 0.01, "ema_momentum": None}, "train": {"init_from": ["/models/1"]}},
    }
    return model_card(facts, evaluation, LABELS, {"train": 12, "eval": 7}, training, exports_of())


@pytest.fixture
def card() -> dict:
    return card_of(evaluation_of(LABELS))


def test_it_is_json(card):
    told = json.loads(json.dumps(card))
    assert told["evaluation"]["pictures"] == 7
    assert told["evaluation"]["metrics"]["mean_iou"] == 0.7
    assert [item["iou"] for item in told["classes"]] == [0.9, 0.4, None]


def test_it_tells_what_training_was_and_not_what_was_asked_for(card):
    assert card["training"] == {"started_from": "/models/1", "steps": 60, "lr": 0.01}


def test_weak_classes_and_slices_and_unseen_classes_are_limits(card):
    limits = " ".join(card["limits"])
    assert "Classes with an IoU below 0.5: cat (0.40)." in limits
    assert "Slices with a mean IoU below 0.5: object_size small (0.25)." in limits
    assert "Classes that no judged picture had: dog|wolf." in limits


def test_a_class_that_no_picture_had_is_not_weak_for_a_wrong_pixel():
    evaluation = evaluation_of(LABELS)
    (background, cat, unseen) = evaluation.candidate.confusion_matrix
    metrics = {**evaluation.candidate.overall.metrics, "iou/dog|wolf": 0.0}
    overall = evaluation.candidate.overall.model_copy(update={"metrics": metrics})
    update = {"overall": overall, "confusion_matrix": ((*background[:2], 1), cat, unseen)}
    candidate = evaluation.candidate.model_copy(update=update)
    limits = " ".join(card_of(evaluation.model_copy(update={"candidate": candidate}))["limits"])
    assert "Classes with an IoU below 0.5: cat (0.40)." in limits
    assert "Classes that no judged picture had: dog|wolf." in limits


def test_the_page_has_the_numbers_and_says_how_to_call_it(card):
    page = as_markdown(card)
    assert page.startswith("# demo\n")
    assert "| mean IoU | 0.7000 | 0.6000 to 0.8000 |" in page
    assert "| 1 | cat | 0.4000 | none |" in page
    assert r"| 2 | dog\|wolf | none | none |" in page
    assert "| object size: small | 2 | 0.2500 |" in page
    assert "- pictures: 12 train, 7 eval" in page
    assert 'model.signatures["serving_default"]' in page
    assert "- 0.7!" in page


def test_it_tells_of_the_other_formats_and_why_some_were_left_out(card):
    told = json.loads(json.dumps(card))["exports"]
    assert [(each["format"], each["file"], each["mean_iou_loss"]) for each in told] == [
        ("litert_float16", "model.tflite", 0.0049),
        ("litert_int8", None, 0.1),
        ("onnx", None, None),
    ]
    page = as_markdown(card)
    assert "on 12 pictures the SavedModel's has a mean IoU of 0.7000" in page
    for line in (
        "| litert_float16 | 0.6951 | 0.0049 | 2.6 | assets.extra/exports/litert_float16/model.tflite |",
        "| litert_int8 | 0.6000 | 0.1000 | 1.3 | left out: its mean IoU is 0.6000 |",
        r"| onnx | none | none | none | left out: it could not be made: a\|b <c> |",
    ):
        assert line in page.splitlines()


def test_without_other_formats_nothing_is_said_of_them(card):
    assert "Other formats" not in as_markdown({**card, "exports": []})
