"""What browsers bring by themselves, and what they must not be led to do with it: sessions (see
:mod:`modelyard.access.sessions`), and pages of servers that users bring, which are at this very origin.
"""

from __future__ import annotations

from typing import Final

from modelyard.access.sessions import CrossSite, Session, Sessions, demand_own_page, is_ours, origins
from modelyard.gateway.exchange import Exchange
from modelyard.gateway.problems import Header, Refusal, unauthenticated

# Pages of others may run, but as if they were of no origin: else they could ask the API for whatever their reader may,
# as the browser would send the reader's session along.
SANDBOX: Final[Header] = (
    b"content-security-policy", b"sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"
)  # fmt: skip


class Browsers:
    """Has sessions count as what they hold. ``public``: the URL that browsers call this installation by, if it is
    another than they say."""

    def __init__(self, sessions: Sessions, public: str) -> None:
        self._sessions = sessions
        self._public = public

    def present(self, exchange: Exchange) -> None:
        """Have a request without an ``Authorization`` header show what its session stands for, if its page may use
        that."""
        session = self._session(exchange)
        if session is not None and not self._is_foreign(exchange):
            exchange.headers[b"authorization"] = session.authorization

    def refusal(self, exchange: Exchange) -> Refusal | None:
        """Why a session did not count; None: there was none, or it did."""
        if b"authorization" in exchange.headers or not self._sessions.has(_cookies(exchange)):
            return None
        if self._session(exchange) is None:
            return unauthenticated("This session is over, or was begun at another installation: sign in again.")
        error = CrossSite()
        return Refusal(error.http_status, error.code, error.message)

    def _session(self, exchange: Exchange) -> Session | None:
        if b"cookie" not in exchange.headers or b"authorization" in exchange.headers:
            return None
        return self._sessions.find(_cookies(exchange))

    def _is_foreign(self, exchange: Exchange) -> bool:
        """Whether it may change something, and no page of this origin sends it."""
        headers = exchange.headers
        site, origin, host = (
            None if (value := headers.get(name)) is None else value.decode("latin-1")
            for name in (b"sec-fetch-site", b"origin", b"host")
        )
        try:
            demand_own_page(
                exchange.method, site, origin, origins(exchange.scope["scheme"], host or "", self._public)
            )  # fmt: skip
        except CrossSite:
            return True
        return False


def _cookies(exchange: Exchange) -> str:
    return exchange.headers.get(b"cookie", b"").decode("latin-1")


def cookies_for_others(header: bytes) -> bytes:
    """A ``Cookie`` header's value without what is Modelyard's own."""
    return b";".join(part for part in header.split(b";") if not _is_ours(part)).strip()


def from_others(headers: list[Header]) -> list[Header]:
    """The head of a server's answer as browsers may have it: it sets none of Modelyard's own cookies, and its pages
    are in the sandbox."""
    kept = [(name, value) for name, value in headers if name.lower() != b"set-cookie" or not _is_ours(value)]
    return [*kept, SANDBOX]


def _is_ours(pair: bytes) -> bool:
    return is_ours(pair.partition(b"=")[0].decode("latin-1"))
