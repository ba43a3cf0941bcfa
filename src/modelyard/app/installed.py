"""The settings as those may read them who oversee the installation: without what is secret."""

from __future__ import annotations

from typing import Final

from modelyard.control.installed import Configured, Installed
from modelyard.domain.masking import scrubbed
from modelyard.settings import Settings

_SECRET: Final = frozenset({"token", "peers_token", "oidc_client_secret", "secrets_key"})


def installed(settings: Settings, site: str) -> Installed:
    found = [_configured(settings, name) for name in sorted(type(settings).model_fields)]
    return Installed(site=site, address=settings.address, settings=found)


def _configured(settings: Settings, name: str) -> Configured:
    value, field = getattr(settings, name), type(settings).model_fields[name]
    is_secret = name in _SECRET
    return Configured(
        name=f"MODELYARD_{name.upper()}",
        # A database's URL may hold a password.
        value="" if value is None or is_secret else scrubbed(str(value)),
        hidden=is_secret and bool(value),
        # Not what was set: the command that starts this process hands all of them on.
        given=value != field.get_default(),
        about=field.description or "",
    )
