"""The process that stays and runs the pipeline by the clock. The clock is fed in."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipeline.cron import Cron
from pipeline.runs.retraining import SystemClock, retrain

FRIDAY = datetime(2026, 1, 2, 12)


class Ends(Exception):  # noqa: N818  it is none
    """The test has seen enough."""


class Clock:
    """Jumps to each due time; a run takes as long as it is told."""

    def __init__(self, runs: int):
        self.time = FRIDAY
        self.left = runs

    def now(self) -> datetime:
        return self.time

    def wait_until(self, moment: datetime) -> None:
        if not self.left:
            raise Ends
        self.left -= 1
        self.time = moment


def story(cron: str, runs: int, lasts: timedelta = timedelta(minutes=5)) -> list[datetime]:
    """When the runs begin."""
    clock, begun, announced = Clock(runs), [], []

    def run() -> None:
        begun.append(clock.time)
        clock.time += lasts

    with pytest.raises(Ends):
        retrain(Cron.parse(cron), run, clock, announced.append)
    assert announced[: len(begun)] == begun
    return begun


def test_mondays_at_three():
    assert story("0 3 * * 1", 3) == [datetime(2026, 1, 5, 3), datetime(2026, 1, 12, 3), datetime(2026, 1, 19, 3)]


def test_times_that_pass_during_a_run_are_not_made_up_for():
    begun = story("0 0 * * * *", 3, lasts=timedelta(hours=2, minutes=30))
    assert begun == [datetime(2026, 1, 2, 13), datetime(2026, 1, 2, 16), datetime(2026, 1, 2, 19)]


def test_the_machines_clock_waits_and_knows_zones():
    clock = SystemClock()
    due = clock.now() + timedelta(seconds=0.2)
    clock.wait_until(due)
    assert due <= clock.now() < due + timedelta(seconds=5)
    hours = SystemClock(ZoneInfo("Asia/Tokyo")).now() - SystemClock(ZoneInfo("UTC")).now()
    assert round(hours.total_seconds() / 3600) == 9
