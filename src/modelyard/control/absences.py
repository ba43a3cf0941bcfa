"""Sites of which nothing is heard: what their models' statuses say cannot be verified from here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from modelyard.control.ports import Site, Sites
from modelyard.domain.model import Model

# Seconds for which what was read of the sites is good enough.
_FRESH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why nobody drives a site's models now. ``reason`` is a stable code, ``since`` when it was last heard of."""

    reason: str
    message: str
    since: datetime


class Absences:
    """As the control process of ``site`` sees the others on its database."""

    def __init__(self, sites: Sites, site: str) -> None:
        self._sites = sites
        self._site = site
        self._known: Mapping[str, Absence] = {}
        self._until = 0.0

    async def of(self, models: Iterable[Model]) -> Mapping[str, Absence]:
        """Absences by the site's id; none but those of ``models`` matter. Nobody is asked where all are ours."""
        if not self._sites.shared or all(model.site in ("", self._site) for model in models):
            return {}
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            sites = await self._sites.list_sites()
            self._known = {s.premises.id: absence(s) for s in sites if s.expired and s.premises.id != self._site}
            self._until = now + _FRESH
        return self._known


def absence(site: Site) -> Absence:
    """Of one whose lease has ``expired``."""
    where, at = f"Its site ({described(site)})", f"{site.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    if site.down:
        message = f"{where} was taken down at {at}: nothing is done about the model until it is up again."
        return Absence(reason="SiteDown", message=message, since=site.seen_at)
    message = f"{where} has not been heard of since {at}; what runs there cannot be verified from here."
    return Absence(reason="SiteSilent", message=message, since=site.seen_at)


def described(site: Site) -> str:
    return f"home {site.premises.home} on machine {site.premises.machine}, at {site.premises.url}"
