"""What an Alertmanager is told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from modelyard.domain.webhooks import WebhookFormat
from tests.store.alerting.house import House
from tests.store.changes import created
from tests.store.receiver import Receiver, receiving

Name = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]


class PostableAlert(msgspec.Struct, forbid_unknown_fields=True):
    """``postableAlert`` of Alertmanager's api/v2/openapi.yaml: ``labels`` are required, label sets are texts by name,
    times are RFC 3339's date-times and the URL is one. Names are as Prometheus has them."""

    labels: Annotated[dict[Name, str], msgspec.Meta(min_length=1)]
    annotations: dict[Name, str] = {}
    startsAt: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815 - its name there
    endsAt: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815 - its name there
    generatorURL: Annotated[str, msgspec.Meta(pattern="^https?://[^ ]+$")] = ""  # noqa: N815 - its name there


def check_postable(receiver: Receiver, now: datetime) -> list[tuple[str, bool]]:
    """Which alerts an Alertmanager would now hold, by what it was told last, and whether each fires."""
    held: dict[str, bool] = {}
    for request in receiver.requests:
        for alert in msgspec.json.decode(request.body, type=list[PostableAlert]):
            assert alert.startsAt is not None
            assert alert.endsAt is not None
            assert alert.startsAt <= alert.endsAt
            held[alert.labels["alertname"]] = alert.endsAt > now
    return sorted(held.items())


async def test_an_alertmanager_is_told_in_its_own_words_and_again_before_it_forgets(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        await yard.hook("am", f"{receiver.url}/api/v2/alerts", format=WebhookFormat.ALERTMANAGER)
        await yard.breaks(model)
        await yard.look()
        await receiver.until(1)
        assert check_postable(receiver, yard.clock()) == [("ModelStartFailed", True)]
        yard.clock.later(minutes=3)
        count = len(receiver.requests)
        yard.outbox._refreshed.clear()
        yard.outbox.tell()
        await receiver.until(count + 1)
        yard.clock.later(minutes=2)
        assert check_postable(receiver, yard.clock()) == [("ModelStartFailed", True)]
        await yard.mends(model)
        await yard.look()
        # It may be told once more that it fires, on the way.
        await receiver.until_so(lambda: check_postable(receiver, yard.clock()) == [("ModelStartFailed", False)])


async def test_an_alertmanager_that_is_set_later_hears_of_what_fires_and_of_its_end(yard: House) -> None:
    model = await created(yard.store)
    await yard.breaks(model)
    await yard.look()
    async with receiving() as receiver:
        await yard.hook("am", receiver.url, format=WebhookFormat.ALERTMANAGER)
        await receiver.until_so(lambda: check_postable(receiver, yard.clock()) == [("ModelStartFailed", True)])
        await yard.mends(model)
        await yard.look()
        await receiver.until_so(lambda: check_postable(receiver, yard.clock()) == [("ModelStartFailed", False)])
