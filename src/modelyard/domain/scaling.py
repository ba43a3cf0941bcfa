"""How many instances a model wants: by its spec, by what is asked of it, and none at all when nobody asks.

The rules are those of :class:`~modelyard.domain.spec.Autoscaling`. Going up follows the average over the
window, going down the highest such average within the scale-down delay, as Knative's autoscaler does with its
stable window and scale-down delay (https://knative.dev/docs/serving/autoscaling/).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelyard.domain.model import Instance, Model, Scale, Status
from modelyard.domain.observation import Demand
from modelyard.domain.spec import Spec

# Looked at again this often while there are more instances than there must be: a window that empties sends no news.
_LOOK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """``count`` instances while awake; ``scale`` is what to remember of it, ``wake_at`` when it may change."""

    count: int
    scale: Scale | None
    wake_at: datetime | None = None


def wanted(model: Model, demand: Demand, ready: tuple[Instance, ...], now: datetime) -> Wanted:
    """How many instances ``model`` wants while it is awake. ``ready`` are those that serve its target."""
    spec, scale = model.spec, model.status.scale
    if scale is not None and scale.changed_at > now:
        # The clock was set back: nothing may wait for the old time to come again.
        scale = replace(scale, changed_at=now)
    if scale is not None and scale.suspended:
        return Wanted(count=spec.base, scale=scale)
    if spec.autoscaling.target is None:
        return Wanted(count=spec.base, scale=None)
    current = spec.replicas.clamp(scale.desired) if scale else spec.base
    up, down = _needed(spec, demand.average), _needed(spec, demand.peak)
    wakes: list[datetime] = []
    if up is not None and up > current:
        may = _may_grow_at(spec, scale, current, ready, now)
        if may is not None and may <= now:
            return _changed(spec, up, demand.average, now)
        wakes += [may] if may is not None else []
    elif down is not None and down < current:
        may = scale.changed_at + timedelta(seconds=spec.autoscaling.cooldown) if scale else now
        if may <= now:
            return _changed(spec, down, demand.peak, now)
        wakes.append(may)
    if current > spec.replicas.min:
        wakes.append(now + _LOOK_AGAIN)
    if scale is not None and scale.desired != current:
        scale = replace(scale, desired=current)
    return Wanted(count=current, scale=scale, wake_at=min(wakes, default=None))


def idle_at(model: Model, status: Status, demand: Demand, ready: tuple[Instance, ...]) -> datetime | None:
    """When a model that serves goes idle unless it is called before; None: not on what is known now."""
    after = model.spec.autoscaling.idle_after
    if after is None or demand.waiting or demand.quiet_since is None or not ready:
        return None
    if status.scale is not None and status.scale.suspended:
        return None
    # A model that has just become ready was started for a reason.
    since = max([demand.quiet_since, *(i.since for i in ready), *([status.awake_since] if status.awake_since else [])])
    return since + timedelta(seconds=after)


def _needed(spec: Spec, average: float | None) -> int | None:
    if average is None or spec.autoscaling.target is None:
        return None
    # A hair above a whole number is a measuring error, not one more instance.
    return spec.replicas.clamp(math.ceil(average / spec.autoscaling.target - 1e-6))


def _may_grow_at(
    spec: Spec, scale: Scale | None, current: int, ready: tuple[Instance, ...], now: datetime
) -> datetime | None:
    """None while instances are on their way: what they will take over is not known yet."""
    if len(ready) < current:
        return None
    warm = max(i.since for i in ready) + timedelta(seconds=spec.autoscaling.warm_up)
    if scale is None:
        return warm
    return max(warm, scale.changed_at + timedelta(seconds=spec.autoscaling.cooldown))


def _changed(spec: Spec, count: int, average: float | None, now: datetime) -> Wanted:
    unit = "in flight" if spec.autoscaling.metric == "concurrency" else "a second"
    reason = f"{average or 0.0:.1f} requests {unit}, {spec.autoscaling.target:g} wanted for each instance."
    return Wanted(count=count, scale=Scale(desired=count, changed_at=now, reason=reason), wake_at=now + _LOOK_AGAIN)
