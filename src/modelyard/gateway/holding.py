"""Requests to a model that is about to serve: they wait for its instance instead of being refused.

While a request waits its body is left where it is, all but what one read brought: a caller who waits
costs a connection, not a body.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final, Protocol

from modelyard.gateway.exchange import ClientGone, Exchange
from modelyard.gateway.outcomes import Counted
from modelyard.gateway.problems import Refusal, wake_timeout
from modelyard.gateway.served import ServedModel

# Seconds between two looks whether a caller is still there from whom nothing is read.
_LOOK: Final = 1.0


class Abandoned(Protocol):
    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has left while nothing was read from it, so that nobody was told."""


class Waiting(Protocol):
    """A request that may wait: when it began (time.monotonic), and where it came from."""

    @property
    def began(self) -> float: ...

    @property
    def connection(self) -> Abandoned: ...


async def hold(exchange: Exchange, model: ServedModel, version: str | None) -> None:
    """Wait until an instance of ``model`` is there, if the request may; what comes of one that may not is for
    whoever goes on with it to say. A request that ends here is counted here.

    Raises:
        Refusal: no instance came in time, none will come, or as many wait as may.
        ClientGone: nobody waits any more.
    """
    if not model.holds(version):
        return
    with Counted(model, exchange.began):
        exchange.guard(None)
        try:
            exchange.check_length(model.body_limit)
            await until_it_serves(exchange, model, version)
        except asyncio.CancelledError:
            end = exchange.ended(0)
            if end is None:
                raise
            raise end from None
        finally:
            exchange.unguard()


async def until_it_serves(exchange: Waiting, model: ServedModel, version: str | None) -> None:
    """The wait itself, inside a guard. Raises as :func:`hold`; a request that may not wait goes on at once."""
    while model.holds(version):
        place = model.hold()
        try:
            await _wait(exchange, model, place)
        finally:
            model.let_go(place)
        refusal = place.result()
        if refusal is not None:
            raise refusal


async def _wait(exchange: Waiting, model: ServedModel, place: asyncio.Future[Refusal | None]) -> None:
    route = model.route
    assert route.hold is not None
    timeout, setting = min(
        (route.hold.timeout, "autoscaling.wake_timeout"), (route.request_timeout, "limits.request_timeout")
    )
    until = exchange.began + timeout
    while not place.done():
        left = until - monotonic()
        if left <= 0:
            raise wake_timeout(route.name, route.argument, model.route.state, timeout, setting)
        await asyncio.wait((place,), timeout=min(left, _LOOK))
        if exchange.connection.is_abandoned:
            raise ClientGone
