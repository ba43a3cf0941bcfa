"""Other machines' caches: what one of them has laid out already need not come from the store once more.

A file of a cache has the same name and the same bytes wherever it is. Peers are asked for it once, all at the same
time and not for long; its bytes come from those that have it, and whoever reads them compares each chunk with its
digest, as of any source. Nothing depends on a peer: one that is away, slow or wrong is left alone for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

_FILES: Final = "/api/v1/registry/cache/files"
# Seconds in which a peer connects, and in which it says whether it has a file.
_CONNECT: Final = 0.2
_ANSWER: Final = 0.3
# So long may it be silent in the middle; and it is slow with fewer bytes a second than that (after a second's grace).
_SILENCE: Final = 2.0
_SLOW: Final = 4e6
# Seconds for which one that is away or slow is not asked; one that gave wrong bytes; and for which it is remembered who
# has a file.
_AWAY: Final = 30.0
_WRONG: Final = 600.0
_REMEMBERED: Final = 10.0
_ASKING: Final = 16
_FILES_REMEMBERED: Final = 4096


class _Peer:
    """One other machine. Counts who reads from it now; ``shunned`` until then (monotonic seconds)."""

    def __init__(self, url: str, http: httpx2.Client) -> None:
        self.url, self.http = url.rstrip("/"), http
        self.reading = 0
        self.shunned = 0.0

    def of(self, name: str) -> str:
        return f"{self.url}{_FILES}/{name}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who has a file, as it was found out then."""

    holders: Future[list[_Peer]]
    at: float


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes from a peer, unchecked. It hears with :meth:`Peers.wrong` if they are not what they should be."""

    data: bytes
    peer: _Peer


class Peers:
    """The caches of the Modelyards at ``urls``, which all take the ``token``. Many threads may read at once."""

    def __init__(self, urls: Sequence[str], token: str = "") -> None:
        self._urls, self._token = tuple(urls), token
        self._lock = Lock()
        self._asked: dict[str, _Asked] = {}
        self._known: list[_Peer] | None = None
        self._pool = ThreadPoolExecutor(_ASKING, thread_name_prefix="peer")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._known:
            self._known[0].http.close()

    def read(self, name: str, offset: int, size: int, stored: str = "") -> Given | None:
        """Bytes of the cache's file ``name``, from one that has it; None where nobody has, or the one that was asked
        does not give them. ``stored`` is the store's object with the same bytes, if there is one."""
        peer = self._take(name, stored)
        if peer is None:
            return None
        try:
            data = self._bytes(peer, name, offset, size, stored)
        finally:
            with self._lock:
                peer.reading -= 1
        return None if data is None else Given(data, peer)

    def wrong(self, given: Given) -> None:
        """These bytes were not what they should be."""
        log.warning(
            "%s gave bytes that are damaged. They come from elsewhere, and it is not asked for %.0f minutes; "
            "'modelyard verify' over there finds what is damaged.", given.peer.url, _WRONG / 60,
        )  # fmt: skip
        given.peer.shunned = time.monotonic() + _WRONG

    # ---------------------------------------------------------------- who has it

    def _take(self, name: str, stored: str) -> _Peer | None:
        now = time.monotonic()
        with self._lock:
            asked = self._asked.get(name)
            mine = asked is None or now - asked.at > _REMEMBERED
            if mine:
                if len(self._asked) >= _FILES_REMEMBERED:
                    self._asked.clear()
                asked = self._asked[name] = _Asked(Future(), now)
        assert asked is not None
        if mine:
            holders: list[_Peer] = []
            try:
                holders = self._ask(name, stored)
            finally:
                asked.holders.set_result(holders)
        willing = [peer for peer in asked.holders.result() if peer.shunned <= now]
        with self._lock:
            peer = min(willing, key=lambda peer: peer.reading, default=None)
            if peer is not None:
                peer.reading += 1
            return peer

    def _ask(self, name: str, stored: str) -> list[_Peer]:
        now = time.monotonic()
        asked = {
            self._pool.submit(self._has, peer, name, stored): peer for peer in self._peers() if peer.shunned <= now
        }
        done, late = wait(asked, timeout=_ANSWER)
        for future in late:
            future.cancel()
            self._shun(asked[future], "did not answer in time")
        return [asked[future] for future in done if future.result()]

    def _has(self, peer: _Peer, name: str, stored: str) -> bool:
        import httpx2

        try:
            response = peer.http.head(peer.of(name), params=_params(stored))
        except httpx2.TransportError as error:
            self._shun(peer, str(error) or type(error).__name__)
            return False
        if response.status_code not in (200, 404):
            self._shun(peer, f"answered {response.status_code} {response.reason_phrase}")
        return response.status_code == 200

    def _peers(self) -> Sequence[_Peer]:
        with self._lock:
            if self._known is None:
                # Late: who has everything needs no client.
                import httpx2

                http = httpx2.Client(
                    headers={"Authorization": f"Bearer {self._token}"} if self._token else {}, trust_env=False,
                    limits=httpx2.Limits(max_connections=None, keepalive_expiry=4),
                    timeout=httpx2.Timeout(_ANSWER, connect=_CONNECT),
                    # To load the authorities takes a tenth of a second, and without TLS there is nothing to verify.
                    verify=any(url.startswith("https:") for url in self._urls),
                )  # fmt: skip
                self._known = [_Peer(url, http) for url in self._urls]
            return self._known

    def _shun(self, peer: _Peer, why: str) -> None:
        now = time.monotonic()
        if peer.shunned <= now:
            log.info("The peer %s %s: it is not asked for %.0f s.", peer.url, why, _AWAY)
            peer.shunned = now + _AWAY

    # ---------------------------------------------------------------- the bytes

    def _bytes(self, peer: _Peer, name: str, offset: int, size: int, stored: str) -> bytes | None:
        import httpx2

        until = time.monotonic() + 1.0 + size / _SLOW
        pieces, there = [], 0
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        try:
            with peer.http.stream(
                "GET", peer.of(name), params=_params(stored), headers=headers,
                timeout=httpx2.Timeout(_SILENCE, connect=_CONNECT),
            ) as response:  # fmt: skip
                if response.status_code != 206:
                    return None
                for piece in response.iter_raw():
                    pieces.append(piece)
                    there += len(piece)
                    if there > size or time.monotonic() > until:
                        self._shun(peer, "is slow")
                        return None
        except httpx2.TransportError as error:
            self._shun(peer, str(error) or type(error).__name__)
            return None
        return b"".join(pieces) if there == size else None


def _params(stored: str) -> Mapping[str, str]:
    return {"object": stored} if stored else {}
