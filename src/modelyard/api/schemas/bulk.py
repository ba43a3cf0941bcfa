"""Requests on many models, and what becomes of each."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelyard.api.schemas.base import Duration, Flag, In, Whole
from modelyard.api.schemas.capacity import Forecast
from modelyard.api.schemas.records import ItemError
from modelyard.api.schemas.requests import Reasoned
from modelyard.api.schemas.schedules import SaveSchedule
from modelyard.domain.bulk import MOST_ITEMS, STARTS_AT_A_TIME, BulkAction, OnError, ScheduleEdit
from modelyard.domain.states import State


class BulkSelector(In):
    """Models for which all of this holds; what is left out holds for all."""

    namespaces: list[str] = Field(
        default_factory=list, max_length=1000, description="Only in these; else in every one that you see."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="All must match.", examples=[{"team": "a"}])
    states: list[State] = Field(default_factory=list, description="Only in one of these states.")
    search: str = Field("", max_length=256, description="Part of the name.")


class BulkRequest(Reasoned):
    """Which models: `models`, `selector` or `all`, exactly one of them. What they are is found out once, when the
    request is taken."""

    action: BulkAction
    models: list[str] = Field(
        default_factory=list,
        max_length=MOST_ITEMS,
        description="Names, or namespace/name.",
        examples=[["digits", "vision/cats"]],
    )
    selector: BulkSelector | None = None
    all: Flag = Field(False, description="Every model of the namespace, or of all that you see.")
    restore_autoscaling: Flag = Field(True, description="Of a start: false runs the replicas of the specs.")
    graceful: Flag = Field(True, description="Of a stop or delete: finish what is in flight first.")
    timeout: Duration = Field(30.0, description="Of a stop or delete: after this a graceful one kills.")
    labels: dict[str, str | None] = Field(default_factory=dict, description="Of label: what to set; null removes.")
    schedule: SaveSchedule | None = Field(None, description="Of schedule: the schedule to set.")
    schedule_edit: ScheduleEdit | None = Field(None, description="Of schedule: enable, disable or remove it.")
    concurrency: Whole | None = Field(
        None,
        ge=0,
        le=MOST_ITEMS,
        description="How many are carried out at a time, those that wait for capacity not counted. 0: all; left out: "
        f"{STARTS_AT_A_TIME} for start and restart, else all.",
    )
    on_error: OnError = Field(OnError.CONTINUE, description="stop: begin no more once one has failed.")
    dry_run: Flag = Field(False, description="Change nothing: answer 200 with what would come of it.")


class BulkProspect(BaseModel):
    """What would become of one model of many."""

    namespace: str
    model: str
    state: State | None = Field(description="Its state now.")
    does: bool = Field(description="Whether anything would change.")
    message: str
    error: ItemError | None = Field(description="Why it would fail.")
    forecast: Forecast | None = Field(description="Of a start, whatever the others take.")


class BulkForecast(BaseModel):
    """What would come of a request on many models, by the state that they are in now."""

    action: BulkAction
    concurrency: int | None = Field(description="How many would be carried out at a time; null: all.")
    items: list[BulkProspect]
