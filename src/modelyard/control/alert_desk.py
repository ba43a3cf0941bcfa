"""What callers do with alerts: rules, webhooks and their deliveries, silences."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from modelyard.control.alert_ports import AlertQuery, AlertStore, DeliveryQuery, Sealer, Silence
from modelyard.control.alerting import delivery
from modelyard.control.outbox import Kept, opened, sealed
from modelyard.control.ports import Page
from modelyard.domain.alerts import BUILT_IN, INSTALLATION, Alert, AlertRule, rule_problems, with_built_in
from modelyard.domain.errors import EtagMismatch, InvalidRequest, NotFound, Problem, Refused
from modelyard.domain.masking import without_path
from modelyard.domain.webhooks import Delivery, DeliveryEvent, DeliveryState, Webhook, webhook_problems

# For so long a receiver may check by the secret that was replaced.
ROTATION: Final = timedelta(days=1)
_LONGEST_SILENCE: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """How a webhook is to be. ``url`` is whole; ``url`` and ``headers`` None: as they are. So is a URL that is given
    as it is shown. ``rotate``: with a new secret, beside which the old one holds for a day."""

    webhook: Webhook
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    rotate: bool = False


class AlertDesk:
    """``admit`` raises InvalidRequest where nothing may be sent to a URL (it blocks); ``told`` are called when what
    is watched for, or who is told, has changed."""

    def __init__(
        self,
        store: AlertStore,
        sealer: Sealer,
        admit: Callable[[str], None],
        clock: Callable[[], datetime],
        *,
        site: str = "",
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._admit = admit
        self._clock = clock
        self._site = site
        self.told: list[Callable[[], None]] = []

    def _tell(self) -> None:
        for told in self.told:
            told()

    # ---------------------------------------------------------------- rules

    async def rules(self, namespace: str) -> Sequence[AlertRule]:
        """Of a namespace, or of the installation: those that are built in too, with version 0."""
        stored = await self._store.rules(namespace)
        return with_built_in(stored) if namespace == INSTALLATION else stored

    async def rule(self, namespace: str, name: str) -> AlertRule:
        """Raises NotFound."""
        for rule in await self.rules(namespace):
            if rule.name == name:
                return rule
        raise NotFound(f"There is no alert rule {name!r}.")

    async def set_rule(self, rule: AlertRule, if_match: int | None) -> AlertRule:
        """Raises InvalidRequest, NotFound, EtagMismatch."""
        if problems := rule_problems(rule):
            raise InvalidRequest(problems)
        written = await self._store.put_rule(rule, if_match)
        self._tell()
        return written

    async def delete_rule(self, namespace: str, name: str, if_match: int | None) -> None:
        """What was built in is as it was before. Raises NotFound, EtagMismatch, Refused."""
        rule = await self.rule(namespace, name)
        if rule in BUILT_IN:
            raise Refused("built_in", f"The rule {name} is built in: set it with enabled: false to switch it off.")
        await self._store.delete_rule(namespace, name, if_match)
        self._tell()

    # ---------------------------------------------------------------- webhooks

    async def webhooks(self, namespace: str) -> Sequence[Webhook]:
        return await self._store.webhooks(namespace)

    async def webhook(self, namespace: str, name: str) -> Webhook:
        """Raises NotFound."""
        return await self._store.webhook(namespace, name)

    async def set_webhook(self, wanted: Set, if_match: int | None) -> tuple[Webhook, str | None]:
        """The webhook as it is stored, and its secret where it is a new one: it is never shown again.

        Raises:
            InvalidRequest, NotFound, EtagMismatch, VersionConflict.
        """
        webhook, now = wanted.webhook, self._clock()
        before = await self._find(webhook.namespace, webhook.name)
        if if_match is not None and if_match != (before.version if before else 0):
            raise EtagMismatch(f"The webhook {webhook.name} is no longer at version {if_match}: get it again.")
        old = opened(self._sealer, before, now) if before else None
        kept_url = before is not None and wanted.url in (None, before.url)
        url = old.url if old is not None and kept_url else wanted.url
        if url is None:
            raise InvalidRequest([Problem("url", "required", "Say which URL is to be told.")])
        headers = dict(wanted.headers if wanted.headers is not None else old.headers if old else {})
        if problems := webhook_problems(webhook, url, headers):
            raise InvalidRequest(problems)
        if old is not None and headers and wanted.headers is None and _origin(old.url) != _origin(url):
            # Who may change the URL need not know the headers, and is not to have them sent to a host of theirs.
            message = "The URL leads to another host, which is not sent the stored headers: give headers, or {}."
            raise InvalidRequest([Problem("headers", "required", message)])
        await asyncio.to_thread(self._admit, url)
        fresh = f"whsec_{secrets.token_urlsafe(32)}" if wanted.rotate or old is None else None
        until = before.rotated_until if before else None
        if fresh is not None and old is not None:
            until = now + ROTATION
        in_use = old.secrets if old is not None else ()
        after = replace(
            webhook,
            url=without_path(url),
            header_names=tuple(sorted(headers)),
            sealed=sealed(self._sealer, webhook, Kept((fresh, *in_use[:1]) if fresh else in_use, url, headers)),
            rotated_until=until,
            created_at=before.created_at if before else now,
            updated_at=now,
        )
        written = await self._store.put_webhook(after, before.version if before else None)
        self._tell()
        return written, fresh

    async def delete_webhook(self, namespace: str, name: str, if_match: int | None) -> None:
        """With all that was to be sent to it. Raises NotFound, EtagMismatch."""
        await self._store.delete_webhook(namespace, name, if_match)
        self._tell()

    async def _find(self, namespace: str, name: str) -> Webhook | None:
        try:
            return await self._store.webhook(namespace, name)
        except NotFound:
            return None

    # ---------------------------------------------------------------- deliveries

    async def test(self, namespace: str, name: str) -> Delivery:
        """Have a test sent; what comes of it its delivery says. Raises NotFound."""
        webhook = await self._store.webhook(namespace, name)
        made = delivery(self._site, webhook, DeliveryEvent.TEST, None, self._clock())
        await self._store.add_delivery(made)
        self._tell()
        return made

    async def deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """Raises NotFound (no such webhook), InvalidRequest (the page)."""
        if query.webhook is not None:
            await self._store.webhook(query.namespace, query.webhook)
        return await self._store.list_deliveries(query)

    async def delivery(self, namespace: str, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        return await self._store.delivery(namespace, delivery_id)

    async def retry(self, namespace: str, delivery_id: str) -> Delivery:
        """Send once more what was given up, under its old id. Raises NotFound (it, or its webhook), Refused."""
        found, now = await self._store.delivery(namespace, delivery_id), self._clock()
        await self._store.webhook(namespace, found.webhook)
        again = replace(
            found, state=DeliveryState.PENDING, site=self._site, since=now, next_at=now, attempts=0, error=""
        )  # fmt: skip
        if found.state is not DeliveryState.DEAD or not await self._store.write_delivery(found, again):
            raise Refused("not_dead", f"The delivery {delivery_id} was not given up: it is {found.state}.")
        self._tell()
        return again

    async def drop(self, namespace: str, delivery_id: str) -> None:
        """Raises NotFound, Refused."""
        await self._store.drop_delivery(namespace, delivery_id)

    # ---------------------------------------------------------------- alerts

    async def alerts(self, query: AlertQuery) -> tuple[Page[Alert], Mapping[str, Silence]]:
        """A page, and the silences that hold now."""
        page = await self._store.list_alerts(query)
        return page, await self.silences()

    async def alert(self, fingerprint: str) -> tuple[Alert, Silence | None]:
        """The last of this fingerprint. Raises NotFound."""
        page = await self._store.list_alerts(AlertQuery(fingerprint=fingerprint, page_size=1))
        if not page.items:
            raise NotFound(f"There is no alert {fingerprint!r}.")
        return page.items[0], (await self.silences()).get(fingerprint)

    async def silences(self) -> Mapping[str, Silence]:
        now = self._clock()
        return {print_: s for print_, s in (await self._store.silences()).items() if s.until > now}

    async def silence(self, fingerprint: str, until: datetime, actor: str, reason: str) -> Silence:
        """Nobody is told of it until then. If it fires still, they are told then. Raises InvalidRequest."""
        now = self._clock()
        if not now < until <= now + _LONGEST_SILENCE:
            raise InvalidRequest([Problem("until", "out_of_range", "It is a time to come, at most a year from now.")])
        made = Silence(fingerprint=fingerprint, until=until, at=now, actor=actor, reason=reason)
        await self._store.silence(made)
        return made

    async def end_silence(self, fingerprint: str) -> None:
        """Raises NotFound."""
        await self._store.end_silence(fingerprint)
        self._tell()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
