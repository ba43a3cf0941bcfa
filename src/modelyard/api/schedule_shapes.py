"""Between the API's shapes of schedules and the domain's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from modelyard.api import schemas
from modelyard.control.schedule_service import Coming
from modelyard.domain import schedules as domain
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.model import Model
from modelyard.domain.scheduling import Health, ModelSchedule
from modelyard.domain.zones import instant, seconds_of, zone

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}", re.ASCII)
# Stands for what could not be read, so that the rest is looked at too.
_SOME_WINDOW: Final = domain.Window(time(8), time(20))


# ------------------------------------------------------------------------------------------- in


def schedule_in(body: schemas.SaveSchedule) -> tuple[domain.Schedule, list[Problem]]:
    """The schedule, and all that could not be read."""
    found: list[Problem] = []
    holidays = body.holidays
    daily = {day: _window(f"daily.{day}", window, found) for day, window in body.daily.items()}
    schedule = domain.Schedule(
        kind=body.type,
        timezone=body.timezone,
        recurring=None if body.recurring is None else _window("recurring", body.recurring, found),
        daily=_split(daily, found) if body.split else daily,
        exceptions=tuple(_exception(f"exceptions[{i}]", one, found) for i, one in enumerate(body.exceptions)),
        holidays=None if holidays is None else domain.HolidayCalendar(holidays.country, holidays.subdivision),
        enabled=body.enabled,
    )
    return schedule, found


def _split(
    daily: Mapping[domain.Weekday, domain.Window], found: list[Problem]
) -> Mapping[domain.Weekday, domain.Window]:  # fmt: skip
    """With windows over midnight as the two days' entries that they are."""
    made: dict[domain.Weekday, domain.Window] = {}
    for day, window in daily.items():
        parts = {day: window}
        if window.minutes[1] <= window.minutes[0]:
            try:
                parts = domain.split_over_midnight(day, window.start, window.stop)
            except InvalidRequest as error:
                found += error.problems
        for part, half in parts.items():
            if part in made:
                message = f"{part} would have {made[part]} and {half}: a day has one window."
                found.append(Problem(f"daily.{day}", "conflict", message))
            made[part] = half
    return made


def _window(path: str, window: schemas.TimeWindow, found: list[Problem]) -> domain.Window:
    start = _time(f"{path}.start", window.start, domain.parse_start, found)
    stop = _time(f"{path}.stop", window.stop, domain.parse_stop, found)
    return _SOME_WINDOW if start is None or stop is None else domain.Window(start, stop)


def _time(path: str, text: str, parse: Callable[[str], time], found: list[Problem]) -> time | None:
    try:
        return parse(text)
    except ValueError as error:
        found.append(Problem(path, "invalid_value", f"{error}."))
        return None


def _exception(path: str, one: schemas.DayException, found: list[Problem]) -> domain.DayException:
    if (one.date is None) == (one.first is None and one.last is None):
        found.append(Problem(path, "required", "Write either date, or from and to."))
    first = _date(f"{path}.{'from' if one.date is None else 'date'}", one.date or one.first, found)
    last = first if one.date is not None else _date(f"{path}.to", one.last, found)
    return domain.DayException(
        first=first or last or date.min,
        last=last or first or date.min,
        window=None if one.window is None else _window(f"{path}.window", one.window, found),
        note=one.note,
    )


def _date(path: str, text: str | None, found: list[Problem]) -> date | None:
    if text is None:
        if not any(path.startswith(problem.path) for problem in found):
            found.append(Problem(path, "required", "Write both from and to, or a date."))
        return None
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        found.append(Problem(path, "invalid_value", f"{text[:16]!r} is no date: write YYYY-MM-DD."))
        return None


def until_in(text: str) -> Callable[[domain.Schedule, datetime], datetime]:
    """What an extension's ``until`` means. Raises InvalidRequest, some of it once it is asked."""
    if _CLOCK.fullmatch(text) is None:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = datetime.min
        if found.tzinfo is None or not 1970 <= found.year < 9999:
            message = f"{text[:32]!r} is neither HH:MM today nor an instant: write for example 22:00 or "
            raise InvalidRequest([Problem("until", "invalid_value", message + "2026-11-23T22:00:00+01:00.")])
        return lambda schedule, now: found.astimezone(UTC).replace(microsecond=0)

    try:
        at = domain.parse_stop(text)
    except ValueError as error:
        raise InvalidRequest([Problem("until", "invalid_value", f"{error}.")]) from error

    def today(schedule: domain.Schedule, now: datetime) -> datetime:
        of = zone(schedule.timezone)
        return instant(of.comes(of.ordinal_at(seconds_of(now)), domain.Window(at, at).minutes[1])[0])

    return today


# ------------------------------------------------------------------------------------------- out


def schedule_out(model: Model, kept: ModelSchedule, now: datetime) -> schemas.Schedule:
    schedule, holidays = kept.schedule, kept.schedule.holidays
    return schemas.Schedule(
        namespace=model.namespace,
        name=model.name,
        version=kept.edits,
        type=schedule.kind,
        timezone=schedule.timezone,
        recurring=None if schedule.recurring is None else _window_out(schedule.recurring),
        daily={day: _window_out(schedule.daily[day]) for day in domain.Weekday if day in schedule.daily},
        exceptions=[_exception_out(one) for one in schedule.exceptions],
        holidays=None if holidays is None else schemas.Holidays(
            country=holidays.country, subdivision=holidays.subdivision
        ),
        enabled=schedule.enabled,
        extension=_extension(kept, now),
        last_update=schemas.LastUpdate(at=kept.updated_at, by=kept.updated_by),
    )  # fmt: skip


def _window_out(window: domain.Window) -> schemas.TimeWindow:
    return schemas.TimeWindow(start=domain.format_start(window.start), stop=domain.format_stop(window.stop))


def _exception_out(one: domain.DayException) -> schemas.DayException:
    window = None if one.window is None else _window_out(one.window)
    if one.first == one.last:
        return schemas.DayException(date=one.first.isoformat(), window=window, note=one.note)
    return schemas.DayException(first=one.first.isoformat(), last=one.last.isoformat(), window=window, note=one.note)


def _extension(kept: ModelSchedule, now: datetime) -> schemas.Extension | None:
    extension = kept.extension
    if extension is None or extension.until <= now:
        return None
    return schemas.Extension(until=extension.until, made_at=extension.made_at, note=extension.note)


def status_of(
    model: Model, kept: ModelSchedule | None, coming: domain.Occurrence | None, now: datetime
) -> schemas.ScheduleStatus:  # fmt: skip
    if kept is None:
        return schemas.ScheduleStatus(
            namespace=model.namespace, name=model.name, status=Health.NONE, type=None, timezone=None, last_update=None,
            last_action=None, next_action=None, extension=None, failure=None, missed=0,
        )  # fmt: skip
    where, last, failure = ZoneInfo(kept.schedule.timezone), kept.last, kept.failure
    return schemas.ScheduleStatus(
        namespace=model.namespace,
        name=model.name,
        status=kept.health,
        type=kept.schedule.kind,
        timezone=kept.schedule.timezone,
        last_update=schemas.LastUpdate(at=kept.updated_at, by=kept.updated_by),
        last_action=None if last is None else schemas.LastAction(
            action=last.occurrence.action, at=last.occurrence.at, local=last.occurrence.at.astimezone(where),
            outcome=last.outcome, message=last.message, operation=last.operation, updated_at=last.at,
            missed=last.missed,
        ),
        next_action=None if coming is None else schemas.NextAction(
            action=coming.action, at=coming.at, local=coming.at.astimezone(where)
        ),
        extension=_extension(kept, now),
        failure=None if failure is None else schemas.ScheduleFailure(
            at=failure.at, code=failure.code, message=failure.message, retries=failure.retries,
            retry_at=failure.retry_at,
        ),
        missed=0 if last is None else last.missed,
    )  # fmt: skip


def preview_out(model: Model, kept: ModelSchedule, coming: Coming, days: int) -> schemas.SchedulePreview:
    return schemas.SchedulePreview(
        namespace=model.namespace, name=model.name, **dict(coming_out(kept.schedule, coming, days))
    )  # fmt: skip


def coming_out(schedule: domain.Schedule, coming: Coming, days: int) -> schemas.ComingActions:
    where = ZoneInfo(schedule.timezone)
    return schemas.ComingActions(
        timezone=schedule.timezone,
        enabled=schedule.enabled,
        days=days,
        actions=[
            schemas.ComingAction(
                action=one.action, at=one.at, local=one.at.astimezone(where), clock_change=one.change, note=one.note
            )
            for one in coming.actions
        ],
        days_off=[schemas.DayOff(date=day, note=note) for day, note in coming.days_off],
        clock_changes=[
            schemas.OffsetChange(date=day, before=before, after=after) for day, before, after in coming.clock_changes
        ],
    )
