"""Why a model waits, in a sentence: what is short, who holds it, who goes first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.domain.model import Amount, ModelRef
from modelyard.domain.quantities import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Why a claim waits. ``kinds`` of what is short; ``holders`` the models that hold of it."""

    reason: str
    message: str
    kinds: tuple[str, ...]
    holders: tuple[ModelRef, ...] = ()


def shortage(
    reason: str,
    ref: ModelRef,
    each: Amount,
    *,
    free: Amount,
    total: Amount,
    rivals: Iterable[tuple[ModelRef, Amount]],
    first: tuple[ModelRef, ...] = (),
) -> Shortage:
    """What of ``each``, which ``ref`` wants, is not in ``free``; who of the ``rivals`` holds it, and who goes
    ``first``."""
    kinds = each.short_of(free)
    message = ", ".join(_need(kind, each, free, total) for kind in kinds)
    if reason == "QuotaExceeded":
        message += f" by the quota of namespace {ref.namespace}"
    if first:
        message += f"; {_names(first, ref)} before it in the queue"
    holders = tuple(
        dict.fromkeys(rival for rival, held in rivals if rival.uid != ref.uid and any(held.of(k) for k in kinds))
    )
    if holders:
        message += f"; held by {_names(holders, ref)}"
    return Shortage(reason=reason, message=message, kinds=kinds, holders=holders)


def _names(refs: tuple[ModelRef, ...], of: ModelRef) -> str:
    """As those of its namespace call them; what not all of these may know of is only counted."""
    names = [ref.name for ref in refs if ref.may_be_named_to(of)][:5]
    more = len(refs) - len(names)
    if not names:
        return f"{more} other model{'' if more == 1 else 's'}"
    return ", ".join(names) + (f" and {more} more" if more else "")


def _need(kind: str, each: Amount, free: Amount, total: Amount) -> str:
    if kind == "devices":
        plural = "" if each.devices == 1 else "s"
        return f"{each.devices} GPU{plural} needed, {max(free.devices, 0)} free of {total.devices}"
    if kind == "memory":
        return (
            f"{format_bytes(each.memory)} of memory needed, {format_bytes(max(free.memory, 0))} free of "
            f"{format_bytes(total.memory)}"
        )
    return f"{each.cpu:g} cores needed, {max(free.cpu, 0.0):g} free of {total.cpu:g}"
