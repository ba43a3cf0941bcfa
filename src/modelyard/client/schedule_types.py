"""What the API says of schedules, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from modelyard.client.types import Resource


class Extension(msgspec.Struct, kw_only=True):
    """A one-off one: the stop that it puts off happens at ``until``."""

    until: datetime
    made_at: datetime | None = None
    note: str = ""


class LastUpdate(msgspec.Struct, kw_only=True):
    at: datetime
    by: str = ""


class Schedule(Resource):
    """When a model runs by itself. ``daily`` (by weekday), ``recurring``, ``exceptions`` and ``holidays`` are as in the
    request that saves it; ``version`` grows with each change."""

    namespace: str
    name: str
    version: int
    type: str
    timezone: str
    recurring: dict[str, str] | None = None
    daily: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    exceptions: list[dict[str, Any]] = msgspec.field(default_factory=list)
    holidays: dict[str, str] | None = None
    enabled: bool = True
    extension: Extension | None = None
    last_update: LastUpdate | None = None


class Action(msgspec.Struct, kw_only=True):
    """``action`` is ``start`` or ``stop``; ``local`` is the same moment by the clock of the schedule's zone."""

    action: str
    at: datetime
    local: datetime


class LastAction(Action, kw_only=True):
    """``outcome`` is ``pending``, ``succeeded``, ``failed``, ``overridden`` (by a newer command of somebody else) or
    ``skipped`` (the window of a policy keeps the model shut down, as ``message`` says).
    ``missed``: so many times, this one included, were due while nobody carried them out."""

    outcome: str
    message: str = ""
    operation: str | None = None
    updated_at: datetime | None = None
    missed: int = 0


class ScheduleFailure(msgspec.Struct, kw_only=True):
    at: datetime
    code: str
    message: str
    retries: int
    retry_at: datetime


class ScheduleStatus(Resource):
    """``status`` is ``active``, ``disabled``, ``failed``, or ``none`` where the model has no schedule."""

    namespace: str
    name: str
    status: str
    type: str | None = None
    timezone: str | None = None
    last_update: LastUpdate | None = None
    last_action: LastAction | None = None
    next_action: Action | None = None
    extension: Extension | None = None
    failure: ScheduleFailure | None = None
    missed: int = 0


class ComingAction(Action, kw_only=True):
    """``clock_change``: ``gap`` (the time is left out that day: it comes at the first instant after) or ``fold`` (it
    comes twice: the first time)."""

    clock_change: str | None = None
    note: str = ""


class DayOff(msgspec.Struct, kw_only=True):
    date: str
    note: str = ""


class ClockChange(msgspec.Struct, kw_only=True):
    """A day on which the zone's clock is set, with its offsets from UTC."""

    date: str
    before: str
    after: str


class SchedulePreview(Resource):
    """All that comes in so many ``days``, and the ``days_off`` on which nothing does."""

    namespace: str
    name: str
    timezone: str
    days: int
    enabled: bool = True
    actions: list[ComingAction] = msgspec.field(default_factory=list)
    days_off: list[DayOff] = msgspec.field(default_factory=list)
    clock_changes: list[ClockChange] = msgspec.field(default_factory=list)
