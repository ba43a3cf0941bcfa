"""Durations and byte sizes as people write them, and as they are shown again: exactly, or to be read."""

from __future__ import annotations

import math
import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(|ms|s|m|h|d)\Z")
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)(|k|M|G|T|Ki|Mi|Gi|Ti)\Z")
_FACTORS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def parse_duration(value: str | float) -> float:
    """Seconds from ``"30s"``, ``"500ms"``, ``"1.5h"`` or a number of seconds (also as text, as in a query).

    Raises:
        ValueError: if it is none of these, negative or not finite.
    """
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration: write for example '30s', '500ms', '2m' or '1h'")
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds == math.inf:
            raise ValueError(f"{value[:40]!r}… is not a duration: it is longer than time is counted")
        return seconds
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is not a duration: it must be 0 seconds or more")
    return float(value)


def format_duration(seconds: float) -> str:
    """The shortest exact form: ``90.0`` → ``"90s"``, ``0.25`` → ``"250ms"``."""
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def duration_in_words(seconds: float) -> str:
    """By the largest unit that is exact: ``7200.0`` → ``"2h"``, ``5400.0`` → ``"90m"``."""
    for suffix in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[suffix] == 0:
            return f"{seconds / _SECONDS[suffix]:.0f}{suffix}"
    return format_duration(seconds)


def parse_bytes(value: str | int) -> int:
    """Bytes from ``"512Mi"``, ``"2G"`` or a number of bytes (Kubernetes' suffixes).

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(value, str):
        match = _BYTES.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a size: write for example '512Mi', '2Gi' or a number of bytes")
        size = float(match[1]) * _FACTORS[match[2]]
        if size >= 2**63:
            raise ValueError(f"{value[:40]!r} is not a size: it is more than any machine has")
        return int(size)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63 or value % 1:
        raise ValueError(f"{value!r} is not a size: it must be a whole number of bytes, 0 or more")
    return int(value)


def format_bytes(size: int) -> str:
    """The largest binary unit that is exact: ``536870912`` → ``"512Mi"``."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % _FACTORS[suffix] == 0:
            return f"{size // _FACTORS[suffix]}{suffix}"
    return str(size)


def rounded_bytes(size: int) -> str:
    """To three digits, for people: ``5048`` → ``"4.93 KiB"``."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}"
