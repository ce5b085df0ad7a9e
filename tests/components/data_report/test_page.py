"""The data report says what is in the data."""

import re

import pytest

from components.artifacts.anomalies import find_anomalies
from components.artifacts.problems import Problem
from components.artifacts.statistics import split_numbers
from components.curated_schema.schema import schema_for
from components.data_report.page import data_page
from schema import features

CAT, DOG = 1, 2


@pytest.fixture(scope="module")
def train(statistics_of, masks):
    return statistics_of(masks([CAT, CAT, CAT, DOG]))


@pytest.fixture(scope="module")
def page(train, labels):
    def draw(others=None, previous=None, problems=()):
        statistics = {"train": train, **(others or {})}
        anomalies = find_anomalies(statistics, previous, schema_for(labels))
        return data_page(statistics, previous, anomalies, labels, list(problems))

    return draw


def test_numbers_of_a_split(train, labels):
    numbers = split_numbers(train, labels)
    assert numbers.pictures == 4
    assert [item.pictures for item in numbers.classes] == [4, 3, 1]
    assert [item.pixel_share for item in numbers.classes] == pytest.approx([24 / 36, 9 / 36, 3 / 36])
    assert numbers.void_share == pytest.approx(1 / 4)


def test_histograms_hold_all_pictures(train, labels):
    histograms = split_numbers(train, labels).histograms
    for buckets in histograms.values():
        assert sum(bucket.share for bucket in buckets) == pytest.approx(1, abs=0.01)
    (two,) = histograms[features.LABEL_CLASS_COUNT]
    assert (two.name, two.share) == ("2", 1)


def test_a_split_without_masks_has_no_classes(statistics_of, labels):
    assert split_numbers(statistics_of([None]), labels).classes == ()


def test_every_split_is_on_the_page(page, train, statistics_of):
    text = _text(page({"eval": train, "test": statistics_of([None])}))
    for said in ("4 pictures in train", "4 pictures in eval", "1 pictures in test", "no masks"):
        assert said in text
    assert "Nothing departs from the schema." in text


def test_the_run_before_stands_beside(page, statistics_of, masks):
    before = statistics_of(masks([DOG] * 7))
    text = _text(page(previous={"train": before}))
    assert "4 pictures in train before: 7" in text
    assert "dog 1 before: 7" in text


def test_anomalies_are_said(page, statistics_of):
    assert "eval: image/segmentation/class/names: Column is completely missing" in _text(
        page({"eval": statistics_of([None])})
    )


def test_pairs_left_out_are_listed_and_their_names_are_text(page):
    html = page(problems=[Problem("<script>.jpg", "is <b>broken</b>", split="train", pair="a")])
    assert "1 pair left out" in _text(html)
    assert "&lt;script&gt;.jpg" in html
    assert "<script" not in html
    assert "<b>" not in html


def _text(html):
    """What a reader sees, on one line."""
    body = re.sub(r"<[^>]*>", " ", html.partition("<body>")[2])
    return re.sub(r"\s+", " ", body)
