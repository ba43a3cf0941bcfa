"""Windows as a calendar that other programs subscribe to: iCalendar (RFC 5545)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from modelyard.domain.occurrences import Period

CONTENT_TYPE: Final = "text/calendar; charset=utf-8"
# Octets of a line before its CRLF (section 3.1).
_WIDTH: Final = 75


def calendar(name: str, identity: str, periods: Iterable[Period], stamp: datetime) -> str:
    """Of the times at which the model ``name`` runs. ``identity`` tells it from all others, for good: with when an
    event begins it makes the event's UID, so a calendar that is fetched again has the same ones. ``stamp`` is now."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Modelyard//Schedules//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"X-WR-CALNAME:{_text(name)}",
    ]
    for period in periods:
        lines += _event(name, identity, period, stamp)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _fold(line))


def _event(name: str, identity: str, period: Period, stamp: datetime) -> Iterator[str]:
    yield "BEGIN:VEVENT"
    yield f"UID:{_text(f'{_utc(period.start)}-{identity}@modelyard')}"
    yield f"DTSTAMP:{_utc(stamp)}"
    yield f"DTSTART:{_utc(period.start)}"
    yield f"DTEND:{_utc(period.stop)}"
    yield f"SUMMARY:{_text(f'{name} runs')}"
    if period.note:
        yield f"DESCRIPTION:{_text(period.note)}"
    # Nobody is busy because a model runs.
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """As TEXT (section 3.3.11). Control characters have no place in it, but for a new line."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    kept = "".join(c for c in escaped.replace("\r\n", "\n") if c == "\n" or (c >= " " and c != "\x7f"))
    return kept.replace("\n", "\\n")


def _fold(line: str) -> Iterator[str]:
    """Lines that follow the first begin with a blank, which counts; no character is cut in two."""
    if len(line.encode()) <= _WIDTH:
        yield line
        return
    kept, width = "", 0
    for character in line:
        octets = len(character.encode())
        if width + octets > _WIDTH:
            yield kept
            kept, width = " ", 1
        kept, width = kept + character, width + octets
    yield kept
