"""Schedules as calendars, read by another program's parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from icalendar import Calendar, Event

from modelyard.domain.icalendar import calendar
from modelyard.domain.occurrences import Period, periods
from modelyard.domain.schedules import Schedule, ScheduleKind, Window

NOW = datetime(2026, 10, 24, 12, tzinfo=UTC)
OFFICE = Schedule(kind=ScheduleKind.RECURRING, timezone="Europe/Berlin", recurring=Window(time(8), time(20)))


def events(text: str) -> list[Event]:
    read = Calendar.from_ical(text)
    assert isinstance(read, Calendar)
    assert not read.errors
    assert read["VERSION"] == "2.0"
    assert read["PRODID"]
    found = [event for event in read.walk("VEVENT") if isinstance(event, Event)]
    assert not any(event.errors for event in found)
    return found


def test_a_schedules_windows_are_events_in_utc_whatever_the_clock_does() -> None:
    """On the 25th Berlin's clock is put back."""
    found = events(calendar("pat", "default.pat", periods(OFFICE, NOW, 2), NOW))
    assert [(e.decoded("DTSTART"), e.decoded("DTEND")) for e in found] == [
        (datetime(2026, 10, 24, 6, tzinfo=UTC), datetime(2026, 10, 24, 18, tzinfo=UTC)),
        (datetime(2026, 10, 25, 7, tzinfo=UTC), datetime(2026, 10, 25, 19, tzinfo=UTC)),
        (datetime(2026, 10, 26, 7, tzinfo=UTC), datetime(2026, 10, 26, 19, tzinfo=UTC)),
    ]
    assert {e.decoded("DTSTAMP") for e in found} == {NOW}
    assert str(found[0]["SUMMARY"]) == "pat runs"


def test_an_event_keeps_its_uid_when_the_calendar_is_fetched_again() -> None:
    first = events(calendar("pat", "default.pat", periods(OFFICE, NOW, 3), NOW))
    later = NOW + timedelta(days=1)
    longer = replace(OFFICE, recurring=Window(time(8), time(22)))
    again = events(calendar("pat", "default.pat", periods(longer, later, 2), later))
    assert [e["UID"] for e in again] == [e["UID"] for e in first][1:]
    assert len({e["UID"] for e in first}) == len(first)
    other = events(calendar("pat", "team.pat", periods(OFFICE, NOW, 3), NOW))
    assert not {e["UID"] for e in other} & {e["UID"] for e in first}


@given(st.text(max_size=200), st.text(st.sampled_from("aß漢🦊,;:\\\"'\n\t "), max_size=200))
@hypothesis_settings(max_examples=60)
def test_any_text_comes_back_in_lines_of_75_octets(name: str, note: str) -> None:
    text = calendar(name, "default.pat", [Period(NOW, NOW + timedelta(hours=2), note)], NOW)
    assert text.endswith("\r\n")
    for line in text[:-2].split("\r\n"):
        assert len(line.encode()) <= 75
        assert "\n" not in line
        assert "\r" not in line
    (event,) = events(text)
    # A text has no control characters but for line breaks.
    assert str(event.get("DESCRIPTION", "")) == "".join(c for c in note if c == "\n" or c >= " ")
