"""Signing in: links that do it once, and how many who fail at it are answered."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from modelyard.access.errors import NotAccepted
from modelyard.access.keys import digest
from modelyard.access.limits import RateLimited, RateLimits
from modelyard.access.provider import Provider
from modelyard.access.secrets import SecretBox, SecretLost
from modelyard.access.sessions import Sessions
from modelyard.control.access_ports import CodeStore
from modelyard.domain.rates import Rate

# For so long a link may be used.
LINK_LASTS: Final = timedelta(minutes=10)
_LINK: Final = "/link"
# Of one address. Who shows what is valid is always let in: nobody keeps others out by failing.
_FAILURES: Final = Rate(per_second=0.2, burst=20)
# Of one caller.
_LINKS: Final = Rate(per_second=0.5, burst=30)


class SignIns:
    """``sessions`` are what comes of signing in; ``provider`` signs people in, if there is one. ``public`` is the URL
    that browsers call this installation by; empty: the one that they have called."""

    def __init__(
        self,
        store: CodeStore,
        box: SecretBox,
        sessions: Sessions,
        provider: Provider | None,
        clock: Callable[[], datetime],
        *,
        public: str = "",
    ) -> None:
        self._store = store
        self._box = box
        self.sessions = sessions
        self.provider = provider
        self.public = public
        self._clock = clock
        self._limits = RateLimits()

    async def link(self, caller: str, credential: str) -> tuple[str, datetime]:
        """A code that stands for ``credential``, which is ``caller``'s, once, and until when.

        Raises:
            RateLimited: the caller has made too many.
            SecretLost: there is no key to seal it under.
        """
        refused = self._limits.take((("links", caller), _LINKS))
        if refused is not None:
            raise RateLimited("Links to sign in by", _LINKS, refused[1])
        code = secrets.token_urlsafe(32)
        ends, shown = self._clock() + LINK_LASTS, digest(code)
        await self._store.put_code(shown, self._box.seal(_LINK, shown, credential).sealed, ends)
        return code, ends

    async def take(self, code: str) -> str:
        """The credential that ``code`` stands for; it stands for nothing from here on.

        Raises:
            NotAccepted: it stands for nothing.
        """
        shown = digest(code)
        sealed = await self._store.take_code(shown, self._clock())
        try:
            if sealed is not None:
                return self._box.open_bytes(_LINK, shown, sealed).decode()
        except SecretLost:
            # The key was changed since; a new link is sealed under the new one.
            pass
        raise NotAccepted(
            f"This link was used already, or is older than {LINK_LASTS.seconds // 60} minutes. "
            "Make another one with 'modelyard dashboard'."
        )

    def failed(self, address: str) -> None:
        """Somebody at ``address`` has shown what is not valid. Raises RateLimited: too often of late."""
        refused = self._limits.take((("failures", address), _FAILURES))
        if refused is not None:
            raise RateLimited("Signing in with what is not valid", _FAILURES, refused[1])
