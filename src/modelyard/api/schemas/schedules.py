"""When a model runs by itself: what is saved, what came of it, what comes."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from modelyard.api.schemas.base import Flag, In, Request
from modelyard.domain.schedules import ClockChange, ScheduledAction, ScheduleKind, Weekday
from modelyard.domain.scheduling import Health, Outcome
from modelyard.domain.states import State

_ZONE = "A name of the IANA database."
_RECURRING = "Of type `recurring`: the window of every day."
_DAILY = "Of type `daily`: the windows by weekday; other days leave the model alone."
_EXCEPTIONS = "In order of date, without overlaps; they go before `holidays`."


class TimeWindow(In):
    """From `start` to `stop` on the same day, by the clock on the wall; at least two hours."""

    start: str = Field(description="HH:MM.", examples=["08:00"])
    stop: str = Field(description="HH:MM; 24:00 is the end of the day.", examples=["20:00"])


class DayException(In):
    """A day (`date`), or the days `from` one `to` another, both included, on which `window` goes instead of their own;
    without a window nothing happens on them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    date: str | None = Field(None, description="YYYY-MM-DD.", examples=["2026-12-24"])
    first: str | None = Field(None, alias="from", description="YYYY-MM-DD.")
    last: str | None = Field(None, alias="to", description="YYYY-MM-DD.")
    window: TimeWindow | None = None
    note: str = Field("", description="Why; shown with what comes.")


class Holidays(In):
    """Public holidays, on which nothing happens."""

    country: str = Field(description="ISO 3166-1, two letters.", examples=["DE"])
    subdivision: str = Field("", description="What follows the hyphen in ISO 3166-2.", examples=["BE"])


class SaveSchedule(Request):
    type: ScheduleKind
    timezone: str = Field(description=_ZONE, examples=["Europe/Berlin"])
    recurring: TimeWindow | None = Field(None, description=_RECURRING)
    daily: dict[Weekday, TimeWindow] = Field(default_factory=dict, description=_DAILY)
    exceptions: list[DayException] = Field(default_factory=list, description=_EXCEPTIONS)
    holidays: Holidays | None = None
    enabled: Flag = Field(True, description="False: it is kept and does nothing.")
    split: Flag = Field(False, description="Make a window of `daily` that is over midnight two days' entries.")
    reason: str = Field("", max_length=1024, description="Why; recorded with the event.")


class ExtendSchedule(Request):
    until: str = Field(
        description="HH:MM today in the schedule's zone, or an instant with its offset.",
        examples=["22:00", "2026-11-23T22:00:00+01:00"],
    )
    reason: str = Field("", max_length=200, description="Why; shown with the stop that it leads to.")


class Extension(BaseModel):
    until: datetime
    made_at: datetime
    note: str


class LastUpdate(BaseModel):
    at: datetime
    by: str


class Schedule(BaseModel):
    namespace: str
    name: str
    version: int = Field(description="The ETag.")
    type: ScheduleKind
    timezone: str
    recurring: TimeWindow | None
    daily: dict[Weekday, TimeWindow]
    exceptions: list[DayException]
    holidays: Holidays | None
    enabled: bool
    extension: Extension | None = Field(description="A one-off one that has not ended.")
    last_update: LastUpdate


class NextAction(BaseModel):
    action: ScheduledAction
    at: datetime = Field(description="UTC.")
    local: datetime = Field(description="The same by the clock of the schedule's zone.")


class LastAction(NextAction):
    """`at` and `local` are when it was due."""

    outcome: Outcome
    message: str
    operation: str | None = Field(description="Of the command, if one was needed.")
    updated_at: datetime
    missed: int = Field(
        description="So many times were due, this one included, while nobody carried them out; 0: it was in time."
    )


class ScheduleFailure(BaseModel):
    at: datetime
    code: str
    message: str
    retries: int = Field(description="How often it was tried again already.")
    retry_at: datetime


class ScheduleStatus(BaseModel):
    namespace: str
    name: str
    status: Health = Field(description="`none`: the model has no schedule.")
    type: ScheduleKind | None
    timezone: str | None
    last_update: LastUpdate | None
    last_action: LastAction | None
    next_action: NextAction | None = Field(description="Computed when asked; null: none is coming.")
    extension: Extension | None
    failure: ScheduleFailure | None
    missed: int = Field(description="That of `last_action`.")


class ComingAction(NextAction):
    clock_change: ClockChange | None = Field(
        description="`gap`: the time is left out that day, so it happens at the first instant after; `fold`: it comes "
        "twice, so it happens the first time."
    )
    note: str


class DayOff(BaseModel):
    """A day on which nothing happens, and why."""

    date: date
    note: str


class OffsetChange(BaseModel):
    """A day on which the zone's clock is set."""

    date: date
    before: str = Field(description="The offset from UTC.", examples=["+01:00"])
    after: str


class ComingActions(BaseModel):
    timezone: str
    enabled: bool
    days: int
    actions: list[ComingAction]
    days_off: list[DayOff]
    clock_changes: list[OffsetChange]


class SchedulePreview(ComingActions):
    namespace: str
    name: str


class Run(BaseModel):
    """A time in which a schedule has its model run."""

    start: datetime
    stop: datetime
    note: str


class ShutDown(BaseModel):
    """A time in which a policy keeps a model shut down."""

    policy: str
    namespace: str = Field(description="The policy's; empty: of the whole installation.")
    start: datetime
    stop: datetime


class Timetable(ScheduleStatus):
    """A model's schedule within the stretch of time that was asked about."""

    state: State
    runs: list[Run]
    shut: list[ShutDown]
