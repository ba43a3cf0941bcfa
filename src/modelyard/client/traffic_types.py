"""What is answered of who gets which share of a model's requests, and how each does. As in
:mod:`modelyard.client.types`.
"""

from __future__ import annotations

import msgspec

from modelyard.client.types import Resource


class ArmComparison(msgspec.Struct, kw_only=True):
    """An arm against the front one; numbers are None while there are not ``enough`` requests."""

    enough: bool
    verdict: str
    error_difference: float | None = None
    error_low: float | None = None
    error_high: float | None = None
    error_p: float | None = None
    slower_chance: float | None = None
    latency_p: float | None = None


class Arm(msgspec.Struct, kw_only=True):
    """One arm of a model's traffic (``kind``: model, revision or shadow). Shares are per cent, latencies seconds."""

    kind: str
    name: str
    front: bool = False
    serving: bool = False
    share_wanted: float = 0.0
    share_actual: float | None = None
    requests: int = 0
    errors: int = 0
    error_rate: float | None = None
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    missed: dict[str, int] = {}
    comparison: ArmComparison | None = None


class Traffic(Resource):
    """How the requests of a model are shared; ``counted``: whether the front door has told of its arms; ``judgement``:
    what a canary waits for."""

    namespace: str
    name: str
    counted: bool = False
    judgement: str | None = None
    arms: list[Arm] = msgspec.field(default_factory=list)
