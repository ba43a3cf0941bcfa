"""How the requests of a model are shared, and what came of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from modelyard.api.schemas.base import Request, Whole


class ArmComparison(BaseModel):
    """What is known of the difference to the front arm (of a canary: the old revision)."""

    enough: bool = Field(description="False while there are too few requests to say anything.")
    verdict: str
    error_difference: float | None = Field(description="Of the error rates.")
    error_low: float | None = Field(description="The lower end of its 95 % interval (Newcombe).")
    error_high: float | None
    error_p: float | None = Field(description="p-value of the two-proportion z-test.")
    slower_chance: float | None = Field(
        description="The chance that a request of this arm takes longer than one of the front's; 0.5: neither does."
    )
    latency_p: float | None = Field(description="p-value of the Mann-Whitney test of the latencies.")


class ArmReport(BaseModel):
    kind: Literal["model", "revision", "shadow"]
    name: str = Field(description="A model's name, or the number of a revision.")
    front: bool = Field(description="The others are compared with it.")
    serving: bool = Field(description="Without, its share stays with the front arm.")
    share_wanted: float = Field(description="Per cent of the requests.")
    share_actual: float | None = Field(description="Of all requests counted; null where there are none.")
    requests: int
    errors: int = Field(description="Answers of 5xx, timeouts, and requests lost with an instance.")
    error_rate: float | None
    mean: float | None = Field(description="Latency, in seconds.")
    p50: float | None
    p95: float | None
    p99: float | None
    missed: dict[str, int] = Field(description="Requests meant for it that did not go to it, by why.")
    comparison: ArmComparison | None


class TrafficReport(BaseModel):
    """The arms of a model's traffic. A canary's are counted since its present step began, the others since the front
    door has known of them."""

    namespace: str
    name: str
    counted: bool = Field(description="Whether the front door has told of them here.")
    judgement: str | None = Field(description="What the present step of a canary waits for; null without one.")
    arms: list[ArmReport]


class InFlight(BaseModel):
    """How many requests are in a model now."""

    counted: bool = Field(description="Whether the front door has told of it here.")
    requests: int = Field(description="In its instances.")
    waiting: int = Field(description="Held until an instance is there.")
    instances: dict[str, int] = Field(description="In each instance that has any, by its id.")


class SetPercent(Request):
    percent: Whole = Field(description="Per cent of the requests for the new revision, from 1 to 99.")
    reason: str = Field("", max_length=1024, description="Why; recorded with the event.")
