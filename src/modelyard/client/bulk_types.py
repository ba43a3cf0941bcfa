"""What is answered of work on many models, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

import msgspec

from modelyard.client.types import Forecast, ItemError, Resource


class BulkProspect(msgspec.Struct, kw_only=True):
    """What would become of one model of many: ``does`` says whether anything would change, ``error`` why it would
    fail; ``forecast`` is that of a start by itself, whatever the others take."""

    namespace: str
    model: str
    does: bool
    state: str | None = None
    message: str = ""
    error: ItemError | None = None
    forecast: Forecast | None = None


class BulkForecast(Resource):
    """What would come of a request on many models. ``concurrency``: how many would be carried out at a time; None:
    all."""

    action: str
    items: list[BulkProspect]
    concurrency: int | None = None
