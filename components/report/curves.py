"""Learning curves as they are drawn: where lines, points and the numbers at the axes stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 400, 220
"""Of the drawing, in units of its own."""
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 26
"""Its margins."""
TICKS = 4
"""Numbers at an axis, about."""
MAX_POINTS = 300
"""Of longer trainings some are left out."""
MAX_DOTS = 40
"""Of more points only the line is drawn."""
FROM_ZERO = 0.5
"""An axis begins at zero if the least value is below this share of the largest."""


@dataclass(frozen=True)
class Point:
    """A place in the drawing, y pointing down, and what it stands for."""

    x: float
    y: float
    step: int
    value: float


@dataclass(frozen=True)
class Tick:
    """A number at an axis and where it stands."""

    place: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A value by step."""

    title: str
    points: tuple[Point, ...]
    steps: tuple[Tick, ...]
    values: tuple[Tick, ...]
    best: Point | None

    @property
    def line(self) -> str:
        """As SVG's `points`."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    @property
    def dots(self) -> tuple[Point, ...]:
        """Those of the points that are drawn by themselves."""
        return self.points if len(self.points) <= MAX_DOTS else ()

    @property
    def summary(self) -> str:
        """The curve in words."""
        first, last = self.points[0], self.points[-1]
        best = "" if self.best is None else f", at best {self.best.value:.4g} at step {self.best.step:,}"
        return f"{self.title}: {first.value:.4g} at step {first.step:,}, {last.value:.4g} at step {last.step:,}{best}"


def curve(title: str, values: Sequence[tuple[int, float]], *, best: int | None = None) -> Curve | None:
    """Places values in a drawing.

    Args:
        title: what they are.
        values: step and value, by step; those that are no numbers are left out.
        best: the step that is marked.

    Returns:
        None if there are no numbers.
    """
    finite = [(step, value) for step, value in values if math.isfinite(value)]
    if not finite:
        return None
    every = math.ceil(len(finite) / MAX_POINTS)
    kept = [pair for index, pair in enumerate(finite) if index % every == 0 or index == len(finite) - 1]
    kept += [pair for pair in finite if pair[0] == best and pair not in kept]
    largest, least = max(value for _, value in kept), min(value for _, value in kept)
    value_ticks = _ticks(0 if 0 <= least < FROM_ZERO * largest else least, largest)
    step_ticks = [tick for tick in _ticks(0, kept[-1][0]) if tick == int(tick)]
    low, high, last = min(value_ticks[0], least), max(value_ticks[-1], largest), max(step_ticks[-1], kept[-1][0])

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    points = tuple(Point(x(step), y(value), step, value) for step, value in sorted(kept))
    return Curve(
        title,
        points,
        tuple(Tick(x(tick), f"{tick:,.0f}") for tick in step_ticks if tick <= last),
        tuple(Tick(y(tick), f"{tick:.3g}") for tick in value_ticks),
        next((point for point in points if point.step == best), None),
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from the last before `low` to the first after `high`."""
    if high <= low:
        half = abs(low) / 2 or 0.5
        low, high = low - half, high + half
    raw = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(raw))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    return [index * distance for index in range(first, last + 1)]
