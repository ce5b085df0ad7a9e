"""Scheduled retraining on one machine: a run at each time that a cron expression names.

What a run does is decided by the run itself: without new data nothing, with a new span all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Protocol

from pipeline.cron import Cron

LONGEST_SLEEP = 60.0
"""Seconds. A machine that was suspended, or whose clock was set, notices after that time at the latest."""


class Clock(Protocol):
    """Tells the time and lets it pass."""

    def now(self) -> datetime:
        """The time in the zone that the schedule is meant in."""

    def wait_until(self, moment: datetime) -> None:
        """Returns when the moment has come."""


class SystemClock:
    """The machine's clock.

    Args:
        zone: of the schedule; None for the machine's own.
    """

    def __init__(self, zone: tzinfo | None = None):
        self._zone = zone

    def now(self) -> datetime:
        """The time in the zone, without naming it: cron's hours are those on the wall."""
        return datetime.now(self._zone).replace(tzinfo=None)

    def wait_until(self, moment: datetime) -> None:
        """Sleeps."""
        while (seconds := (moment - self.now()).total_seconds()) > 0:
            time.sleep(min(seconds, LONGEST_SLEEP))


def retrain(cron: Cron, run: Callable[[], None], clock: Clock, announce: Callable[[datetime], None]) -> None:
    """Runs at each due time, one run at a time; times that pass during a run are not made up for.

    Args:
        cron: when.
        run: what; it reports its own failures, after which the next time is waited for.
        clock: tells the time.
        announce: is told the next due time.
    """
    while due := cron.next_after(clock.now()):
        announce(due)
        clock.wait_until(due)
        run()
