"""The installation itself: what it is, where it runs, and what it was told when it was started."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from modelyard import __version__
from modelyard.api import schemas
from modelyard.api.context import ToOversee
from modelyard.control.ports import Site

installation = APIRouter(tags=["installation"])


@installation.get("/installation", response_model=schemas.Installation, summary="Version, address, sites and settings")
async def get_installation(services: ToOversee) -> schemas.Installation:
    """Settings are changed where they are set, and hold from the next start on. Secret ones are not told."""
    installed = services.installed
    sites = await services.sites.list_sites()
    return schemas.Installation(
        version=__version__,
        address=installed.address,
        sites=[_site_out(site, installed.site) for site in sites],
        settings=[schemas.Setting(**asdict(setting)) for setting in installed.settings],
    )


def _site_out(site: Site, own: str) -> schemas.SiteLease:
    premises, holder = site.premises, None if site.expired else site.holder
    return schemas.SiteLease(
        site=premises.id,
        machine=premises.machine,
        home=premises.home,
        url=premises.url,
        answers=premises.id == own,
        driven=holder is not None,
        process=None if holder is None else holder.pid,
        token=site.token,
        down=site.down,
        seen_at=site.seen_at,
    )
