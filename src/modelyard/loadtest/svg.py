"""A load's results as a picture: requests a second and latencies over time, and how the latencies are spread. Its
colours are read on light and on dark ground, which is left to whoever shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from modelyard.loadtest.gates import PERCENTILES, milliseconds
from modelyard.loadtest.measuring import Measured

_WIDTH: Final = 760
_LEFT, _RIGHT = 64, 16
_PANEL: Final = 150
_TOP: Final = 56
_BETWEEN: Final = 64
_GREY: Final = "#808080"
_BLUE, _ORANGE, _RED = "#3b82c4", "#d9822b", "#d64545"
_BARS: Final = 60


class _Panel(NamedTuple):
    """A field of the picture with its own scales. ``x`` and ``y`` give where on the picture a value is."""

    top: float
    x: Callable[[float], float]
    y: Callable[[float], float]


def picture(measured: Measured, title: str) -> str:
    """The SVG document."""
    height = _TOP + 3 * _PANEL + 2 * _BETWEEN + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_GREY}">',
        f"<title>{escape(title)}</title>",
        _text(_LEFT, 22, title, size=15),
        _text(_LEFT, 40, _summary(measured)),
        *_rates(measured, _TOP + 8),
        *_times(measured, _TOP + 8 + _PANEL + _BETWEEN),
        *_spread(measured, _TOP + 8 + 2 * (_PANEL + _BETWEEN)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _summary(measured: Measured) -> str:
    shown = (f"{name} {milliseconds(measured.latencies.quantile(share))}" for name, share in PERCENTILES.items())
    return f"{measured.rate:,.0f} requests/s, {', '.join(shown)}, {measured.failed:,} errors"


def _rates(measured: Measured, top: float) -> Iterator[str]:
    seconds = [each for each in measured.timeline if each.seconds]
    # The last second may be a part of one.
    good = [(each.index + each.seconds / 2, each.answered / each.seconds) for each in seconds]
    bad = [(each.index + each.seconds / 2, each.errors / each.seconds) for each in seconds]
    highest = max([value for _, value in (*good, *bad)], default=0.0)
    panel = _linear(top, measured.seconds, highest)
    yield from _frame(panel, "answers/s by seconds", _steps(measured.seconds), _steps(highest), "{:,g}".format)
    yield _line(panel, good, _BLUE)
    if measured.failed:
        yield _line(panel, bad, _RED)
        yield _text(_WIDTH - _RIGHT, top - 6, "errors/s", colour=_RED, anchor="end")


def _times(measured: Measured, top: float) -> Iterator[str]:
    seconds = [each for each in measured.timeline if each.seconds and each.answered]
    low = min([each.p50 for each in seconds], default=1e6) / 1.5e6
    high = max([each.longest for each in seconds], default=1e6) / 1e6 * 1.1
    x = _linear(top, measured.seconds, 0).x
    panel = _Panel(top, x, lambda value: top + _PANEL * (1 - math.log(value / low) / math.log(high / low)))
    marks = _decades(low, high)
    yield from _frame(panel, "latency in ms by seconds (logarithmic)", _steps(measured.seconds), marks, "{:,g}".format)
    lines = (("p50", _BLUE, "p50"), ("p99", _ORANGE, "p99"), ("max", _RED, "longest"))
    for place, (name, colour, field) in enumerate(lines):
        yield _line(panel, [(e.index + e.seconds / 2, getattr(e, field) / 1e6) for e in seconds], colour)
        yield _text(_WIDTH - _RIGHT - 40 * (len(lines) - 1 - place), top - 6, name, colour=colour, anchor="end")


def _spread(measured: Measured, top: float) -> Iterator[str]:
    edges = spread_edges(measured, _BARS)
    counts = measured.latencies.between(edges)
    low, high = math.log(edges[0]), math.log(edges[-1])
    across, most = _WIDTH - _LEFT - _RIGHT, max([*counts, 1])
    panel = _Panel(
        top,
        lambda value: _LEFT + across * (math.log(max(value * 1e6, edges[0])) - low) / (high - low),
        lambda value: top + _PANEL * (1 - value / most / 1.15),
    )
    marks = _decades(edges[0] / 1e6, edges[-1] / 1e6)
    yield from _frame(panel, "answers by latency in ms (logarithmic)", marks, _steps(most), "{:,g}".format)
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            x, y = panel.x(left / 1e6), panel.y(count)
            width = panel.x(right / 1e6) - x - 0.5
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{top + _PANEL - y:.1f}" fill="{_BLUE}"/>'
            )
    for name in ("p50", "p99"):
        x = panel.x(measured.latencies.quantile(PERCENTILES[name]) / 1e6)
        yield f'<path d="M{x:.1f} {top:.1f}V{top + _PANEL:.1f}" stroke="{_ORANGE}" stroke-dasharray="3 3"/>'
        yield _text(x + 3, top + 10, name, colour=_ORANGE)


def spread_edges(measured: Measured, bars: int) -> list[float]:
    """Edges in nanoseconds at even distances of their logarithm, around all latencies."""
    low = max(1.0, measured.latencies.lowest * 0.95)
    high = max(measured.latencies.highest * 1.05, low * 2)
    return [low * (high / low) ** (number / bars) for number in range(bars + 1)]


def _linear(top: float, widest: float, highest: float) -> _Panel:
    across = _WIDTH - _LEFT - _RIGHT
    ceiling = _steps(highest)[-1]
    return _Panel(
        top,
        lambda value: _LEFT + across * value / (widest or 1.0),
        lambda value: top + _PANEL * (1 - value / ceiling),
    )


def _steps(highest: float) -> list[float]:
    """Round numbers from 0 to the first that is not below ``highest``, at most six of them."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= highest)
    return [round(step * number, 9) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten between the two; only powers where these would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [mark for power in powers for factor in factors if low <= (mark := round(factor * 10.0**power, 9)) <= high]


def _frame(
    panel: _Panel, name: str, across: Sequence[float], up: Sequence[float], form: Callable[[float], str]
) -> Iterator[str]:
    bottom = panel.top + _PANEL
    yield _text(_LEFT, panel.top - 6, name)
    for value in up:
        y = panel.y(value)
        if y >= panel.top - 0.5:
            yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity="0.25"/>'
            yield _text(_LEFT - 6, y + 4, form(value), anchor="end")
    for value in across:
        x = panel.x(value)
        if x <= _WIDTH - _RIGHT + 0.5:
            yield f'<path d="M{x:.1f} {bottom:.1f}v4" stroke="{_GREY}"/>'
            yield _text(x, bottom + 17, form(value), anchor="middle")
    yield f'<path d="M{_LEFT} {panel.top:.1f}V{bottom:.1f}H{_WIDTH - _RIGHT}" fill="none" stroke="{_GREY}"/>'


def _line(panel: _Panel, points: Sequence[tuple[float, float]], colour: str) -> str:
    drawn = " ".join(f"{panel.x(x):.1f},{panel.y(y):.1f}" for x, y in points)
    if len(points) == 1:
        x, y = points[0]
        return f'<circle cx="{panel.x(x):.1f}" cy="{panel.y(y):.1f}" r="3" fill="{colour}"/>'
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, *, size: int = 0, colour: str = "", anchor: str = "") -> str:
    more = (f' font-size="{size}"' if size else "") + (f' fill="{colour}"' if colour else "")
    more += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'
