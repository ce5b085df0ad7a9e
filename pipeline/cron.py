"""Cron expressions as Kubeflow's backend reads them, so that a wrong one is refused here, with words.

The API server and the controller of schedules parse with github.com/robfig/cron 1.2 (`toModelJob` in
backend/src/apiserver/server/api_converter.go, `getNextScheduledTimeImp` in
backend/src/crd/controller/scheduledworkflow/util/cron_schedule.go of kubeflow/pipelines): six fields, seconds first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.config.config import ConfigError


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        named = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.low} to {self.high}{named}, *, ranges a-b, steps */n and lists a,b"


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("seconds", 0, 59),
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_YEARS = 5
"""How far robfig/cron looks ahead before it gives a schedule up."""

NO_TIME_ZONE = (
    "Kubeflow takes no time zone with a schedule: it reads the hours in the zone of its scheduledworkflow controller, "
    "which is UTC unless its administrator has set CRON_SCHEDULE_TIMEZONE; give the hours in that zone"
)


@dataclass(frozen=True)
class Cron:
    """When something runs."""

    text: str
    """As Kubeflow is told."""
    times: tuple[frozenset[int], ...]
    """The values of the six fields; empty for @every."""
    any_day: bool
    """Whether one of the two fields of days is *, so that both must fit; otherwise one of them is enough."""
    every: timedelta | None = None
    """For @every."""

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Reads an expression: six fields, or five, whose seconds become 0, or a descriptor such as @daily.

        Raises:
            ConfigError: naming the field, what was found and what is allowed.
        """
        if "TZ=" in text:
            raise ConfigError(f"cron {text!r}: {NO_TIME_ZONE}")
        if text.startswith("@every "):
            return cls(text, (), True, _duration(text))
        if text.startswith("@") and text not in _DESCRIPTORS:
            raise ConfigError(f"cron {text!r}: unknown; allowed: {', '.join(_DESCRIPTORS)}, and @every 1h30m")
        fields = _DESCRIPTORS.get(text, text).split()
        if len(fields) == 5:
            fields = ["0", *fields]
        if len(fields) != 6:
            raise ConfigError(
                f"cron {text!r}: found {len(fields)} fields, wanted 6: seconds, minutes, hours, day of the month, "
                "month, day of the week; such as '0 0 3 * * 1', Mondays at three"
            )
        times = tuple(_values(part, field, text) for part, field in zip(fields, _FIELDS, strict=True))
        any_day = any(part[0] in "*?" for day in (fields[3], fields[5]) for part in day.split(",") if part)
        cron = cls(text if text.startswith("@") else " ".join(fields), times, any_day)
        if cron.next_after(datetime(2024, 1, 1)) is None:
            raise ConfigError(f"cron {text!r}: there is no such day, it would never run")
        return cron

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after the moment; None if there is none within five years."""
        if self.every is not None:
            return moment + self.every
        seconds, minutes, hours, days, months, weekdays = self.times
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        for ahead in range(_YEARS * 366):
            day = (start + timedelta(days=ahead)).replace(hour=0, minute=0, second=0)
            # Cron's week begins with Sunday, Python's with Monday.
            of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
            if day.month not in months or not (of_month and of_week if self.any_day else of_month or of_week):
                continue
            times = (
                day.replace(hour=h, minute=m, second=s)
                for h in sorted(hours)
                for m in sorted(minutes)
                for s in sorted(seconds)
            )
            if found := next((time for time in times if time >= start), None):
                return found
        return None


def _values(text: str, field: _Field, cron: str) -> frozenset[int]:
    """The values of one field."""
    problem = ConfigError(f"cron {cron!r}, {field.name}: found {text!r}; allowed: {field.allowed}")
    values = set[int]()
    for part in filter(None, text.split(",")):
        matched = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if matched is None:
            raise problem
        first, last, step = matched.groups()
        try:
            low = field.low if first is None else _number(first, field)
            # One value with a step means from it on.
            high = _number(last, field) if last else field.high if first is None or step else low
        except ValueError:
            raise problem from None
        if not field.low <= low <= high <= field.high or (step and not int(step)):
            raise problem
        values.update(range(low, high + 1, int(step or 1)))
    if not values:
        raise problem
    return frozenset(values)


def _number(text: str, field: _Field) -> int:
    if text.upper() in field.names:
        return field.low + field.names.index(text.upper())
    return int(text)


def _duration(text: str) -> timedelta:
    matched = _DURATION.fullmatch(text.removeprefix("@every ").strip())
    hours, minutes, seconds = (int(part or 0) for part in matched.groups()) if matched else (0, 0, 0)
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not duration:
        raise ConfigError(f"cron {text!r}: wanted a duration of hours, minutes and seconds, such as @every 1h30m")
    return duration
