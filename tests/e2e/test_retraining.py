"""Scheduled retraining, week by week, by a clock that is fed in: on this machine and by Kubeflow's rules."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.cron import Cron
from pipeline.datasets.synthetic_voc import write_devkit
from pipeline.runs.results import RunResult
from pipeline.runs.retraining import retrain

pytestmark = pytest.mark.slow

CONFIG = """
name: weekly
base_model: MobileNetV2
nn_arch: {image_size: 65, mv2_depth_multiplier: 0.35, reduction_size: 8, concat_channels: 8}
hps: {steps: 60, batch_size: 4}
train: {init_from: [latest_blessed, none], warm_start: {steps: 40, lr: 0.005}}
kubeflow:
  image: deeplab
  root: minio://mlpipeline/deeplab
  all_steps: {retries: 0}
"""
FIRST_MONDAY = datetime.datetime(2026, 1, 5, 3)


@dataclass
class Weeks:
    """A clock that jumps from one due time to the next, until the story is told."""

    happenings: list[Callable[[], None]]
    """What happens in the world before each of the runs."""
    time: datetime.datetime = FIRST_MONDAY - datetime.timedelta(days=3)
    due: list[datetime.datetime] = field(default_factory=list)

    def now(self) -> datetime.datetime:
        return self.time

    def wait_until(self, moment: datetime.datetime) -> None:
        if len(self.due) == len(self.happenings):
            raise StoryEnds
        self.happenings[len(self.due)]()
        self.due.append(moment)
        self.time = moment


class StoryEnds(Exception):  # noqa: N818  it is none
    """There are no more weeks."""


@dataclass
class Week:
    """What came of a week's run."""

    worked: list[str] = field(default_factory=list)
    result: RunResult | None = None
    error: str = ""

    def step_started(self, step: str) -> None:
        pass

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        if not cached:
            self.worked.append(step)


@dataclass
class Story:
    """One configuration, run every week."""

    folder: Path
    run: Callable[[Config, Week], RunResult | None]
    weeks: list[Week] = field(default_factory=list)

    def arrives(self, span: int, *, seed: int, train: int = 12) -> None:
        """A new span of data."""
        root = write_devkit(self.folder / "new", train=train, val=4, seed=seed)
        shutil.move(root, self.folder / f"week-{span}")
        shutil.rmtree(self.folder / "new")

    def run_once(self, *overrides: str) -> None:
        file = self.folder / "weekly.yaml"
        file.write_text(CONFIG)
        config = load_config(
            file, overrides=overrides, data=str(self.folder / "week-{SPAN}"), output=self.folder / "output"
        )
        week = Week()
        self.weeks.append(week)
        try:
            week.result = self.run(config, week)
        except RuntimeError as error:
            week.error = str(error)


def on_this_machine(config: Config, week: Week) -> RunResult | None:
    from pipeline.runs import local

    return local.run(config, week)


def as_kubeflow_would(config: Config, week: Week) -> RunResult | None:
    from kubeflow import local_run

    return local_run.run(config, week)


@pytest.fixture(scope="module", params=[on_this_machine, as_kubeflow_would], ids=["beam", "kfp-local"])
def story(request, tmp_path_factory) -> Story:
    """Five weeks: data, none, new data, new data that the model gets worse by, damaged data."""
    story = Story(tmp_path_factory.mktemp("story"), request.param)

    def damaged() -> None:
        story.arrives(4, seed=4)
        next((story.folder / "week-4" / "JPEGImages").glob("*.jpg")).write_bytes(b"no picture")

    clock = Weeks(
        [
            lambda: story.arrives(1, seed=1),
            lambda: None,
            lambda: story.arrives(2, seed=2),
            lambda: story.arrives(3, seed=3),
            damaged,
        ]
    )
    # The fourth week asks for more than a model can get better by.
    overrides: list[tuple[str, ...]] = [(), (), (), ("eval.min_mean_iou_change=0.9",), ()]
    with pytest.raises(StoryEnds):
        retrain(Cron.parse("0 3 * * 1"), lambda: story.run_once(*overrides[len(story.weeks)]), clock, lambda due: None)
    assert clock.due == [FIRST_MONDAY + datetime.timedelta(weeks=week) for week in range(5)]
    return story


def test_the_first_week_trains_and_pushes(story):
    week = story.weeks[0]
    assert week.error == ""
    assert week.result.spans == "1"
    assert week.result.evaluation.baseline_mean_iou is None
    assert week.result.started_from is None
    assert week.result.evaluation.blessed
    assert week.result.pushed_to is not None


def test_without_new_data_nothing_is_done(story):
    week = story.weeks[1]
    assert week.error == ""
    assert not {"StatisticsGen", "Transform", "Trainer", "Evaluator", "Pusher"} & set(week.worked)


def test_a_new_span_starts_from_the_last_good_model_and_is_compared_with_it(story):
    first, week = story.weeks[0].result, story.weeks[2].result
    assert story.weeks[2].error == ""
    assert week.spans == "2"
    assert weights_in(story, week.started_from) == weights_in(story, first.pushed_to)
    assert week.evaluation.baseline_mean_iou is not None
    assert week.evaluation.blessed == (week.evaluation.mean_iou >= week.evaluation.baseline_mean_iou)
    assert (week.pushed_to is not None) == week.evaluation.blessed


def weights_in(story: Story, model: str) -> bytes:
    """The weights of a pushed model, by path or URI, or of the Trainer's output that one was pushed from."""
    store = story.folder / "output" / "object-store"
    folder = store / model.replace("://", "/") if "://" in model else Path(model)
    (file,) = folder.rglob("variables/variables.data-00000-of-00001")
    return file.read_bytes()


def test_what_is_not_better_by_enough_is_not_pushed_and_the_report_says_so(story):
    week = story.weeks[3].result
    assert not week.evaluation.blessed
    assert week.pushed_to is None
    assert any("eval.min_mean_iou_change asks for at least +0.9" in reason for reason in week.evaluation.reasons)


def test_damaged_data_stop_the_run_before_training(story):
    week = story.weeks[4]
    assert "not a picture" in week.error or "JPEG" in week.error, week.error
    assert "Trainer" not in week.worked
    assert "SegmentationExampleGen" not in week.worked


def test_each_run_that_finished_left_a_record_in_the_store(story):
    if story.run is on_this_machine:
        return
    records = sorted(
        (story.folder / "output").glob("object-store/minio/mlpipeline/deeplab/weekly/runs/*/last_run.json")
    )
    told = [json.loads(record.read_text()) for record in records]
    assert [record["spans"] for record in told] == ["1", "2", "3"]
    assert told[0]["started_from"] is None
    assert told[1]["started_from"] == told[0]["pushed_to"]
    assert told[2]["reasons"] == list(story.weeks[3].result.evaluation.reasons)
