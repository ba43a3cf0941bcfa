"""Metrics over time, as columns: each list has one value for each of ``times``."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.domain.history import MarkKind

_NONE_THEN = "null: no request reached an instance then."
_UNKNOWN = "null: not known."


class TrafficHistory(BaseModel):
    step: int = Field(description="Seconds from one point to the next.")
    times: list[int] = Field(description="When each point begins, in seconds of the epoch (UTC).")
    seconds: list[int] = Field(description="How long each point is: a step, or less for the last one.")
    requests: list[int] = Field(description="Requests that were answered, however that was.")
    errors: list[int] = Field(description="Of them those that failed (5xx).")
    rejected: list[int] = Field(description="Of them those that were refused, or whose caller went away (4xx).")
    in_flight: list[float] = Field(description="Requests in instances, on average.")
    p50: list[float | None] = Field(description=f"Seconds that half of the requests stayed below; {_NONE_THEN}")
    p95: list[float | None]
    p99: list[float | None]


class HistoryMark(BaseModel):
    at: datetime
    kind: MarkKind
    message: str
    actor: str


class ModelHistory(TrafficHistory):
    namespace: str
    name: str
    instances: list[int | None] = Field(description=f"Instances that were there, at the most; {_UNKNOWN}")
    memory: list[int | None] = Field(description=f"Bytes that they held together, at the most; {_UNKNOWN}")
    marks: list[HistoryMark] = Field(description="What happened to the model meanwhile, the latest 200, by time.")
