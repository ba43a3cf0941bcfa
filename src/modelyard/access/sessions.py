"""Sessions of browsers: a cookie that holds its caller's credential itself, sealed.

Nothing is remembered of a session, so what holds of the credential holds of it: one that is revoked or has expired ends
its sessions with the next request. Whoever has the box's keys can open it, so control processes and gateways share
nothing else. As a browser sends cookies by itself, a page of another origin could have it ask for what its user does
not want: what may change something is taken with a cookie only from this origin's own pages.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelyard.access.secrets import SecretBox, SecretLost
from modelyard.domain.errors import ModelyardError

# Seconds for which a session lasts at most.
LASTS: Final = 12 * 3600.0
# Bytes of a cookie's name and value that browsers keep (RFC 6265, section 6.1).
_LONGEST: Final = 4096
_NAME: Final = "modelyard_session"
# What a cookie on its way through an identity provider is called.
_ON_THE_WAY: Final = "modelyard_sign_in"
# What is sealed for these is of no namespace: none is called so.
_SESSION: Final = "/session"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class TooLarge(ModelyardError):
    """The credential is too large for a browser's cookie."""

    code = "credential_too_large"
    http_status = 400
    title = "Too large for a session"


class CrossSite(ModelyardError):
    """With a session, this is taken only from pages of this very origin. Elsewhere, send an Authorization header."""

    code = "cross_site"
    http_status = 403
    title = "Asked from another site"


@dataclass(frozen=True, slots=True)
class Session:
    """An open one: the credential, and its end."""

    credential: str
    expires_at: datetime

    @property
    def authorization(self) -> bytes:
        """As an ``Authorization`` header would carry it."""
        return b"Bearer " + self.credential.encode()


class Sessions:
    """Makes and reads cookies under ``box``. ``secure``: browsers come by https. ``port`` tells installations on one
    host apart, between which browsers do not: cookies are of a host, whatever the port. ``clock``: seconds since
    1970."""

    def __init__(self, box: SecretBox, *, secure: bool, port: int, clock: Callable[[], float] = time.time) -> None:
        self._box = box
        self._clock = clock
        self.secure = secure
        # With this prefix browsers take it from no other host of the domain, and for no other path.
        prefix = "__Host-" if secure else ""
        self.name = f"{prefix}{_NAME}_{port}"
        self.on_the_way = f"{prefix}{_ON_THE_WAY}_{port}"

    def begin(self, credential: str, ends_at: float) -> tuple[str, datetime]:
        """The cookie's value for ``credential``, which ends by itself at ``ends_at`` (seconds since 1970), and the
        session's end.

        Raises:
            TooLarge: no browser would keep it.
        """
        expires = min(self._clock() + LASTS, ends_at)
        value = self.seal(_SESSION, {"credential": credential, "expires": expires})
        if len(self.name) + len(value) > _LONGEST:
            raise TooLarge(
                f"This token makes a cookie of {len(value)} bytes, and browsers keep {_LONGEST}. Have the identity "
                "provider put less into it (fewer groups, for the most part), or sign in by an API key."
            )
        return value, datetime.fromtimestamp(expires, UTC)

    def find(self, cookies: str) -> Session | None:
        """The session that a ``Cookie`` header's value names; None: none that is ours and lasts."""
        value = cookie(cookies, self.name)
        found = self.open(_SESSION, value) if value else None
        if found is None:
            return None
        return Session(found["credential"], datetime.fromtimestamp(found["expires"], UTC))

    def on_its_way(self, cookies: str) -> str:
        """What is remembered of a browser that was sent to the identity provider; empty: nothing."""
        return cookie(cookies, self.on_the_way)

    def has(self, cookies: str) -> bool:
        """Whether there is a cookie of a session, whatever is in it."""
        return bool(cookie(cookies, self.name))

    def seal(self, purpose: str, content: dict[str, Any]) -> str:
        """``content`` (with its end as ``expires``) as text that a cookie may hold. It opens for ``purpose`` only."""
        return self._box.seal_bytes(purpose, "", zlib.compress(json.dumps(content).encode()))

    def open(self, purpose: str, sealed: str) -> dict[str, Any] | None:
        """What was sealed, if it is that, for this purpose, and not over."""
        try:
            found: dict[str, Any] = json.loads(zlib.decompress(self._box.open_bytes(purpose, "", sealed)))
        except (SecretLost, zlib.error, ValueError):
            return None
        return found if self._clock() < found["expires"] else None

    def set_cookie(self, value: str, lasts: float) -> str:
        """The ``Set-Cookie`` header that begins a session; an empty ``value`` ends one."""
        return self._set(self.name, value, lasts, "Strict")

    def set_on_the_way(self, value: str, lasts: float) -> str:
        """The same of what is remembered while the browser is with the identity provider. It comes back from another
        site, and so with cookies that are Lax only."""
        return self._set(self.on_the_way, value, lasts, "Lax")

    def _set(self, name: str, value: str, lasts: float, same_site: str) -> str:
        secure = "; Secure" if self.secure else ""
        age = max(int(lasts), 0) if value else 0
        return f"{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite={same_site}{secure}"


def cookie(header: str, name: str) -> str:
    """The value of the cookie ``name`` in a ``Cookie`` header's value; empty: there is none."""
    for part in header.split(";"):
        found, _, value = part.partition("=")
        if found.strip() == name:
            return value.strip()
    return ""


def is_ours(name: str) -> bool:
    """Whether a cookie of this name is for Modelyard itself."""
    return name.strip().removeprefix("__Host-").startswith((_NAME, _ON_THE_WAY))


def demand_own_page(method: str, site: str | None, origin: str | None, own: Collection[str]) -> None:
    """Whether a request with a cookie may do what it asks. ``site`` and ``origin`` are the headers ``Sec-Fetch-Site``
    and ``Origin``, which pages cannot make up; ``own`` are the origins that this server is known by.

    Raises:
        CrossSite: it may change something, and no page of this origin sends it, as far as that can be told.
    """
    if method not in _SAFE and not is_own_page(site, origin, own):
        raise CrossSite


def is_own_page(site: str | None, origin: str | None, own: Collection[str]) -> bool:
    """Whether a page of this very origin asks, as far as that can be told. Browsers say ``Sec-Fetch-Site`` where pages
    come by https or are of this machine; older ones, and those with plain http, ``Origin`` alone."""
    return site == "same-origin" if site is not None else origin is not None and origin in own


def origins(scheme: str, host: str, public: str) -> tuple[str, ...]:
    """What this server is known by: what the request was sent to, and the ``public`` URL if there is one."""
    return (f"{scheme}://{host}".lower(), *((public,) if public else ()))
