"""What a command would come to, were it given now: whether it fits, who is in the way, what it would interrupt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.capacity import Claim, Room, add_up, amount_of
from modelyard.domain.commands import replaces, restarting
from modelyard.domain.effects import FieldChange, changes
from modelyard.domain.model import Amount, Model, ModelRef
from modelyard.domain.shortage import Shortage
from modelyard.domain.spec import Spec, Strategy
from modelyard.domain.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """``count`` instances of ``each`` would be launched. Where they do not all fit (``fits``), ``waiting`` says
    why and ``place`` where in the queue; ``must_stop`` are the fewest models that would have to stop for the
    first of them, ``would_preempt`` those that would be asked to make room by themselves. For an
    update also the ``strategy`` that would be taken, the ``changes`` with their effects, and whether the
    restart must be acknowledged. ``warnings`` are what policies would let pass with a word."""

    fits: bool
    each: Amount
    count: int
    free: Amount
    waiting: Shortage | None = None
    place: int | None = None
    must_stop: tuple[ModelRef, ...] = ()
    would_preempt: tuple[ModelRef, ...] = ()
    strategy: Strategy | None = None
    changes: tuple[FieldChange, ...] = ()
    needs_acknowledgement: bool = False
    warnings: tuple[str, ...] = ()


def forecast_start(ref: ModelRef, spec: Spec, room: Room, now: datetime) -> Forecast:
    """Of a model that has nothing yet."""
    claim = Claim(ref=ref, each=amount_of(spec.resources), count=spec.base, since=now, priority=spec.priority)
    grant = room.grant(claim, now)
    none = grant.count == 0
    return Forecast(
        fits=grant.shortage is None,
        each=claim.each,
        count=claim.count,
        free=room.ledger.free,
        waiting=grant.shortage,
        place=room.place(claim) if grant.shortage else None,
        must_stop=room.in_the_way(claim, now) if none else (),
        would_preempt=room.victims(claim, spec.preempt, now) if none else (),
    )


def forecast_update(model: Model, spec: Spec, room: Room, now: datetime) -> Forecast:
    """Of going from the model's spec to ``spec``."""
    each = amount_of(spec.resources)
    told = Forecast(
        fits=True,
        each=each,
        count=0,
        free=room.ledger.free,
        changes=changes(model.spec, spec),
        needs_acknowledgement=bool(restarting(model, spec)),
    )
    live = model.status.instances
    replaced = replaces(model, spec)
    scale = model.status.scale
    want = spec.replicas.clamp(scale.desired) if scale and spec.autoscaling.target is not None else spec.base
    if model.desired is RunState.STOPPED or not (replaced or want > len(live)):
        return told
    count = want if replaced else want - len(live)
    claim = Claim(ref=model.ref, each=each, count=count, since=now, priority=spec.priority, kept=replaced)
    beside = room.grant(claim, now)
    strategy = _strategy(spec, beside.count > 0) if replaced and live else None
    grant = beside
    if strategy is Strategy.REPLACE:
        grant = room.grant(claim, now, given_back=add_up(i.held for i in live))
    return replace(
        told,
        fits=grant.shortage is None,
        count=count,
        waiting=grant.shortage,
        place=room.place(claim) if grant.shortage else None,
        must_stop=room.in_the_way(claim, now) if grant.count == 0 else (),
        strategy=strategy,
    )


def _strategy(spec: Spec, fits_beside: bool) -> Strategy:
    if spec.is_exclusive:
        return Strategy.REPLACE
    if spec.rollout.strategy is not Strategy.AUTO:
        return spec.rollout.strategy
    # A canary waits until there is room beside the old ones.
    return Strategy.SURGE if fits_beside or spec.rollout.canary is not None else Strategy.REPLACE
