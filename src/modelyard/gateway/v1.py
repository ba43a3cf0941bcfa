"""KServe's V1 protocol (https://kserve.github.io/website), beside inference itself: which models there are, and
whether one is ready. Predictions go the way of V2's (:mod:`modelyard.gateway.inference`); the worker reads them.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from modelyard.gateway.exchange import JSON_TYPE, Exchange
from modelyard.gateway.served import ServedModel, Wanted


async def models(exchange: Exchange, found: Iterable[ServedModel]) -> None:
    """The names of all that may be asked about, whatever state they are in."""
    await exchange.respond(200, JSON_TYPE, orjson.dumps({"models": sorted(model.route.name for model in found)}))


async def ready(exchange: Exchange, model: ServedModel, wanted: Wanted) -> None:
    """200 while the model serves, 503 with the reason while it does not."""
    if not model.among(wanted):
        raise model.unavailable(wanted)
    await exchange.respond(200, JSON_TYPE, orjson.dumps({"name": model.route.name, "ready": True}))
