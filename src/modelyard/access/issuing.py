"""An identity provider's public keys: where they are found, how long they hold, and when they are asked for again.

Sources: OpenID Connect Discovery 1.0, RFC 7517 (JSON Web Key), RFC 8725 (best practices).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from modelyard.domain.errors import Unavailable

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    PublicKey = RSAKey | ECKey | OKPKey

log = logging.getLogger(__name__)

# Seconds for which keys are taken as they were; then the next token has them asked for again, so that a withdrawn one
# goes.
FRESH: Final = 300.0
# Seconds for which they hold on while the issuer cannot be asked.
STALE: Final = 24 * 3600.0
# Seconds between two questions, whatever tokens name.
PAUSE: Final = 30.0
# Of one issuer; more are not looked at.
_MAX_KEYS: Final = 64
_MIN_RSA_BITS: Final = 2048
_DISCOVERY: Final = "/.well-known/openid-configuration"

# The content of a URL. Raises OSError.
Fetch = Callable[[str], Awaitable[bytes]]


class IssuerUnavailable(Unavailable):
    """The identity provider's keys cannot be had at the moment, so its tokens cannot be checked."""

    code = "issuer_unavailable"


class Unusable(Exception):
    """What the issuer answered cannot be used."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys that may have signed, by their ids (those without one: a made-up one)."""

    keys: Mapping[str, PublicKey]

    def candidates(self, kid: str | None, key_types: tuple[str, ...]) -> list[tuple[str, PublicKey]]:
        """Those of ``key_types`` that a token may mean which names ``kid``, or none."""
        if kid is not None:
            key = self.keys.get(kid)
            return [(kid, key)] if key is not None and key.key_type in key_types else []
        return [(name, key) for name, key in self.keys.items() if key.key_type in key_types]


class IssuerKeys:
    """The keys of ``issuer``, asked for when they are needed. ``jwks_url``: where they are; empty: where the issuer's
    discovery document says. ``clock`` is monotonic."""

    def __init__(self, issuer: str, jwks_url: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._url = jwks_url
        self._fetch = fetch
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._set: KeySet | None = None
        self._raw = b""
        self._fetched_at = self._asked_at = float("-inf")
        # Grows with each change of the keys: what was checked with those before is to be checked again.
        self.version = 0

    async def current(self) -> KeySet:
        """The keys as they are. While there are some that hold, nobody waits for newer ones.

        Raises:
            IssuerUnavailable: there are none that are recent enough.
        """
        if self._clock() - self._fetched_at >= FRESH:
            asking = self._ask()
            if asking is not None and not self._holds():
                await asyncio.shield(asking)
        return self._held()

    async def anew(self) -> KeySet:
        """The keys once more from the issuer, unless it was asked a moment ago: a token names one that is not known.

        Raises:
            IssuerUnavailable: there are none that are recent enough.
        """
        asking = self._ask()
        if asking is not None:
            await asyncio.shield(asking)
        return self._held()

    def _holds(self) -> bool:
        return self._set is not None and self._clock() - self._fetched_at < STALE

    def _held(self) -> KeySet:
        if self._set is None or not self._holds():
            raise IssuerUnavailable(
                f"The keys of the identity provider {self._issuer} cannot be had, so its tokens cannot be checked. Try "
                "again in a moment."
            )
        return self._set

    def _ask(self) -> asyncio.Task[None] | None:
        """The question that is under way, one for all; None: the issuer was asked a moment ago."""
        if self._asking is None or self._asking.done():
            now = self._clock()
            if now - self._asked_at < PAUSE:
                return None
            self._asked_at = now
            # A task of its own: a caller who goes away does not take the question back.
            self._asking = asyncio.get_running_loop().create_task(
                self._refresh(now), name="ask for an issuer's keys", context=Context()
            )
        return self._asking

    async def _refresh(self, now: float) -> None:
        try:
            raw = await self._fetch(await self._where())
            if raw != self._raw:
                self._set, self._raw = _key_set(raw), raw
                self.version += 1
            self._fetched_at = now
        except (OSError, Unusable) as error:
            log.warning("cannot get the keys of the identity provider %s: %s", self._issuer, error)
        except Exception:
            # Perhaps nobody waits for it who would tell.
            log.exception("cannot get the keys of the identity provider %s", self._issuer)

    async def _where(self) -> str:
        if self._url:
            return self._url
        return endpoint(await discover(self._issuer, self._fetch), "jwks_uri")


async def discover(issuer: str, fetch: Fetch) -> dict[str, Any]:
    """The issuer's discovery document. Raises OSError, Unusable."""
    document = _object(await fetch(issuer.rstrip("/") + _DISCOVERY), "discovery document")
    if document.get("issuer") != issuer:
        raise Unusable(f"its discovery document is of the issuer {str(document.get('issuer'))[:200]!r}")
    return document


def endpoint(document: Mapping[str, Any], name: str) -> str:
    """The URL that a discovery document has for ``name``: over https, if its issuer is. Raises Unusable."""
    url = document.get(name)
    secure = urlsplit(document["issuer"]).scheme == "https"
    if not isinstance(url, str) or urlsplit(url).scheme not in (("https",) if secure else ("https", "http")):
        raise Unusable(f"its discovery document names no {name} over https")
    return url


def _key_set(raw: bytes) -> KeySet:
    """Raises Unusable: there is no key in it for signatures."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    entries = _object(raw, "key set").get("keys")
    keys: dict[str, PublicKey] = {}
    for number, entry in enumerate(entries[:_MAX_KEYS] if isinstance(entries, list) else ()):
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if entry.get("use", "sig") != "sig":
            continue
        kid = entry.get("kid")
        # Only what is public, whatever else stands there by mistake.
        public = {k: v for k, v in entry.items() if k in ("kty", "n", "e", "crv", "x", "y")}
        try:
            key: Any = import_key(public)
            if entry["kty"] == "RSA" and key.public_key.key_size < _MIN_RSA_BITS:
                raise ValueError(f"it has less than {_MIN_RSA_BITS} bits")
        except (JoseError, ValueError, TypeError) as error:
            log.warning("key %r of the identity provider is left out: %s", str(kid)[:100], error)
            continue
        keys[kid if isinstance(kid, str) and kid else f"\x00{number}"] = key
    if not keys:
        raise Unusable("its key set has no key for signatures")
    return KeySet(keys)


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unusable(f"its {what} is no JSON object")
    return found
