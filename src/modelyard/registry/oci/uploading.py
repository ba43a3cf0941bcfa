"""Sending a blob to a registry: mounted from another repository, at once, or piece by piece, going on after a cut.

Source: https://github.com/opencontainers/distribution-spec (1.1, "Push").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import quote

import httpx2

from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.manifest import Damaged
from modelyard.registry.oci.client import Client
from modelyard.registry.oci.transport import TRIES, Again, Answer

# Up to here a blob is sent in one request.
_AT_ONCE: Final = 4 * 2**20
# Of a larger one so much in a request: what is sent again after a cut, where the registry keeps nothing of it.
_PIECE: Final = 16 * 2**20
_MOST_PIECE: Final = 2**30
# How often an upload that the registry has lost is begun anew.
_STARTS: Final = 5
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")
_MOVED: Final = frozenset((201, 202, 204))


class Sent(Enum):
    """How a blob came to be in the registry."""

    SENT = auto()
    MOUNTED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """``read`` gives the bytes from one offset to another; ``tell`` is told of how many the registry has."""

    digest: str
    size: int
    read: Callable[[int, int], Iterator[Buffer]]
    tell: Callable[[int], None]


class _Lost(Exception):
    """The registry no longer knows of this upload, or will not have it."""


def send(client: Client, blob: Blob, mount_from: str = "") -> Sent:
    """Have a blob in the repository that is not there yet. ``mount_from`` is another repository of the registry that
    may have it.

    Raises:
        Rejected, Denied, Unavailable: the registry does not take it
        Damaged: what arrived was not what was sent
    """
    reason = "it loses what is sent to it"
    for number in range(_STARTS):
        try:
            return _Upload(client, blob).run(mount_from)
        except _Lost as error:
            reason = str(error)
            client.transport.pause(number, error)
    raise Damaged(f"The registry {client.reference.registry} does not take the blob {blob.digest}: {reason}.")


class _Upload:
    def __init__(self, client: Client, blob: Blob) -> None:
        self._transport, self._root, self._scope = client.transport, client.root, client.writing
        self._client, self._blob = client, blob
        self._location = ""
        self._piece = _PIECE

    def run(self, mount_from: str) -> Sent:
        query = ""
        if mount_from:
            self._scope = f"{self._scope} repository:{mount_from}:pull"
            query = f"?mount={quote(self._blob.digest)}&from={quote(mount_from)}"
        answer = self._transport.ask("POST", f"{self._root}/blobs/uploads/{query}", self._scope)
        if answer.status == 201 and mount_from:
            self._blob.tell(self._blob.size)
            return Sent.MOUNTED
        if answer.status != 202:
            raise self._transport.failure(answer, f"blob {self._blob.digest}")
        self._follow(answer)
        least = answer.headers.get("oci-chunk-min-length", "")
        self._piece = min(max(_PIECE, int(least) if least.isdecimal() else 0), _MOST_PIECE)
        if self._blob.size > _AT_ONCE:
            self._by_pieces()
            self._complete(0)
        else:
            self._complete(self._blob.size)
        self._blob.tell(self._blob.size)
        return Sent.SENT

    def _by_pieces(self) -> None:
        position = failures = 0
        while position < self._blob.size:
            begun = position
            try:
                position = self._send(position, min(position + self._piece, self._blob.size))
            except (httpx2.TransportError, Again) as error:
                if failures == TRIES:
                    raise self._transport.unavailable(error) from error
                self._transport.pause(failures, error)
                position = self._there()
            failures = 0 if position > begun else failures + 1
            if failures > TRIES:
                raise _Lost("it keeps nothing of what is sent to it")
            self._blob.tell(position)

    def _send(self, start: int, stop: int) -> int:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(stop - start),
            "Content-Range": f"{start}-{stop - 1}",
        }
        answer = self._transport.once(
            "PATCH", self._location, self._scope, headers=headers, content=lambda: self._bytes(start, stop)
        )
        if answer.status == 416:
            return self._there()
        if answer.status not in _MOVED:
            raise self._lost(answer)
        self._follow(answer)
        return self._position(answer, stop)

    def _there(self) -> int:
        """How many bytes the registry has of it. Raises _Lost."""
        answer = self._transport.ask("GET", self._location, self._scope)
        if answer.status not in _MOVED:
            raise self._lost(answer)
        self._follow(answer)
        return self._position(answer, 0)

    def _complete(self, size: int) -> None:
        """The last request, with the first ``size`` bytes of the blob if none was sent before."""
        mark = "&" if "?" in self._location else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            answer = self._transport.once(
                "PUT", f"{self._location}{mark}digest={quote(self._blob.digest)}", self._scope,
                headers=headers, content=(lambda: self._bytes(0, size)) if size else None,
            )  # fmt: skip
        except (httpx2.TransportError, Again) as error:
            # It may have got there, and the answer not here.
            if self._client.size(self._blob.digest) == self._blob.size:
                return
            raise _Lost(str(error)) from error
        if answer.status not in (201, 204):
            raise self._lost(answer)

    def _bytes(self, start: int, stop: int) -> Iterator[bytes]:
        for piece in self._blob.read(start, stop):
            yield bytes(piece)

    def _lost(self, answer: Answer) -> Exception:
        failure = self._transport.failure(answer, f"blob {self._blob.digest}")
        # 400 is what it says to bytes of another digest, and to an upload that it cannot go on with.
        return _Lost(failure.message.removesuffix(".")) if answer.status in (400, 404, 409, 416) else failure

    def _follow(self, answer: Answer) -> None:
        self._location = answer.headers.get("location", self._location)

    def _position(self, answer: Answer, otherwise: int) -> int:
        told = _RANGE.fullmatch(answer.headers.get("range", "").replace(" ", ""))
        if told is None:
            return otherwise
        # 0-0 is what registries say when they have nothing.
        end = int(told[1])
        return min(end + 1 if end else 0, self._blob.size)
