"""Who asks something of a model, the answer to whoever loses a race too often, and commands that are only tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from modelyard.control.ports import Idempotency, Place
from modelyard.domain.access import Principal
from modelyard.domain.commands import Change
from modelyard.domain.errors import Unavailable


class Busy(Unavailable):
    """The model changes too fast just now. Nothing was done; try again."""

    code = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, why, and with what guards. ``if_match`` is the version that the caller has seen; ``principal`` what it
    may and sees (None: all, as what acts by itself). ``amend`` has the last word on the change that is decided on, each
    time anew after a lost race: what it adds is written with it, and what it raises refuses it."""

    actor: str
    reason: str = ""
    if_match: int | None = None
    idempotency: Idempotency | Place | None = None
    principal: Principal | None = None
    amend: Callable[[Change], Awaitable[Change]] | None = None
    # Ends a protected model nevertheless, if the caller may and says why.
    override: bool = False
    # Carries a policy out, so none holds it up.
    exempt: bool = False


class _Decided(Exception):
    """Ends a command before its change is written."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change


async def rehearse(command: Callable[[Caller], Awaitable[object]], viewer: Principal | None) -> Change:
    """The change that ``command`` (of :class:`modelyard.control.service.ModelService`) would make for ``viewer``, by
    all of its checks. Nothing is written. Raises what the command would, until it is written."""

    async def end(change: Change) -> Change:
        raise _Decided(change)

    try:
        await command(Caller(actor="", principal=viewer, amend=end))
    except _Decided as decided:
        return decided.change
    raise TypeError("This is no command that asks amend.")
