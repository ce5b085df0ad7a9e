"""The page of a run says what came out."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_evaluation import exports_of

from components.artifacts.infra_validation import InfraValidationResult
from components.report.curves import MAX_POINTS, curve
from components.report.page import MATRIX_CLASSES, report_page
from schema.labels import Labels
from trainer.common.training_history import TrainingHistory


@pytest.fixture(scope="module")
def html(run):
    return report_page(run)


def text_of(html):
    """What a reader sees, on one line."""
    body = re.sub(r"<script>.*?</script>", "", html.partition("<body>")[2], flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_verdict_and_every_check_stand_first(html):
    text = text_of(html)
    assert "Not blessed IoU of cat 0.3120 is below the floor eval.min_iou.cat 0.5" in text
    assert re.search(r"✓ passed mean IoU 0\.\d{4} reaches the floor eval.min_mean_iou 0.4", text)
    assert "✗ failed IoU of cat" in text


def test_metrics_stand_beside_the_baselines(run, html):
    new, before = run.evaluation.mean_iou, run.evaluation.baseline_mean_iou
    low, high = run.evaluation.candidate.overall.intervals["mean_iou"]
    assert f"Mean IoU {new:.4f} {low:.4f} to {high:.4f} {before:.4f} {new - before:+.4f} " in text_of(html)


def test_each_class_has_a_bar_beside_the_baselines(run, html):
    section = html.partition('id="classes"')[2].partition("</section>")[0]
    assert section.count("<tr>") == 1 + len(run.labels.classes)
    cat = next(row for row in section.split("<tr>") if "</span>cat</th>" in row)
    for model, kind in ((run.evaluation.candidate, "bar"), (run.evaluation.baseline, "bar before")):
        assert f'class="{kind}" style="width: {100 * model.overall.iou("cat"):.1f}%"' in cat


def test_the_confusion_matrix_is_a_table_of_shares_of_the_labels(run, html):
    matrix = run.evaluation.candidate.confusion_matrix
    names = run.labels.names
    label, prediction = names.index("aeroplane"), names.index("car")
    share = matrix[label][prediction] / sum(matrix[label])
    assert f'title="aeroplane predicted as car: {share:.1%}, {matrix[label][prediction]:,} pixels"' in html
    assert html.count("<td title=") == len(names) ** 2
    assert f"{share:.1%} of aeroplane is predicted as car" in text_of(html)


def test_of_many_classes_the_matrix_shows_those_that_are_wrong_most(run):
    names = [f"class {index}" for index in range(134)]
    matrix = np.diag(np.full(134, 1000))
    matrix[100:, 0] = np.arange(34) + 1
    judged = run.evaluation.candidate.model_copy(
        update={"confusion_matrix": tuple(map(tuple, matrix.tolist())), "slices": ()}
    )
    many = dataclasses.replace(
        run,
        labels=Labels.model_validate({"classes": names}),
        evaluation=run.evaluation.model_copy(update={"class_names": tuple(names), "candidate": judged}),
        data={},
        pictures={},
    )
    html = report_page(many)
    assert html.count("<td title=") == MATRIX_CLASSES**2
    assert f"{134 - MATRIX_CLASSES} are left out" in html
    assert 'title="class 133 predicted as class 133: 96.7%' in html
    assert len(html) < 1e6


def test_slices_stand_in_an_order_that_one_expects(html):
    section = html.partition('id="slices"')[2].partition("</section>")[0]
    values = re.findall(r'<th scope="row">([^<]*)</th>', section)
    for expected in (["small", "medium", "large"], ["1", "2", "3 or more"], ["9", "10"], ["cat", "person"]):
        assert [value for value in values if value in expected][: len(expected)] == expected


def test_every_picture_has_its_layers_and_a_slider_with_a_name(run, html):
    assert html.count('<input type="range"') == sum(map(len, run.pictures.values())) == 12
    assert html.count('class="layer') == 3 * 12
    worst = run.pictures["worst"][0].scores
    assert f'aria-label="Line between left and right view of {worst.id}"' in html
    assert f"{worst.id} : mean IoU {worst.mean_iou:.4f}" in text_of(html)


def test_the_rest_of_the_run_is_told(html):
    text = text_of(html)
    for said in (
        "eval: image/height: Unexpectedly small value: 7.",
        "train 160 21 of 21 5.00%",
        "test 3 no masks",
        "Training started from imagenet",
        "StatisticsGen by an earlier run 12.2 900 MiB",
        "Trainer 184.5 not known",
        "lr: 0.006",
        "deeplab 0.1.0",
        "0.05 at step 30",
    ):
        assert said in text


def test_it_is_sound_without_a_baseline_or_thresholds_or_evaluations_in_training(run):
    evaluation = run.evaluation.model_copy(
        update={"baseline": None, "not_compared": "there was no good model before", "checks": ()}
    )
    bare = dataclasses.replace(
        run,
        evaluation=evaluation,
        history=TrainingHistory(),
        training={},
        pictures={},
        measurements=(),
        data={},
        run_id="",
    )
    text = text_of(report_page(bare))
    assert "no threshold is set" in text
    assert "Compared with no other model: there was no good model before." in text
    assert "last good model" not in text
    assert "Nothing was evaluated while the model was trained." in text
    assert "They are not known." in text


def test_the_other_formats_are_told_if_there_are_any(run, html):
    assert "Exports" not in text_of(html)
    exported = report_page(dataclasses.replace(run, exports=exports_of()))
    text = text_of(exported)
    assert "Slices Exports Training" in text
    assert "on 12 pictures the SavedModel's has a mean IoU of 0.7000" in text
    for row in (
        "litert_float16 0.6951 0.0049 2.6 litert_float16/model.tflite",
        "litert_int8 0.6000 0.1000 1.3 left out: its mean IoU is 0.6000",
        "onnx none none none left out: it could not be made: a|b &lt;c&gt;",
    ):
        assert row in text
    assert_tags_are_closed(exported)


def test_what_it_shows_is_text(run):
    html = report_page(dataclasses.replace(run, name="<script>alert(1)</script>", lineage={"a": "<b>x</b>"}))
    assert html.count("<script") == 1
    assert "<b>x" not in html


def test_it_is_one_small_file_that_fetches_nothing_and_runs_one_known_script(html):
    assert len(html) < 4e6
    assert "http" not in html.replace("http-equiv", "")
    assert not re.search(r"<link|<iframe|url\(|import ", html)
    assert re.search(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]+'", html
    )


def test_its_tags_are_closed(html):
    assert_tags_are_closed(html)


def assert_tags_are_closed(html):
    class Parser(HTMLParser):
        open_tags: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "input"):
                self.open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    parser = Parser()
    parser.feed(html)
    assert parser.open_tags == []


def test_a_curve_stays_in_its_drawing_and_marks_the_best():
    drawn = curve("x", [(10, 0.2), (20, float("nan")), (30, 0.6), (40, 0.5)], best=30)
    assert [(point.step, point.value) for point in drawn.points] == [(10, 0.2), (30, 0.6), (40, 0.5)]
    assert all(0 <= point.x <= 400 and 0 <= point.y <= 220 for point in drawn.points)
    assert drawn.best.value == 0.6
    assert [tick.text for tick in drawn.values] == ["0", "0.2", "0.4", "0.6"]
    assert [tick.text for tick in drawn.steps] == ["0", "10", "20", "30", "40"]


@pytest.mark.parametrize("values", [[(1, 0.0)], [(5, 3.0), (6, 3.0)], [(1, -2.0)], [(1, 1e-9), (2, 5e5)]])
def test_any_values_can_be_drawn(values):
    drawn = curve("x", values)
    assert len(drawn.points) == len(values)
    assert all(0 <= point.x <= 400 and 0 <= point.y <= 220 for point in drawn.points)


def test_long_trainings_are_thinned_out_but_for_their_best():
    drawn = curve("x", [(step, step / 9001) for step in range(1, 9000)], best=4444)
    assert len(drawn.points) <= MAX_POINTS + 2
    assert drawn.best.step == 4444
    assert drawn.dots == ()


def test_without_numbers_there_is_no_curve():
    assert curve("x", []) is None
    assert curve("x", [(1, float("nan"))]) is None


def test_a_model_that_cannot_be_served_is_not_called_good(run):
    refused = dataclasses.replace(run, validation=InfraValidationResult(blessed=False, reason="it hangs", pictures=8))
    text = text_of(report_page(refused))
    assert ", not servable" in text
    assert "✗ failed servable: it hangs" in text
    assert "reaches all that is asked" not in text
