"""Limits that a load's results must keep: ``p99=50ms``, ``errors=0.1%``."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from modelyard.loadtest.measuring import Measured

# The percentiles that are reported, by name.
PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_TIMES: Final = {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(\D*)")


class Gate(NamedTuple):
    """``limit``: nanoseconds for a percentile; a share of all requests (0 to 1) or, if ``is_count``, a number for
    errors."""

    text: str
    of: str
    limit: float
    is_count: bool = False


class Verdict(NamedTuple):
    """``measured`` as people read it."""

    gate: Gate
    measured: str
    kept: bool


def gate(text: str) -> Gate:
    """Raises ValueError, with what may be written, if this is none."""
    of, equals, limit = (part.strip() for part in text.partition("="))
    number = _NUMBER.fullmatch(limit)
    if equals and number:
        value, unit = float(number[1]), number[2]
        if of in PERCENTILES and unit in _TIMES:
            return Gate(text, of, value * _TIMES[unit])
        if of == "errors" and unit == "%" and value <= 100:
            return Gate(text, of, value / 100)
        if of == "errors" and not unit:
            return Gate(text, of, value, is_count=True)
    raise ValueError(f"{text!r} is no limit: write {', '.join(PERCENTILES)}=50ms, errors=0.1% or errors=5.")


def judge(gate: Gate, measured: Measured) -> Verdict:
    """A load that nothing has answered keeps no limit of a percentile."""
    if gate.of == "errors":
        if gate.is_count:
            return Verdict(gate, str(measured.failed), measured.failed <= gate.limit)
        return Verdict(gate, f"{measured.failed_share:.3%}", measured.failed_share <= gate.limit)
    if not measured.latencies.count:
        return Verdict(gate, "no answer", False)
    value = measured.latencies.quantile(PERCENTILES[gate.of])
    return Verdict(gate, milliseconds(value), value <= gate.limit)


def milliseconds(nanoseconds: float) -> str:
    """With three significant digits: "0.174 ms", "21.4 ms"."""
    value = nanoseconds / 1e6
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"
